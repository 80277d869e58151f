"""A float network whose quantisation gives a binary's integers: rebuilt from it and its dicts.

A weight scale is known to the 8 bits of its multiplier; any value inside gives the same integers.
"""

from __future__ import annotations

import numpy as np

from r329fast.calibration import Ranges
from r329fast.graph import ir
from r329fast.program.program import LayerRecord, Op, Program


def float_network(program: Program) -> tuple[ir.Graph, Ranges]:
    """(graph, ranges) of a program with real scales, as `with_ranges` gives it."""
    layers: list[ir.Layer] = []
    shapes: dict[str, tuple[int, ...]] = {}
    ranges: dict[str, tuple[float, float]] = {}
    for record in program.layers:
        (top,) = record.outputs
        spec = program.tensors[top]
        shapes[top] = spec.shape
        ends = 255 / spec.scale if spec.dtype == "uint8" else 127 / spec.scale
        ranges[top] = (0.0 if spec.dtype == "uint8" else -ends, ends)
        ops = program.ops[slice(*record.ops)]
        layer = _layer(program, record, ops[-1] if ops else None)
        if ops and ops[0].kind == "reshape":  # a view is a layer of its own in a graph
            (view,), (source,) = ops[0].outputs, ops[0].inputs
            shapes[view], ranges[view] = program.tensors[view].shape, ranges[source]
            attrs = ir.ReshapeAttrs(shapes[view])
            layers.append(ir.Layer(view, "Reshape", attrs, (source,), (view,)))
            layer.inputs = (view, *layer.inputs[1:])
        layers.append(layer)
    graph = ir.Graph(program.name, layers, shapes, program.outputs)
    return graph, Ranges(ranges)


def _layer(program: Program, record: LayerRecord, op: Op | None) -> ir.Layer:
    act = ir.Act(record.act)
    consts: dict[str, np.ndarray] = {}
    attrs: ir.Attrs
    if op is None:
        attrs = ir.InputAttrs()
    elif "weights" in op.consts:
        consts = _float_constants(program, op)
        if op.kind == "fully_connected":
            attrs = ir.FullyConnectedAttrs(act)
        else:
            words = {key: op.attrs[key] for key in ("kernel", "stride", "dilation", "pads")}
            attrs = ir.ConvAttrs(**words, group=op.attrs["group"], act=act)  # type: ignore[arg-type]
    elif op.kind == "eltwise":
        attrs = ir.EltwiseAttrs("ADD", act)
    elif op.kind == "concat":
        attrs = ir.ConcatAttrs(op.integer("axis"))
    elif op.kind == "slice":
        attrs = ir.SliceAttrs(*(op.integers(key) for key in ("begin", "end", "strides")))
    elif op.kind == "reduce_sum":
        attrs = ir.ReduceAttrs("MEAN", op.integers("axes"))
    else:
        attrs = ir.TransposeAttrs(op.integers("perm"))
    return ir.Layer(record.name, record.type, attrs, record.inputs, record.outputs, consts)


def _float_constants(program: Program, op: Op) -> dict[str, np.ndarray]:
    """Weights and biases in the middle of what the integers stand for."""
    x, y = program.tensors[op.inputs[0]].scale, program.tensors[op.outputs[0]].scale
    mult = op.consts["mult"].astype(np.float64)
    ratio = mult / np.exp2(op.consts["shift"].astype(np.float64))
    # a dead channel: a ratio whose multiplier falls to 0 beside the layer's largest
    ratio = np.where(mult == 0, np.ldexp(ratio.max(), -24), ratio)
    scale = y / (x * ratio)
    weights = op.consts["weights"].astype(np.float64)
    bias = op.consts["bias"].astype(np.float64)
    shift = 0
    while np.abs(op.consts["bias"].astype(np.int64) >> shift).max() > 32767:
        shift += 1
    bias = bias + (2**shift - 1) / 2  # the low bits were floored away
    column = scale.reshape(-1, *[1] * (weights.ndim - 1))
    return {
        "weights": (weights / column).astype(np.float32),
        "bias": (bias / (x * scale)).astype(np.float32),
    }
