"""Exact counts of each layer: multiply-accumulates, vendor ops_count, parameters, bytes.

Nothing here is modelled: all numbers follow from shapes and constants. `ops_count` is what the
vendor's graph.json says (spec formats.md 5, verified on 236 nodes of four networks); for the
layer types in `ASSUMED_OPS`, which no public graph.json shows, it is this project's reading.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from r329fast.program.program import LayerRecord, Program

# Types whose constants "weights" and "bias" are parameters of the model.
WEIGHT_TYPES = ("Convolution", "DepthwiseConv", "FullyConnected", "BatchNorm")
ASSUMED_OPS = ("MatMul", "Reduce", "Resize", "LRN", "LogSoftmax")

BIAS_BYTES = 4  # int32 in the IR
BATCHNORM_WEIGHT_BYTES = 2  # int16 in the IR
SLOPE_BYTES = 2  # int16
GLOBAL_AVERAGE_POOL_BYTES = 580  # a table whose meaning is unknown (spec formats.md 4)
SOFTMAX_TABLE_BYTES = 1024  # 256 int32


@dataclass(frozen=True)
class LayerCounters:
    """One layer, one image.

    op: the vendor's layer type; macs: multiply-accumulates with the true group size; ops_count:
    the vendor's figure, which counts grouped convolutions as dense; parameters: numbers in
    weights, bias and slopes; weight_bytes: what the layer puts into the vendor's `_int8.bin`;
    input_bytes, output_bytes: activations read and written (one byte an element).
    """

    name: str
    op: str
    macs: int
    ops_count: int
    parameters: int
    weight_bytes: int
    input_bytes: int
    output_bytes: int


def layer_constants(
    program: Program, layer: LayerRecord
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """(weights, bias) of a layer that has them."""
    if layer.type in WEIGHT_TYPES:
        for op in program.ops[slice(*layer.ops)]:
            if "weights" in op.consts:
                return op.consts["weights"], op.consts.get("bias")
    return None, None


def is_global_average_pool(program: Program, layer: LayerRecord) -> bool:
    """An average pooling whose window is the whole input map."""
    return (
        layer.type == "Pooling"
        and layer.detail.get("method") == "AVG"
        and layer.detail.get("kernel") == program.tensors[layer.inputs[0]].shape[:2]
    )


def _elements(program: Program, names: tuple[str, ...]) -> int:
    return sum(program.tensors[name].elements for name in names)


def _macs(program: Program, layer: LayerRecord, weights: np.ndarray | None) -> int:
    output = program.tensors[layer.outputs[0]]
    if layer.type == "MatMul":
        first = program.tensors[layer.inputs[0]].shape
        inner = first[-2] if layer.detail.get("trans_a") else first[-1]
        return output.elements * inner
    if weights is None:
        return 0
    # weights are (out, ...): each output element takes one weight row; a batch norm one weight.
    return output.elements * (weights.size // weights.shape[0])


def _ops_count(program: Program, layer: LayerRecord, macs: int) -> int:
    output = program.tensors[layer.outputs[0]].shape
    if layer.type == "Input":
        return 0
    source = program.tensors[layer.inputs[0]].shape
    if layer.type in ("Convolution", "DepthwiseConv"):
        kernel = layer.detail["kernel"]
        assert isinstance(kernel, tuple), layer.name
        # A grouped convolution counts as dense: all input channels; always + 1 for the bias.
        channels = 1 if layer.type == "DepthwiseConv" else source[-1]
        return 2 * (channels * prod(kernel) + 1) * prod(output)
    if layer.type == "FullyConnected":
        return 2 * (source[-1] + 1) * prod(output)
    if layer.type == "MatMul":
        return 2 * macs
    if layer.type == "BatchNorm":
        return 2 * prod(output[:-1])  # the vendor leaves the channels out
    if layer.type in ("Softmax", "LogSoftmax"):
        return 2 * prod(output)
    if layer.type in ("Eltwise", "Activation", "LRN", "Resize"):
        return prod(output)
    if layer.type in ("Pooling", "Reduce"):
        return prod(source)
    return 0  # Concat, Transpose, Reshape, Slice, Split, Pad, ChannelShuffle only move bytes


def _weight_bytes(
    program: Program,
    layer: LayerRecord,
    weights: np.ndarray | None,
    bias: np.ndarray | None,
    slopes: int,
) -> int:
    size = slopes * SLOPE_BYTES
    if weights is not None:
        narrow = layer.type != "BatchNorm"
        size += weights.size * (weights.itemsize if narrow else BATCHNORM_WEIGHT_BYTES)
    if bias is not None:
        size += bias.size * BIAS_BYTES
    if is_global_average_pool(program, layer):
        size += GLOBAL_AVERAGE_POOL_BYTES
    if layer.type == "Softmax":
        size += SOFTMAX_TABLE_BYTES
    return size


def _slopes(program: Program, layer: LayerRecord) -> int:
    if layer.act != "PRELU":
        return 0
    ops = program.ops[slice(*layer.ops)]
    return sum(op.consts["slope"].size for op in ops if "slope" in op.consts)


def layer_counters(program: Program) -> list[LayerCounters]:
    """Counters of every layer in IR order."""
    counters = []
    for layer in program.layers:
        weights, bias = layer_constants(program, layer)
        slopes = _slopes(program, layer)
        macs = _macs(program, layer, weights)
        counters.append(
            LayerCounters(
                name=layer.name,
                op=layer.type,
                macs=macs,
                ops_count=_ops_count(program, layer, macs),
                parameters=sum(x.size for x in (weights, bias) if x is not None) + slopes,
                weight_bytes=_weight_bytes(program, layer, weights, bias, slopes),
                input_bytes=_elements(program, layer.inputs),
                output_bytes=_elements(program, layer.outputs),
            )
        )
    return counters
