"""Exact counts of each layer: multiply-accumulates, vendor ops_count, parameters, bytes.

Nothing here is modelled: all numbers follow from shapes and constants. `ops_count` is what the
vendor's graph.json has (spec formats.md 5, verified on 236 nodes of four networks); for the
layer types with `ops_assumed`, which no public graph.json shows, it is this project's reading.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from r329fast.graph.activations import ACTIVATIONS
from r329fast.graph.layers.facts import Weights
from r329fast.graph.layers.windows import PoolingAttrs
from r329fast.program.blocks import op_macs
from r329fast.program.program import LayerRecord, Program

BIAS_BYTES, WIDE_BIAS_BYTES = 4, 8  # int32 in the IR; int64 of 48 bits
BATCHNORM_WEIGHT_BYTES = 2  # int16 in the IR
SLOPE_BYTES = 2  # int16
GLOBAL_AVERAGE_POOL_BYTES = 580  # a table whose meaning is unknown (spec formats.md 4)


@dataclass(frozen=True)
class LayerCounters:
    """One layer, one image.

    op: the vendor's layer type; macs: multiply-accumulates with the true group size; ops_count:
    the vendor's figure, which counts grouped convolutions as dense; parameters: numbers in
    weights, bias and slopes; weight_bytes: what the layer puts into the vendor's `_int8.bin`;
    input_bytes, output_bytes: activations read and written.
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
    if layer.facts.weighted:
        for op in program.ops[slice(*layer.ops)]:
            if "weights" in op.consts:
                return op.consts["weights"], op.consts.get("bias")
    return None, None


def is_global_average_pool(program: Program, layer: LayerRecord) -> bool:
    """An average pooling whose window is the whole input map."""
    return (
        layer.facts.attrs is PoolingAttrs
        and layer.detail.get("method") == "AVG"
        and layer.detail.get("kernel") == program.tensors[layer.inputs[0]].shape[:2]
    )


def _bytes(program: Program, names: tuple[str, ...]) -> int:
    return sum(program.tensors[name].bytes for name in names)


def _ops_count(program: Program, layer: LayerRecord, macs: int) -> int:
    if layer.is_input:
        return 0
    # a constant reads nothing
    source = program.tensors[(layer.inputs or layer.outputs)[0]].shape
    output = program.tensors[layer.outputs[0]].shape
    group = layer.detail.get("group", 1)
    return layer.facts.ops_count(source, output, macs, group if isinstance(group, int) else 1)


def _weight_bytes(
    program: Program,
    layer: LayerRecord,
    weights: np.ndarray | None,
    bias: np.ndarray | None,
    slopes: int,
) -> int:
    size = slopes * SLOPE_BYTES
    if weights is not None:
        narrow = layer.facts.weights is not Weights.CHANNEL
        size += weights.size * (weights.itemsize if narrow else BATCHNORM_WEIGHT_BYTES)
    if bias is not None:
        size += bias.size * (BIAS_BYTES if bias.itemsize <= BIAS_BYTES else WIDE_BIAS_BYTES)
    if is_global_average_pool(program, layer):
        size += GLOBAL_AVERAGE_POOL_BYTES
    return size + layer.facts.table_bytes


def _slopes(program: Program, layer: LayerRecord) -> int:
    if not ACTIVATIONS[layer.act].per_channel:
        return 0
    ops = program.ops[slice(*layer.ops)]
    return sum(op.consts["slope"].size for op in ops if "slope" in op.consts)


def layer_counters(program: Program) -> list[LayerCounters]:
    """Counters of every layer in IR order."""
    counters = []
    for layer in program.layers:
        weights, bias = layer_constants(program, layer)
        slopes = _slopes(program, layer)
        macs = sum(op_macs(program, op) for op in program.ops[slice(*layer.ops)])
        counters.append(
            LayerCounters(
                name=layer.name,
                op=layer.type,
                macs=macs,
                ops_count=_ops_count(program, layer, macs),
                parameters=sum(x.size for x in (weights, bias) if x is not None) + slopes,
                weight_bytes=_weight_bytes(program, layer, weights, bias, slopes),
                input_bytes=_bytes(program, layer.inputs),
                output_bytes=_bytes(program, layer.outputs),
            )
        )
    return counters
