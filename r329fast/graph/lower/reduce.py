"""Reductions over axes, where extremes lie, and the largest of an axis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from r329fast.graph.ir import ArgAttrs, L2NormAttrs, Layer, ReduceAttrs, ReshapeAttrs, TopKAttrs
from r329fast.graph.issues import FORM, VALUES
from r329fast.graph.lower.builder import Builder, Value, batch_axis
from r329fast.graph.lower.operator import LayerWriter, Operator
from r329fast.graph.onnx.model import Node, OnnxModel
from r329fast.graph.onnx.writer import TO_NHWC, Writer
from r329fast.graph.rule import Result, advise, first_shape, show

# ONNX operator -> method of the Reduce layer.
METHODS = {
    "ReduceMean": "MEAN",
    "ReduceSum": "SUM",
    "ReduceMax": "MAX",
    "ReduceMin": "MIN",
    "ReduceL1": "L1",
    "ReduceL2": "L2",
    "ReduceProd": "PROD",
}
_OPERATORS = {method: op for op, method in METHODS.items()}


def reduce_axes(node: Node, model: OnnxModel) -> list[int] | None:
    """Per-image axes that a reduction takes (-1: the batch axis); None if not constant."""
    shape = model.shape(node.inputs[0])
    if shape is None:
        return None
    axes: Sequence[int] | None = node.attr("axes")
    if axes is None and node.input(1):
        value = model.const(node.input(1))
        if value is None:
            return None
        axes = [int(axis) for axis in value.reshape(-1)]
    if not axes:
        axes = [] if node.attr("noop_with_empty_axes", 0) else range(len(shape))
    return sorted({batch_axis(int(axis), len(shape)) for axis in axes})


@advise(
    "make the axes constants and reduce with keepdims 1; cut the graph in front of a reduction "
    "over the batch (--output)",
)
def constraint_reduced_axes(node: Node, model: OnnxModel) -> Result:
    """The axes must be constants, not the batch, and leave an axis or keep all (keepdims 1)."""
    axes, shape = reduce_axes(node, model), first_shape(node, model)
    if axes is None:
        return False, "they are computed"
    ok = bool(axes) and axes[0] >= 0 and axes[-1] < len(shape) - 1
    ok = ok and (bool(node.attr("keepdims", 1)) or len(axes) < len(shape) - 1)
    return ok, f"axes {[axis + 1 for axis in axes]} of {show(shape)}"


def import_reduce(builder: Builder, node: Node) -> None:
    """ReduceMean, ReduceSum, ReduceMax, ... -> Reduce, on the axes as they lie."""
    value = builder.held(node.inputs[0])
    value = builder.arrange(value, value.perm)  # refuses a scrambled one
    axes = reduce_axes(node, builder.model) or []
    if len(value.perm) == 3 and len(axes) == 2:  # what stays are channels, lying last
        (channel,) = (axis for axis in range(3) if axis not in axes)
        value = builder.channels_last(value, channel)
    _reduce(builder, node, METHODS[node.op], value, axes)


def _reduce(builder: Builder, node: Node, method: str, value: Value, axes: list[int]) -> None:
    stored, keep = builder.stored(value), bool(node.attr("keepdims", 1))
    places = tuple(sorted(value.perm[axis] for axis in axes))
    shape = [1 if place in places else size for place, size in enumerate(stored)]
    perm = value.perm
    if not keep:
        left = [place for place in range(len(stored)) if place not in places]
        shape = [stored[place] for place in left]
        perm = tuple(left.index(p) for i, p in enumerate(value.perm) if i not in axes)
    attrs = ReduceAttrs(method, places, keep)
    tensor = builder.add(node.name, "Reduce", attrs, (value.tensor,), shape)
    builder.bind(node.outputs[0], tensor, perm)


def write_reduce(w: Writer, layer: Layer) -> str:
    attrs = layer.params(ReduceAttrs)
    tensor = layer.inputs[0]
    axes = w.const(np.array([w.axis(tensor, axis) for axis in attrs.axes], np.int64))
    source = w.names[tensor]
    if w.kept and not attrs.keepdims and attrs.method != "VARIANCE":
        axes = w.const(np.array([axis + 1 for axis in attrs.axes], np.int64))
        result = w.node(_OPERATORS.get(attrs.method, "ReduceMean"), [w.stored(tensor), axes],
                        keepdims=0)  # fmt: skip
        return w.held(result, layer.outputs[0])
    if attrs.method == "VARIANCE":
        away = w.node("Sub", [source, w.node("ReduceMean", [source, axes], keepdims=1)])
        source = w.node("Mul", [away, away])
    # without keepdims what is left of NCHW is in the order of NHWC only if the map is gone
    op = _OPERATORS.get(attrs.method, "ReduceMean")
    result = w.node(op, [source, axes], keepdims=1)
    if attrs.keepdims:
        return str(result)
    shape = w.graph.shapes[layer.outputs[0]]
    flat = w.node("Transpose", [result], perm=TO_NHWC) if w.is_map(tensor) else result
    return w.held(
        w.node("Reshape", [flat, w.const(np.array([0, *shape], np.int64))]), layer.outputs[0]
    )


# --- extremes -------------------------------------------------------------------------------


def _axis(node: Node, model: OnnxModel) -> int:
    """The per-image axis of the node (-1: the batch)."""
    default = -1 if node.op in ("TopK", "LpNormalization") else 0
    return batch_axis(int(node.attr("axis", default)), len(first_shape(node, model)))


@advise("cut the graph in front of it (--output) and compute it from the output", FORM)
def constraint_ends_the_graph(node: Node, model: OnnxModel) -> Result:
    """The axis must not be the batch, and indices must be outputs of the model that no node
    reads."""
    readers = [reader.name for name in node.outputs if name for reader in model.consumers(name)]
    if _axis(node, model) < 0:
        return False, "the batch axis"
    return not readers, f"{', '.join(readers)} reads it"


@advise("make k a constant, and sort the largest (sorted 1)", VALUES)
def constraint_known_k(node: Node, model: OnnxModel) -> Result:
    """k must be a constant of at most the axis, the result sorted."""
    k = model.const(node.input(1)) if node.input(1) else np.array(node.attr("k", 1))
    if k is None:
        return False, "k is computed"
    size = first_shape(node, model)[_axis(node, model) + 1]
    count = int(k.reshape(-1)[0])
    return 0 < count <= size and bool(node.attr("sorted", 1)), f"k {count} of {size}"


def import_arg(builder: Builder, node: Node) -> None:
    """ArgMax, ArgMin -> ArgMinMax, and a Reshape without keepdims."""
    value = builder.value(node.inputs[0])
    value = builder.arrange(value, value.perm)
    axis = _axis(node, builder.model)
    place = value.perm[axis]
    shape = tuple(1 if i == place else n for i, n in enumerate(builder.stored(value)))
    method = "MAX" if node.op == "ArgMax" else "MIN"
    attrs = ArgAttrs(place, method, bool(node.attr("select_last_index", 0)))
    keep = bool(node.attr("keepdims", 1)) or len(shape) == 1
    name = node.name if keep else f"{node.name}_arg"
    tensor = builder.add(name, "ArgMinMax", attrs, (value.tensor,), shape)
    perm = value.perm
    if not keep:
        left = tuple(n for i, n in enumerate(shape) if i != place)
        tensor = builder.add(node.name, "Reshape", ReshapeAttrs(left), (tensor,), left)
        perm = tuple(p - (p > place) for i, p in enumerate(perm) if i != axis)
    builder.bind(node.outputs[0], tensor, perm)


def import_topk(builder: Builder, node: Node) -> None:
    """TopK -> TopK with both outputs."""
    model, value = builder.model, builder.value(node.inputs[0])
    value = builder.arrange(value, value.perm)
    place = value.perm[_axis(node, model)]
    given = model.const(node.input(1)) if node.input(1) else np.array(node.attr("k", 1))
    assert given is not None
    k = int(given.reshape(-1)[0])
    shape = tuple(k if i == place else n for i, n in enumerate(builder.stored(value)))
    attrs = TopKAttrs(place, k, bool(node.attr("largest", 1)))
    tensors = builder.add_many(node.name, "TopK", attrs, (value.tensor,), [shape, shape])
    for name, tensor in zip(node.outputs, tensors, strict=False):
        if name:
            builder.bind(name, tensor, value.perm)


def write_arg(w: Writer, layer: Layer) -> str:
    attrs = layer.params(ArgAttrs)
    axis = w.axis(layer.inputs[0], attrs.axis)
    op = "ArgMax" if attrs.method == "MAX" else "ArgMin"
    found = w.node(op, [w.names[layer.inputs[0]]], axis=axis, select_last_index=int(attrs.last))
    return str(w.node("Cast", [found], to=1))


def write_topk(w: Writer, layer: Layer) -> list[str]:
    attrs = layer.params(TopKAttrs)
    axis, k = w.axis(layer.inputs[0], attrs.axis), w.const(np.array([attrs.k], np.int64))
    source = w.names[layer.inputs[0]]
    values, indices = w.node("TopK", [source, k], 2, axis=axis, largest=int(attrs.largest))
    return [values, w.node("Cast", [indices], to=1)]


# --- L2 normalisation -------------------------------------------------------------------------


@advise("for p 1 divide by a ReduceL1 with keepdims 1", FORM)
def constraint_p2(node: Node, model: OnnxModel) -> Result:
    """p must be 2 and the axis not the batch."""
    p, axis = int(node.attr("p", 2)), _axis(node, model)
    return p == 2 and axis >= 0, f"p {p}, axis {axis + 1}"


def import_lp_normalization(builder: Builder, node: Node) -> None:
    """LpNormalization -> Normalization L2."""
    value = builder.value(node.inputs[0])
    value = builder.arrange(value, value.perm)
    place = value.perm[_axis(node, builder.model)]
    builder.like(node, "Normalization", L2NormAttrs((place,)), value)


def write_l2(w: Writer, layer: Layer) -> str:
    axes = [w.axis(layer.inputs[0], axis) for axis in layer.params(L2NormAttrs).axes]
    source = w.names[layer.inputs[0]]
    length = w.node("ReduceL2", [source, w.const(np.array(axes, np.int64))], keepdims=1)
    return str(w.node("Div", [source, w.node("Max", [length, w.scalar(1e-12)])]))


_ARG = (constraint_ends_the_graph,)

OPERATORS = {
    **{
        op: Operator(import_reduce, f"Reduce {method}", (constraint_reduced_axes,))
        for op, method in METHODS.items()
    },
    "ArgMax": Operator(import_arg, "ArgMinMax MAX, uint16 indices", _ARG),
    "ArgMin": Operator(import_arg, "ArgMinMax MIN, uint16 indices", _ARG),
    "TopK": Operator(
        import_topk,
        "TopK; uint16 indices, of equal values the larger index first",
        (constraint_ends_the_graph, constraint_known_k),
    ),
    "LpNormalization": Operator(import_lp_normalization, "Normalization L2", (constraint_p2,)),
}

WRITERS: dict[str, LayerWriter] = {
    "Reduce": write_reduce,
    "ArgMinMax": write_arg,
    "TopK": write_topk,
    "Normalization": write_l2,
}
