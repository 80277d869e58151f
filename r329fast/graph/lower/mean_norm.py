"""Norms by mean and variance of the image itself: of a layer, an instance, a group."""

from __future__ import annotations

import numpy as np

from r329fast.graph.ir import Layer, NormAttrs
from r329fast.graph.issues import Unsupported
from r329fast.graph.lower.builder import Builder, Value, batch_axis
from r329fast.graph.lower.operator import LayerWriter, Operator
from r329fast.graph.lower.rules import constraint_constant_weights, constraint_first_output
from r329fast.graph.onnx.model import Node, OnnxModel
from r329fast.graph.onnx.writer import Writer
from r329fast.graph.rule import Result, advise, first_shape, show


def norm_axes(node: Node, rank: int) -> list[int]:
    """Per-image axes that a LayerNormalization takes (a recognised one names them all)."""
    if "axes" in node.attrs:
        return sorted(batch_axis(int(axis), rank) for axis in node.attrs["axes"])
    return list(range(batch_axis(int(node.attr("axis", -1)), rank), rank - 1))


@advise("cut the graph in front of it (--output)")
def constraint_norm_axes(node: Node, model: OnnxModel) -> Result:
    """The normalised axes must not include the batch."""
    shape = first_shape(node, model)
    axes = norm_axes(node, len(shape))
    return bool(axes) and axes[0] >= 0, f"axes {[axis + 1 for axis in axes]} of {show(shape)}"


@advise("reshape (N, C) to (N, C, 1) in front of it; groups that do not divide C run nowhere")
def constraint_groups(node: Node, model: OnnxModel) -> Result:
    """There must be channels (N, C, ..) behind the batch, a multiple of num_groups, and an axis
    behind them."""
    shape, groups = first_shape(node, model), int(node.attr("num_groups", 1))
    ok = len(shape) >= 3 and groups > 0 and shape[1] % groups == 0
    return ok, f"num_groups {groups} of {show(shape)}"


def import_layer_norm(builder: Builder, node: Node) -> None:
    """LayerNormalization -> LayerNorm, the normalised axes last."""
    model, value = builder.model, builder.value(node.inputs[0])
    value = builder.arrange(value, value.perm)
    rank = len(value.perm)
    axes = norm_axes(node, rank + 1)
    if sorted(value.perm[axis] for axis in axes) != list(range(rank - len(axes), rank)):
        others = sorted((a for a in range(rank) if a not in axes), key=lambda a: value.perm[a])
        order = [*others, *axes]
        value = builder.arrange(value, tuple(order.index(axis) for axis in range(rank)))
    first = rank - len(axes)
    shape = builder.shape(value)
    size = tuple(shape[axis] if axis in axes else 1 for axis in range(rank))
    consts = {
        "weights": _trailing(model, node.input(1), size, value, first, 1.0),
        "bias": _trailing(model, node.input(2), size, value, first, 0.0),
    }
    attrs = NormAttrs(first, 1, float(node.attr("epsilon", 1e-5)))
    builder.like(node, "LayerNorm", attrs, value, consts)


def _trailing(
    model: OnnxModel, name: str, size: tuple[int, ...], value: Value, first: int, empty: float
) -> np.ndarray:
    """A constant over the normalised axes, in the order in which they are stored."""
    given = model.floats(name) if name else np.array(empty, np.float32)
    if given.ndim > len(size):
        given = given.reshape(given.shape[given.ndim - len(size) :])
    try:
        full = np.broadcast_to(given, size)
    except ValueError:
        raise Unsupported(
            f"a factor of shape {list(given.shape)} for axes of {list(size)}",
            "give one factor per normalised element",
        ) from None
    order = np.argsort(value.perm)
    stored = full.transpose(order)
    return np.ascontiguousarray(stored.reshape(stored.shape[first:]))


def import_group_norm(builder: Builder, node: Node) -> None:
    """InstanceNormalization -> InstanceNorm, GroupNormalization -> GroupNorm, channels last."""
    model = builder.model
    source = builder.channels_last(builder.value(node.inputs[0]))
    channels = builder.stored(source)[-1]
    instance = node.op == "InstanceNormalization"
    groups = channels if instance else int(node.attr("num_groups", 1))
    consts = {}
    for name, place in (("weights", 1), ("bias", 2)):
        given = model.floats(node.inputs[place]).reshape(-1)
        if given.size == groups != channels:  # before opset 21: one per group
            given = np.repeat(given, channels // groups)
        consts[name] = np.ascontiguousarray(np.broadcast_to(given, (channels,)))
    attrs = NormAttrs(0, groups, float(node.attr("epsilon", 1e-5)), not instance)
    builder.like(node, "InstanceNorm" if instance else "GroupNorm", attrs, source, consts)


def write_layer_norm(w: Writer, layer: Layer) -> str:
    attrs, shape = layer.params(NormAttrs), w.graph.shapes[layer.inputs[0]]
    weights, bias = layer.consts["weights"], layer.consts["bias"]
    consts = [w.const(np.broadcast_to(v, shape[attrs.axis :])) for v in (weights, bias)]
    source, axis = w.stored(layer.inputs[0]), attrs.axis + 1
    result = w.node("LayerNormalization", [source, *consts], axis=axis, epsilon=attrs.epsilon)
    return w.held(result, layer.outputs[0])


def write_group_norm(w: Writer, layer: Layer) -> str:
    attrs, shape = layer.params(NormAttrs), w.graph.shapes[layer.inputs[0]]
    weights, bias = layer.consts["weights"], layer.consts["bias"]
    source = w.stored(layer.inputs[0])
    # channels in front of [positions], one matrix per group
    rank, ones = len(shape), np.ones(attrs.groups, np.float32)
    front = w.node("Transpose", [source], perm=(0, rank, *range(1, rank)))
    parts = w.node("Reshape", [front, w.const(np.array([0, attrs.groups, -1], np.int64))])
    plain = [w.const(ones), w.const(np.zeros_like(ones))]
    parts = w.node("InstanceNormalization", [parts, *plain], epsilon=attrs.epsilon)
    sizes = np.array([0, shape[-1], *shape[:-1]], np.int64)
    back = w.node("Reshape", [parts, w.const(sizes)])
    back = w.node("Transpose", [back], perm=(0, *range(2, rank + 1), 1))
    scaled = w.node("Mul", [back, w.const(weights)])
    return w.held(w.node("Add", [scaled, w.const(bias)]), layer.outputs[0])


_CONSTANT = (constraint_constant_weights, constraint_first_output)

OPERATORS = {
    "LayerNormalization": Operator(
        import_layer_norm, "LayerNorm", (*_CONSTANT, constraint_norm_axes)
    ),
    "InstanceNormalization": Operator(
        import_group_norm, "InstanceNorm", (*_CONSTANT, constraint_groups)
    ),
    "GroupNormalization": Operator(import_group_norm, "GroupNorm", (*_CONSTANT, constraint_groups)),
}

WRITERS: dict[str, LayerWriter] = {
    "LayerNorm": write_layer_norm,
    "InstanceNorm": write_group_norm,
    "GroupNorm": write_group_norm,
}
