"""Softmax and local response normalisation."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from r329fast.graph.ir import Layer, LrnAttrs, ReshapeAttrs, SoftmaxAttrs
from r329fast.graph.issues import Unsupported
from r329fast.graph.lower.builder import Builder, batch_axis
from r329fast.graph.lower.operator import LayerWriter, Operator
from r329fast.graph.lower.rules import constraint_axis_not_batch, constraint_four_axes
from r329fast.graph.onnx.model import Node
from r329fast.graph.onnx.writer import Writer


def import_softmax(builder: Builder, node: Node) -> None:
    """Softmax, LogSoftmax -> the same over one axis.

    Before opset 13 the operator sees the tensor as a matrix, cut at `axis`; where more than one
    axis behind the cut is real, all of them must be, and the layer works on the flat tensor.
    """
    value = builder.held(node.inputs[0])
    value = builder.arrange(value, value.perm)
    shape = builder.shape(value)
    old = builder.model.opset < 13
    axis = batch_axis(int(node.attr("axis", 1 if old else -1)), len(shape) + 1)
    axes = [axis]
    if old:
        axes = [a for a in range(axis, len(shape)) if shape[a] > 1] or [max(axis, 0)]
    kind = node.op
    if len(axes) == 1:
        builder.like(node, kind, SoftmaxAttrs(value.perm[axes[0]]), value)
        return
    if any(shape[a] > 1 for a in range(len(shape)) if a not in axes):
        raise Unsupported(
            f"at opset {builder.model.opset} a softmax over several of the axes {list(shape)}",
            "export at opset 13 or later, or put the softmax axis last",
        )
    stored, size = builder.stored(value), (prod(shape),)
    flat = builder.add(f"{node.name}_in", "Reshape", ReshapeAttrs(size), (value.tensor,), size)
    flat = builder.add(node.name, kind, SoftmaxAttrs(0), (flat,), size)
    tensor = builder.add(f"{node.name}_out", "Reshape", ReshapeAttrs(stored), (flat,), stored)
    builder.values[node.outputs[0]] = replace(value, tensor=tensor)


def import_lrn(builder: Builder, node: Node) -> None:
    """LRN -> LRN across channels."""
    source = builder.channels_last(builder.value(node.inputs[0]))
    attrs = LrnAttrs(
        int(node.attr("size", 1)),
        float(node.attr("alpha", 1e-4)),
        float(node.attr("beta", 0.75)),
        float(node.attr("bias", 1.0)),
    )
    builder.like(node, "LRN", attrs, source)


def write_softmax(w: Writer, layer: Layer) -> str:
    axis = w.axis(layer.outputs[0], layer.params(SoftmaxAttrs).axis)
    return str(w.node(layer.type, [w.names[layer.inputs[0]]], axis=axis))


def write_lrn(w: Writer, layer: Layer) -> str:
    attrs = layer.params(LrnAttrs)
    return str(
        w.node(
            "LRN",
            [w.names[layer.inputs[0]]],
            size=attrs.size,
            alpha=attrs.alpha,
            beta=attrs.beta,
            bias=attrs.bias,
        )
    )


OPERATORS = {
    "Softmax": Operator(import_softmax, "Softmax", (constraint_axis_not_batch,)),
    "LogSoftmax": Operator(import_softmax, "LogSoftmax", (constraint_axis_not_batch,)),
    "LRN": Operator(import_lrn, "LRN", (constraint_four_axes,)),
}

WRITERS: dict[str, LayerWriter] = {
    "Softmax": write_softmax,
    "LogSoftmax": write_softmax,
    "LRN": write_lrn,
}
