"""Constants as tensors, tensors repeated along axes, and slices picked by index."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from r329fast.graph.ir import ConstantAttrs, GatherAttrs, Layer, ReshapeAttrs, TileAttrs
from r329fast.graph.issues import VALUES
from r329fast.graph.lower.builder import Builder, Value, batch_axis
from r329fast.graph.lower.operator import LayerWriter, Operator
from r329fast.graph.onnx.model import Node, OnnxModel
from r329fast.graph.onnx.writer import TO_NCHW, Writer
from r329fast.graph.rule import Result, advise, first_shape, show


def spread(builder: Builder, name: str, value: Value, shape: tuple[int, ...]) -> Value:
    """`value` repeated along its axes of size 1 until it has the logical per-image `shape`."""
    have = builder.shape(value)
    if have == shape:
        return value
    repeats = [1] * len(builder.stored(value))
    for axis, place in enumerate(value.perm):
        repeats[place] = shape[axis] // have[axis]
    stored = tuple(n * r for n, r in zip(builder.stored(value), repeats, strict=True))
    attrs = TileAttrs(tuple(repeats))
    return replace(value, tensor=builder.add(name, "Tile", attrs, (value.tensor,), stored))


def constant(
    builder: Builder, name: str, values: np.ndarray, shape: tuple[int, ...], perm: tuple[int, ...]
) -> Value:
    """A Constant layer of the logical per-image `shape`, lying as `perm` says."""
    full = np.asarray(values, np.float32)
    if full.ndim > len(shape):
        full = full.reshape(full.shape[1:])  # a batch axis of size 1
    full = np.broadcast_to(full, shape)
    order = np.argsort(perm)  # stored axis -> logical axis
    stored = np.ascontiguousarray(full.transpose(order))
    stored = np.expand_dims(stored, [n for n in range(max(perm, default=-1)) if n not in perm])
    tensor = builder.add(name, "Constant", ConstantAttrs(), (), stored.shape, {"value": stored})
    return Value(tensor, perm)


@advise(
    "make the numbers constants (onnxslim), give the input as many axes as the target by a "
    "Reshape, and repeat the batch outside of the model",
    VALUES,
)
def constraint_known_repeats(node: Node, model: OnnxModel) -> Result:
    """The target sizes or repeats must be constants that leave the batch and the number of axes."""
    sizes, shape = model.const(node.input(1)), first_shape(node, model)
    if sizes is None:
        return False, "they are computed"
    words = [int(size) for size in sizes.reshape(-1)]
    if node.op == "Tile":
        return len(words) == len(shape) and words[0] == 1, f"repeats {words} of {show(shape)}"
    ok = len(words) <= len(shape)
    ok = ok and (len(words) < len(shape) or words[0] in (1, shape[0]))
    return ok, f"{show(shape)} to {words}"


def import_repeat(builder: Builder, node: Node) -> None:
    """Expand, Tile -> Tile."""
    model, value = builder.model, builder.value(node.inputs[0])
    value = builder.arrange(value, value.perm)
    sizes = [int(size) for size in (model.consts[node.inputs[1]]).reshape(-1)]
    have = builder.shape(value)
    if node.op == "Tile":
        shape = tuple(n * r for n, r in zip(have, sizes[1:], strict=True))
    else:
        sizes = [1] * (len(have) + 1 - len(sizes)) + sizes
        shape = tuple(max(n, size) for n, size in zip(have, sizes[1:], strict=True))
    builder.values[node.outputs[0]] = spread(builder, node.name, value, shape)


# --- gather ---------------------------------------------------------------------------------


@advise(
    "make the indices constants (constant folding at export, or onnxslim), and pick images outside "
    "of the model",
    VALUES,
)
def constraint_known_indices(node: Node, model: OnnxModel) -> Result:
    """The indices must be constants that pick from another axis than the batch and leave one."""
    indices, shape = model.const(node.input(1)), first_shape(node, model)
    if indices is None:
        return False, "they are computed"
    axis = batch_axis(int(node.attr("axis", 0)), len(shape))
    ok = axis >= 0 and indices.size > 0 and (indices.ndim > 0 or len(shape) > 2)
    return ok, f"axis {axis + 1} of {show(shape)}, {indices.size} indices"


def import_gather(builder: Builder, node: Node) -> None:
    """Gather -> Gather, and a Reshape where the indices are no list."""
    value = builder.value(node.inputs[0])
    value = builder.arrange(value, value.perm)
    axis = batch_axis(int(node.attr("axis", 0)), len(value.perm) + 1)
    place, stored = value.perm[axis], builder.stored(value)
    indices = builder.model.consts[node.inputs[1]].astype(np.int64)
    flat = np.where(indices < 0, indices + stored[place], indices).reshape(-1)
    if (flat < 0).any() or (flat >= stored[place]).any():
        raise ValueError(f"indices outside an axis of {stored[place]}")
    shape = (*stored[:place], len(flat), *stored[place + 1 :])
    name = node.name if indices.ndim == 1 else f"{node.name}_gather"
    attrs = GatherAttrs(place)
    tensor = builder.add(name, "Gather", attrs, (value.tensor,), shape, {"indices": flat})
    perm = list(value.perm)
    if indices.ndim != 1:
        more = indices.ndim - 1
        shape = (*stored[:place], *indices.shape, *stored[place + 1 :])
        tensor = builder.add(node.name, "Reshape", ReshapeAttrs(shape), (tensor,), shape)
        perm = [p + more if p > place else p for p in perm]
        perm[axis : axis + 1] = range(place, place + indices.ndim)
    builder.bind(node.outputs[0], tensor, perm)


# --- writing --------------------------------------------------------------------------------


def write_constant(w: Writer, layer: Layer) -> str:
    """The value for each image of the batch, whose size the first input tells."""
    value = layer.consts["value"][None]
    held = value.transpose(TO_NCHW) if value.ndim == 4 else value
    images = w.node("Shape", [w.names[w.graph.inputs[0]]], start=0, end=1)
    rest = w.const(np.array(held.shape[1:], np.int64))
    return str(w.node("Expand", [w.const(held), w.node("Concat", [images, rest], axis=0)]))


def write_tile(w: Writer, layer: Layer) -> str:
    repeats = layer.params(TileAttrs).repeats
    words = [1] * (len(repeats) + 1)
    for axis, count in enumerate(repeats):
        words[w.axis(layer.inputs[0], axis)] = count
    return str(w.node("Tile", [w.names[layer.inputs[0]], w.const(np.array(words, np.int64))]))


def write_gather(w: Writer, layer: Layer) -> str:
    axis = w.axis(layer.inputs[0], layer.params(GatherAttrs).axis)
    indices = w.const(layer.consts["indices"].astype(np.int64))
    return str(w.node("Gather", [w.names[layer.inputs[0]], indices], axis=axis))


def write_crop(w: Writer, layer: Layer) -> str:
    return str(w.node("Identity", [w.names[layer.inputs[0]]]))


_REPEAT = (constraint_known_repeats,)

OPERATORS = {
    "Expand": Operator(import_repeat, "Tile", _REPEAT),
    "Tile": Operator(import_repeat, "Tile", _REPEAT),
    "Gather": Operator(
        import_gather, "Gather, Reshape where the indices are no list", (constraint_known_indices,)
    ),
}

WRITERS: dict[str, LayerWriter] = {
    "Constant": write_constant,
    "Tile": write_tile,
    "Gather": write_gather,
    "Crop": write_crop,
}
