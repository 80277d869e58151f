"""Memory sections that the vendor's builder prints, where their rule is verified.

Rules: spec formats.md 4 and 8. A figure that no public artefact settles is None, never a guess:
Text and BSS (and so Total) always, Desc and Data for networks with a layer form that was in none
of the binaries and logs.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from r329fast.errors import ProgramError
from r329fast.program.counters import (
    GLOBAL_AVERAGE_POOL_BYTES,
    SOFTMAX_TABLE_BYTES,
    is_global_average_pool,
    layer_constants,
    layer_counters,
)
from r329fast.program.program import LayerRecord, Program
from r329fast.vendor.grouping import execution_groups, perf_node_count

STACK_BYTES = 0x40400
RO_ENTRY_BYTES = 0x100  # a perf node; one entry in front, the buffer table behind
DESCRIPTOR_BYTES = 0x110
LAYER_DESCRIPTOR_ALIGN = 0x100
DATA_ALIGN = 128
PARAMETER_BLOCK_BYTES = 128  # of every layer on the fixed-function unit
TILE_CHANNELS = 16  # of a depthwise convolution
FC_OUTPUT_ALIGN = 32

# Layers that occupy nothing in Desc and Data.
_MOVING_TYPES = ("Input", "Reshape", "Transpose", "Concat", "Slice")


@dataclass(frozen=True)
class MemorySections:
    """Bytes; None where no rule is known."""

    ro: int
    desc: int | None
    data: int | None
    stack: int = STACK_BYTES
    text: int | None = None
    bss: int | None = None


def align(size: int, step: int) -> int:
    """`size` rounded up to a multiple of `step`."""
    return -(-size // step) * step


def ro_bytes(perf_nodes: int) -> int:
    return RO_ENTRY_BYTES * (perf_nodes + 2)


def descriptor_bytes(tiles: int) -> int:
    """Desc of one layer on the fixed-function unit."""
    return align(DESCRIPTOR_BYTES * tiles, LAYER_DESCRIPTOR_ALIGN)


def depthwise_tiles(channels: int) -> int:
    return align(channels, TILE_CHANNELS) // TILE_CHANNELS


def convolution_data_bytes(outputs: int, weight_bytes: int) -> int:
    """int16 biases, weights, parameter block."""
    biases = align(2 * outputs, DATA_ALIGN)
    return biases + align(weight_bytes, DATA_ALIGN) + PARAMETER_BLOCK_BYTES


def fully_connected_data_bytes(inputs: int, outputs: int) -> int:
    """As a convolution, outputs padded to 32."""
    padded = align(outputs, FC_OUTPUT_ALIGN)
    return convolution_data_bytes(padded, inputs * padded)


def depthwise_data_bytes(channels: int, window: int) -> int:
    """int16 biases, u16 multipliers, weights spread to 16x16 blocks, parameter block."""
    tiles = depthwise_tiles(channels)
    vector = align(2 * TILE_CHANNELS * tiles, DATA_ALIGN)
    weights = align(TILE_CHANNELS * TILE_CHANNELS * window * tiles, DATA_ALIGN)
    return 2 * vector + weights + PARAMETER_BLOCK_BYTES


def batchnorm_data_bytes(channels: int) -> int:
    """Two int16 vectors and a parameter block."""
    return 2 * align(2 * channels, DATA_ALIGN) + PARAMETER_BLOCK_BYTES


def _weighted_sizes(program: Program, layer: LayerRecord) -> tuple[int, int] | None:
    """(Desc, Data) of a layer with weights."""
    weights, _ = layer_constants(program, layer)
    if weights is None:
        raise ProgramError(f"layer {layer.name!r}: no op of this {layer.type} has weights")
    outputs = weights.shape[0]
    one_tile = descriptor_bytes(1)
    if layer.type == "BatchNorm":
        return one_tile, batchnorm_data_bytes(outputs)
    if weights.itemsize != 1:
        return None
    if layer.type == "FullyConnected":
        return one_tile, fully_connected_data_bytes(weights.shape[1], outputs)
    if layer.type == "DepthwiseConv":
        if outputs != program.tensors[layer.inputs[0]].shape[-1]:
            return None  # a channel multiplier
        window = prod(weights.shape[1:3])
        tiles = depthwise_tiles(outputs)
        return descriptor_bytes(tiles), depthwise_data_bytes(outputs, window)
    if layer.detail.get("group") != 1:
        return None
    return one_tile, convolution_data_bytes(outputs, weights.size)


def _layer_sizes(program: Program, layer: LayerRecord, fused: bool) -> tuple[int, int] | None:
    """(Desc, Data) of one layer, None where no rule is known."""
    if layer.type in ("Convolution", "DepthwiseConv", "FullyConnected", "BatchNorm"):
        return _weighted_sizes(program, layer)
    if layer.type == "Eltwise":
        return (0, 0) if fused else None
    if layer.type == "Activation":
        known = layer.act in ("RELU", "RELU6")
        return (descriptor_bytes(1), PARAMETER_BLOCK_BYTES) if known else None
    if is_global_average_pool(program, layer):
        return 0, align(GLOBAL_AVERAGE_POOL_BYTES, DATA_ALIGN)
    if layer.type == "Pooling":
        return (0, 0) if layer.detail.get("method") == "MAX" else None
    if layer.type == "Reduce":
        axes = layer.detail.get("axes")
        return (0, 0) if isinstance(axes, tuple) and len(axes) == 1 else None
    if layer.type == "Softmax":
        return 0, SOFTMAX_TABLE_BYTES
    return (0, 0) if layer.type in _MOVING_TYPES else None


def memory_sections(program: Program) -> MemorySections:
    """The sections of the builder's log for this network."""
    sizes: list[tuple[int, int] | None] = []
    for group in execution_groups(program):
        for index in group.layers:
            sizes.append(_layer_sizes(program, program.layers[index], len(group.layers) > 1))
    known = [size for size in sizes if size is not None]
    complete = len(known) == len(sizes)
    return MemorySections(
        ro=ro_bytes(perf_node_count(program)),
        desc=sum(desc for desc, _ in known) if complete else None,
        data=sum(data for _, data in known) if complete else None,
    )


def int8_bin_size(program: Program) -> int | None:
    """Bytes of the vendor's `<model>_int8.bin` (quantised IR weights), None where not known.

    Verified on three networks of convolutions, fully connected layers, batch norms, ReLUs,
    additions, max and global average pooling, and a softmax.
    """
    for layer in program.layers:
        if layer.type in ("DepthwiseConv", "Reduce") or layer.detail.get("group", 1) != 1:
            return None
        if layer.type != "Eltwise" and _layer_sizes(program, layer, fused=False) is None:
            return None
    return sum(counters.weight_bytes for counters in layer_counters(program))
