"""How each operator takes tensors whose batch is not their first axis (see `batch.py`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from r329fast.graph.onnx.batch import Follower, Handler, Mixed, reshape_place, take_first
from r329fast.graph.onnx.model import Node
from r329fast.graph.onnx.places import FIRST, WHOLE, Place, Shape


def _numbers(follower: Follower, node: Node, key: str, place: int) -> list[int] | None:
    """Integers that stand in an attribute or, later, in a constant input; None if in neither."""
    given = node.attr(key)
    if given is None and node.input(place):
        given = follower.model.const(node.input(place))
        if given is None:
            raise Mixed(f"{key} are computed")
    return None if given is None else [int(value) for value in np.reshape(given, -1)]


def alike(follower: Follower, node: Node) -> None:
    """An operator that treats all elements alike: the batch stays where it is."""
    (name, *others) = follower.computed(node)
    if others or not node.outputs[0]:
        take_first(follower, node)
        return
    follower.emit(node, {node.outputs[0]: follower.place(name)})


def _broadcast(follower: Follower, node: Node) -> None:
    names = follower.computed(node)
    shape = follower.shape(node.outputs[0])
    if all(follower.place(name) == FIRST for name in names) and all(
        len(follower.shape(name)) == len(shape) for name in names
    ):
        follower.emit(node, {node.outputs[0]: FIRST})
        return
    together, place = follower.together(names, len(shape))
    made = dict(zip(names, together, strict=True))
    inputs = [
        made[name] if name in made else name and follower.constant(name, place, shape)
        for name in node.inputs
    ]
    follower.write(node, inputs, {node.outputs[0]: place})


def _transpose(follower: Follower, node: Node) -> None:
    (name,) = follower.computed(node)
    place, rank = follower.place(name), len(follower.shape(name))
    perm = [int(axis) for axis in node.attr("perm", range(rank)[::-1])]
    moved = place.moved(perm.index(place.axis))
    if place == moved == FIRST:
        follower.emit(node, {node.outputs[0]: FIRST})
        return
    order = [place.form_axis(axis) for axis in perm]
    order = [0, *(axis for axis in order if axis)]
    if order == sorted(order):
        follower.write(node, [name], {node.outputs[0]: moved}, "Identity")
    else:
        follower.write(node, [name], {node.outputs[0]: moved}, perm=order)


def _reshape(follower: Follower, node: Node) -> None:
    name, target = node.inputs[0], node.outputs[0]
    place, shape = follower.place(name), follower.shape(name)
    if node.op in ("Squeeze", "Unsqueeze"):
        found = _squeezed(follower, node, place, shape)
    else:
        found = reshape_place(follower, name, target)
    if place == found == FIRST:
        follower.emit(node, {target: FIRST})
        return
    form = found.form(follower.shape(target), follower.batch)
    follower.write(node, [name, follower.const(name, form)], {target: found}, "Reshape")


def _squeezed(follower: Follower, node: Node, place: Place, shape: Shape) -> Place:
    """Where the batch lies behind a Squeeze or Unsqueeze, which name axes."""
    axes = _numbers(follower, node, "axes", 1)
    if node.op == "Unsqueeze":
        rank = len(shape) + len(axes or [])
        new = {axis % rank for axis in axes or []}
        left = [axis for axis in range(rank) if axis not in new]
        return place.moved(left[place.axis])
    rank = len(shape)
    gone = {axis % rank for axis in axes or []}
    if axes is None:
        gone = {axis for axis, size in enumerate(shape) if size == 1}
    if place.axis not in gone:
        return place.moved(sum(axis not in gone for axis in range(place.axis)))
    if follower.strict:
        raise Mixed(f"the batch is squeezed out of {list(shape)}")
    return WHOLE


def _matmul(follower: Follower, node: Node) -> None:
    left, right = node.inputs[:2]
    target, consts = node.outputs[0], follower.model.consts
    if left in consts or right in consts:
        name, other = (right, left) if left in consts else (left, right)
        rank = len(follower.shape(name))
        name, place = follower.apart(name, [rank - 2 if left in consts else rank - 1])
        if follower.places[name] == FIRST and place == FIRST:
            follower.emit(node, {target: FIRST})
            return
        if consts[other].ndim > 2:
            shape = follower.shape(name)
            if place.axis >= rank - 2:  # rows of all images: each image has its own
                place = Place(place.axis, place.outer, True)
                name = follower.reshaped(name, shape, place.form(shape, follower.batch), place)
                other = follower.const(other, consts[other][None])
            else:
                other = follower.constant(other, place, shape)
        inputs = [other, name] if left in consts else [name, other]
        follower.write(node, inputs, {target: place})
        return
    rank = max(len(follower.shape(left)), len(follower.shape(right)))
    sides, place = follower.together([left, right], rank)
    if place.axis >= rank - 2 and follower.strict:
        raise Mixed("the batch is one of the last two axes")
    if place.axis >= rank - 2 and place != WHOLE:
        sides, place = [follower.whole(name) for name in sides], WHOLE
    if sides == [left, right] and place == FIRST:
        follower.emit(node, {target: FIRST})
    else:
        follower.write(node, sides, {target: place})


def _gemm(follower: Follower, node: Node) -> None:
    """Gemm of rows that hold more than the batch: MatMul and Add."""
    name, target, consts = node.inputs[0], node.outputs[0], follower.model.consts
    if name not in consts and node.inputs[1] not in consts:
        if follower.strict:
            raise Mixed("a product of two activations without an axis for the batch")
        both = [follower.whole(side) for side in node.inputs[:2]]
        follower.write(node, [*both, *node.inputs[2:]], {target: WHOLE})
        return
    if name in consts or follower.place(name) == FIRST or node.attr("transA", 0):
        take_first(follower, node)
        return
    name, place = follower.apart(name, [1])
    weights = follower.model.floats(node.inputs[1])
    weights = (weights.T if node.attr("transB", 0) else weights) * np.float32(node.attr("alpha", 1))
    inputs = [name, follower.const(f"{target}_weights", np.ascontiguousarray(weights))]
    if not node.input(2):
        follower.write(node, inputs, {target: place}, "MatMul")
        return
    bias = follower.model.floats(node.input(2)) * np.float32(node.attr("beta", 1))
    if bias.size not in (1, weights.shape[1]):
        raise Mixed(f"a bias of {list(bias.shape)} for rows that hold the batch")
    shape = follower.shape(target)
    made = follower.added("MatMul", node.name, inputs, shape, place.form(shape, follower.batch))
    both = [made, follower.const(f"{target}_bias", np.broadcast_to(bias.reshape(-1), shape[-1:]))]
    follower.write(node, both, {target: place}, "Add")


def _one_axis(follower: Follower, node: Node) -> None:
    """Softmax, Split, LpNormalization and the like, which work along one axis."""
    name = node.inputs[0]
    rank = len(follower.shape(name))
    old = follower.model.opset < 13
    default = {"Split": 0, "LpNormalization": -1, "TopK": -1}.get(node.op, 1 if old else -1)
    axis = int(node.attr("axis", default)) % rank
    flat = old and node.op in ("Softmax", "LogSoftmax")
    made, place = follower.apart(name, range(axis, rank) if flat else [axis])
    outputs = {output: place for output in node.outputs if output}
    if made == name and place == FIRST:
        follower.emit(node, outputs)
        return
    follower.write(node, [made, *node.inputs[1:]], outputs, axis=place.form_axis(axis))


def _concat(follower: Follower, node: Node) -> None:
    names = list(dict.fromkeys(follower.computed(node)))
    shape, target = follower.shape(node.outputs[0]), node.outputs[0]
    axis = int(node.attr("axis", 1)) % len(shape)
    together, place = follower.together(names, len(shape))
    if place.axis == axis and (follower.strict or not place.joined):
        if follower.strict:
            raise Mixed(f"tensors are joined along the batch, axis {axis} of {list(shape)}")
        together, place = [follower.whole(name) for name in together], WHOLE
    if together == names and place == FIRST:
        follower.emit(node, {target: FIRST})
        return
    made = dict(zip(names, together, strict=True))
    inputs = []
    for name in node.inputs:
        if name in made:
            inputs.append(made[name])
            continue
        value = follower.model.consts[name]
        if not place.joined and value.shape[place.axis] == 1:
            value = value.reshape(place.form(value.shape, 1))
        elif place.joined and not follower.strict:
            value = value[None]
        else:
            raise Mixed(f"a constant of shape {list(value.shape)} differs between images")
        inputs.append(follower.const(name, value))
    follower.write(node, inputs, {target: place}, axis=place.form_axis(axis))


def _gather(follower: Follower, node: Node) -> None:
    name, target = node.inputs[0], node.outputs[0]
    indices = follower.model.const(node.input(1))
    if indices is None or name in follower.model.consts:
        take_first(follower, node)
        return
    rank = len(follower.shape(name))
    axis = int(node.attr("axis", 0)) % rank
    name, place = follower.apart(name, [axis])
    if place == FIRST:
        follower.emit(node, {target: FIRST})
        return
    moved = place
    if place != WHOLE and place.axis > axis:
        moved = place.moved(place.axis + indices.ndim - 1)
    follower.write(node, [name, node.inputs[1]], {target: moved}, axis=place.form_axis(axis))


def _slice(follower: Follower, node: Node) -> None:
    name, target = node.inputs[0], node.outputs[0]
    shape = follower.shape(name)
    keys = ("starts", "ends", "axes", "steps")
    found = [_numbers(follower, node, key, place) for place, key in enumerate(keys, start=1)]
    starts, ends = found[0] or [], found[1] or []
    axes = [axis % len(shape) for axis in found[2] or range(len(starts))]
    steps = found[3] or [1] * len(starts)
    kept = []
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if range(*slice(start, end, step).indices(shape[axis])) != range(shape[axis]):
            kept.append((start, end, axis, step))
    name, place = follower.apart(name, [axis for _, _, axis, _ in kept])
    if place == FIRST:
        follower.emit(node, {target: FIRST})
        return
    words: dict[str, Any] = {
        "starts": [start for start, *_ in kept],
        "ends": [end for _, end, *_ in kept],
        "axes": [place.form_axis(axis) for *_, axis, _ in kept],
        "steps": [step for *_, step in kept],
    }
    follower.write(node, [name], {target: place}, **words)


def _reduce(follower: Follower, node: Node) -> None:
    name, target = node.inputs[0], node.outputs[0]
    rank = len(follower.shape(name))
    axes = _numbers(follower, node, "axes", 1)
    keep = bool(node.attr("keepdims", 1))
    if node.op in ("ArgMax", "ArgMin"):
        axes = [int(node.attr("axis", 0))]
    if not axes:
        axes = [] if node.attr("noop_with_empty_axes", 0) else list(range(rank))
    axes = [axis % rank for axis in axes]
    if follower.place(name) == FIRST and 0 in axes:
        follower.emit(node, {target: FIRST})  # refused by its constraint
        return
    name, place = follower.apart(name, axes)
    moved = place
    if not keep and place != WHOLE:
        moved = place.moved(place.axis - sum(axis < place.axis for axis in axes))
    if place == moved == FIRST:
        follower.emit(node, {target: FIRST})
        return
    words = [place.form_axis(axis) for axis in axes]
    if node.op in ("ArgMax", "ArgMin"):
        follower.write(node, [name], {target: moved}, axis=words[0])
    else:
        follower.write(node, [name], {target: moved}, axes=words)


def _layer_norm(follower: Follower, node: Node) -> None:
    name = node.inputs[0]
    rank = len(follower.shape(name))
    axes = [int(axis) % rank for axis in node.attr("axes", [])]
    axes = axes or list(range(int(node.attr("axis", -1)) % rank, rank))
    name, place = follower.apart(name, axes)
    outputs = {output: place for output in node.outputs if output}
    if place == FIRST:
        follower.emit(node, outputs)
        return
    words = [place.form_axis(axis) for axis in axes]
    more = {"axes": words} if "axes" in node.attrs else {"axis": words[0]}
    follower.write(node, [name, *node.inputs[1:]], outputs, **more)


def _batch_norm(follower: Follower, node: Node) -> None:
    """Channels stand in axis 1 of the file; a Transpose brings them there in the form."""
    name, target = node.inputs[0], node.outputs[0]
    if follower.place(name) == FIRST:
        take_first(follower, node)
        return
    name, place = follower.apart(name, [1])
    shape = follower.shape(name)
    form, channel = place.form(shape, follower.batch), place.form_axis(1)
    order = [0, channel, *(axis for axis in range(1, len(form)) if axis != channel)]
    back = [order.index(axis) for axis in range(len(form))]
    turned = tuple(form[axis] for axis in order)
    front = follower.added("Transpose", node.name, [name], shape, turned, perm=order)
    made = follower.added(
        node.op, node.name, [front, *node.inputs[1:]], shape, turned, **node.attrs
    )
    follower.write(node, [made], {target: place}, "Transpose", perm=back)


def _repeat(follower: Follower, node: Node) -> None:
    """Expand, Tile."""
    name, target = node.inputs[0], node.outputs[0]
    shape, wanted = follower.shape(name), follower.shape(target)
    full = (1,) * (len(wanted) - len(shape)) + shape
    place = follower.place(name)
    place = place.moved(place.axis + len(wanted) - len(shape))
    if place == FIRST and full == shape and shape[0] == wanted[0]:
        follower.emit(node, {target: FIRST})
        return
    if full[place.axis] != wanted[place.axis]:
        if follower.strict:
            raise Mixed(f"{list(shape)} is repeated along the batch")
        place = WHOLE
    form = place.form(full, follower.batch)
    made = follower.reshaped(name, full, form, place)
    sizes = follower.const(name, (1, *place.form(wanted, follower.batch)[1:]))
    follower.write(node, [made, sizes], {target: place}, "Expand")


def _pad(follower: Follower, node: Node) -> None:
    name, target = node.inputs[0], node.outputs[0]
    shape = follower.shape(name)
    rank = len(shape)
    flat = _numbers(follower, node, "pads", 1) or []
    axes = _numbers(follower, node, "axes", 3) or list(range(rank))
    pads = dict(zip((axis % rank for axis in axes), zip(flat, flat[len(axes) :], strict=False),
                    strict=False))  # fmt: skip
    name, place = follower.apart(name, [axis for axis, both in pads.items() if any(both)])
    if place == FIRST:
        follower.emit(node, {target: FIRST})
        return
    sizes = {place.form_axis(axis): both for axis, both in pads.items()}
    ends = [sizes.get(axis, (0, 0)) for axis in range(len(place.form(shape, follower.batch)))]
    words = [before for before, _ in ends] + [after for _, after in ends]
    follower.write(node, [name, "", node.input(2)], {target: place}, pads=words)


# Operators that treat all elements alike, beside activations and unary layers (`load.py` adds
# those from their tables), and those that meet element by element.
_ALIKE = ("Cast", "Dropout", "Identity", "Neg")
_BROADCAST = ("Add", "Div", "Max", "Min", "Mul", "PRelu", "Pow", "Sub", "Sum", "Where")
_REDUCE = ("ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd")

HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(_ALIKE, alike),
    **dict.fromkeys(_BROADCAST, _broadcast),
    **dict.fromkeys((*_REDUCE, "ReduceSum", "ArgMax", "ArgMin"), _reduce),
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshape),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Split", "LpNormalization", "TopK"), _one_axis),
    **dict.fromkeys(("Expand", "Tile"), _repeat),
    "BatchNormalization": _batch_norm,
    "Concat": _concat,
    "Gather": _gather,
    "Gemm": _gemm,
    "LayerNormalization": _layer_norm,
    "MatMul": _matmul,
    "Pad": _pad,
    "Slice": _slice,
    "Transpose": _transpose,
}
