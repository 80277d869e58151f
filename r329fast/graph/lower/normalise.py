"""Importers of softmax and local response normalisation."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from r329fast.graph.ir import LrnAttrs, ReshapeAttrs, SoftmaxAttrs
from r329fast.graph.issues import Unsupported
from r329fast.graph.lower.builder import Builder, batch_axis
from r329fast.graph.onnx.model import Node


def import_softmax(builder: Builder, node: Node) -> None:
    """Softmax, LogSoftmax -> the same over one axis.

    Before opset 13 the operator sees the tensor as a matrix, cut at `axis`; where more than one
    axis behind the cut is real, all of them must be, and the layer works on the flat tensor.
    """
    value = builder.value(node.inputs[0])
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


IMPORTERS = {"Softmax": import_softmax, "LogSoftmax": import_softmax, "LRN": import_lrn}
