"""A float network whose quantisation gives a binary's integers: rebuilt from it and its dicts.

A weight scale is known to the 8 bits of its multiplier; any value inside gives the same integers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from r329fast.calibration import Ranges
from r329fast.graph import ir
from r329fast.program.program import LayerRecord, Op, Program
from r329fast.quantization.fixed_point import real_multiplier


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
        if ops and len(ops) > 1:  # a view of the input's bytes is a layer of its own in a graph
            (view,), (source,) = ops[0].outputs, ops[0].inputs
            shapes[view], ranges[view] = program.tensors[view].shape, ranges[source]
            reshape = ir.ReshapeAttrs(shapes[view])
            layers.append(ir.Layer(view, "Reshape", reshape, (source,), (view,)))
            layer.inputs = (view, *layer.inputs[1:])
        layers.append(layer)
    graph = ir.Graph(program.name, layers, shapes, program.outputs)
    return graph, Ranges(ranges)


def _layer(program: Program, record: LayerRecord, op: Op | None) -> ir.Layer:
    act = ir.Act(record.act)
    attrs: ir.Attrs = ir.InputAttrs() if op is None else _ATTRS[op.kind](op, act)
    consts = {} if op is None or "weights" not in op.consts else _float_constants(program, op)
    return ir.Layer(record.name, record.type, attrs, record.inputs, record.outputs, consts)


def _convolution(op: Op, act: ir.Act) -> ir.Attrs:
    kernel, stride = op.integers("kernel"), op.integers("stride")
    dilation, pads = op.integers("dilation"), op.integers("pads")
    return ir.ConvAttrs(
        (kernel[0], kernel[1]),
        (stride[0], stride[1]),
        (dilation[0], dilation[1]),
        (pads[0], pads[1], pads[2], pads[3]),
        op.integer("group"),
        act,
    )


# Op kind -> the attributes of the layer that it was made of.
_ATTRS: dict[str, Callable[[Op, ir.Act], ir.Attrs]] = {
    "conv2d": _convolution,
    "depthwise_conv2d": _convolution,
    "fully_connected": lambda op, act: ir.FullyConnectedAttrs(act),
    "eltwise": lambda op, act: ir.EltwiseAttrs("ADD", act),
    "concat": lambda op, act: ir.ConcatAttrs(op.integer("axis")),
    "slice": lambda op, act: ir.SliceAttrs(
        *(op.integers(key) for key in ("begin", "end", "strides"))
    ),
    "reduce_sum": lambda op, act: ir.ReduceAttrs("MEAN", op.integers("axes")),
    "transpose": lambda op, act: ir.TransposeAttrs(op.integers("perm")),
}


def _float_constants(program: Program, op: Op) -> dict[str, np.ndarray]:
    """Weights and biases in the middle of what the integers stand for."""
    x, y = program.tensors[op.inputs[0]].scale, program.tensors[op.outputs[0]].scale
    mult = op.consts["mult"]
    ratio = real_multiplier(mult, op.consts["shift"])
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
