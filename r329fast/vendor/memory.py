"""Memory sections that the vendor's builder prints, where their rule is verified.

Rules: spec formats.md 4 and 8. A figure that no public artefact settles is None, never a guess:
Text and BSS (and so Total) always, Desc and Data for networks with a layer form that was in none
of the binaries and logs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np

from r329fast.errors import ProgramError
from r329fast.graph.activations import ACTIVATIONS
from r329fast.graph.layers.elementwise import EltwiseAttrs
from r329fast.program.counters import (
    GLOBAL_AVERAGE_POOL_BYTES,
    is_global_average_pool,
    layer_constants,
    layer_counters,
)
from r329fast.program.program import LayerRecord, Program
from r329fast.vendor.grouping import execution_groups
from r329fast.vendor.nodes import perf_node_count

STACK_BYTES = 0x40400
RO_ENTRY_BYTES = 0x100  # a perf node; one entry in front, the buffer table behind
DESCRIPTOR_BYTES = 0x110
LAYER_DESCRIPTOR_ALIGN = 0x100
DATA_ALIGN = 128
PARAMETER_BLOCK_BYTES = 128  # of every layer on the fixed-function unit
TILE_CHANNELS = 16  # of a depthwise convolution
FC_OUTPUT_ALIGN = 32


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


# (Desc, Data) of one layer, None where no rule is known
Sizes = tuple[int, int] | None
_NOTHING = (0, 0)


def _weights(program: Program, layer: LayerRecord) -> np.ndarray:
    weights, _ = layer_constants(program, layer)
    if weights is None:
        raise ProgramError(f"layer {layer.name!r}: no op of this {layer.type} has weights")
    return weights


def _convolution(program: Program, layer: LayerRecord) -> Sizes:
    weights = _weights(program, layer)
    if weights.itemsize != 1 or layer.detail.get("group") != 1:
        return None
    return descriptor_bytes(1), convolution_data_bytes(weights.shape[0], weights.size)


def _depthwise(program: Program, layer: LayerRecord) -> Sizes:
    weights = _weights(program, layer)
    outputs = weights.shape[0]
    if weights.itemsize != 1 or outputs != program.tensors[layer.inputs[0]].shape[-1]:
        return None  # int16 weights or a channel multiplier
    window = prod(weights.shape[1:3])
    return descriptor_bytes(depthwise_tiles(outputs)), depthwise_data_bytes(outputs, window)


def _fully_connected(program: Program, layer: LayerRecord) -> Sizes:
    weights = _weights(program, layer)
    if weights.itemsize != 1:
        return None
    return descriptor_bytes(1), fully_connected_data_bytes(weights.shape[1], weights.shape[0])


def _batch_norm(program: Program, layer: LayerRecord) -> Sizes:
    return descriptor_bytes(1), batchnorm_data_bytes(_weights(program, layer).shape[0])


def _activation(program: Program, layer: LayerRecord) -> Sizes:
    rectifies = ACTIVATIONS[layer.act].epilogue == "RELU"
    return (descriptor_bytes(1), PARAMETER_BLOCK_BYTES) if rectifies else None


def _pooling(program: Program, layer: LayerRecord) -> Sizes:
    if is_global_average_pool(program, layer):
        return 0, align(GLOBAL_AVERAGE_POOL_BYTES, DATA_ALIGN)
    return _NOTHING if layer.detail.get("method") == "MAX" else None


def _reduce(program: Program, layer: LayerRecord) -> Sizes:
    axes = layer.detail.get("axes")
    return _NOTHING if isinstance(axes, tuple) and len(axes) == 1 else None


def _nothing(program: Program, layer: LayerRecord) -> Sizes:
    return _NOTHING


# Layer types that were seen in a public binary or log; the sizes of all others are not known.
_SIZES: dict[str, Callable[[Program, LayerRecord], Sizes]] = {
    "Input": _nothing,
    "Reshape": _nothing,
    "Transpose": _nothing,
    "Concat": _nothing,
    "Slice": _nothing,
    "ChannelShuffle": _nothing,
    "Convolution": _convolution,
    "DepthwiseConv": _depthwise,
    "FullyConnected": _fully_connected,
    "BatchNorm": _batch_norm,
    "Activation": _activation,
    "Pooling": _pooling,
    "Reduce": _reduce,
    "Softmax": lambda program, layer: (0, layer.facts.table_bytes),
}


def _layer_sizes(program: Program, layer: LayerRecord) -> Sizes:
    """Of a layer that is a node of its own."""
    rule = _SIZES.get(layer.type)
    return None if rule is None else rule(program, layer)


def memory_sections(program: Program) -> MemorySections:
    """The sections of the builder's log for this network."""
    sizes: list[tuple[int, int] | None] = []
    for group in execution_groups(program):
        for index in group.layers:
            sizes.append(_layer_sizes(program, program.layers[index]))
        if len(group.layers) > 1:
            sizes[-1] = _NOTHING  # an addition on its convolution
    known = [size for size in sizes if size is not None]
    complete = len(known) == len(sizes)
    return MemorySections(
        ro=ro_bytes(perf_node_count(program)),
        desc=sum(desc for desc, _ in known) if complete else None,
        data=sum(data for _, data in known) if complete else None,
    )


# Types whose part of the file no public one shows.
_UNSEEN = ("DepthwiseConv", "Reduce")


def int8_bin_size(program: Program) -> int | None:
    """Bytes of the vendor's `<model>_int8.bin` (quantised IR weights), None where not known.

    Verified on three networks of convolutions, fully connected layers, batch norms, ReLUs,
    additions, max and global average pooling, and a softmax.
    """
    for layer in program.layers:
        known = layer.facts.attrs is EltwiseAttrs or _layer_sizes(program, layer) is not None
        seen = layer.type not in _UNSEEN and layer.detail.get("group", 1) == 1
        if not known or not seen:
            return None
    return sum(counters.weight_bytes for counters in layer_counters(program))
