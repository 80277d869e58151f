"""Importers of what only moves data: reshapes, transposes, joins and cuts."""

from __future__ import annotations

from math import prod

import numpy as np

from r329fast.graph.activations import BY_OPERATOR
from r329fast.graph.ir import ConcatAttrs, PadAttrs, ReshapeAttrs, SliceAttrs, SplitAttrs
from r329fast.graph.issues import Unsupported
from r329fast.graph.lower.builder import Builder, Value, batch_axis, canonical
from r329fast.graph.onnx.model import Node, OnnxModel

BATCH_ADVICE = "keep the batch as the first axis through the whole graph"
# Ops that treat every element alike, so that a scrambled flat tensor may pass through them.
_ORDERLESS = {"Dropout", "Identity"} | {
    op for op, (_, row) in BY_OPERATOR.items() if row.keeps_order
}


def import_transpose(builder: Builder, node: Node) -> None:
    """Transpose: only the record of where the axes lie changes."""
    value = builder.value(node.inputs[0])
    rank = len(value.perm) + 1
    perm = [int(axis) for axis in node.attr("perm", list(range(rank))[::-1])]
    value = builder.arrange(value, value.perm)  # refuses a scrambled one
    builder.bind(node.outputs[0], value.tensor, [value.perm[axis - 1] for axis in perm[1:]])


def reshape_target(node: Node, model: OnnxModel) -> tuple[int, ...] | None:
    """Full shape (batch included) after a Reshape, Flatten, Squeeze, Unsqueeze; None if unknown."""
    shape = model.shape(node.inputs[0])
    if shape is None:
        return None
    rank = len(shape)
    if node.op == "Flatten":
        axis = int(node.attr("axis", 1)) % (rank + 1) if node.attr("axis", 1) != rank else rank
        return prod(shape[:axis]), prod(shape[axis:])
    if node.op == "Reshape":
        target = model.const(node.input(1))
        return None if target is None else _resolve(target, shape, bool(node.attr("allowzero", 0)))
    axes = node.attr("axes")
    if axes is None and node.input(1):
        value = model.const(node.input(1))
        if value is None:
            return None
        axes = value.reshape(-1)
    if node.op == "Squeeze":
        if axes is None:
            # "all axes of size 1" must not take the batch along
            return (shape[0], *(size for size in shape[1:] if size != 1))
        gone = {int(axis) % rank for axis in axes}
        return tuple(size for axis, size in enumerate(shape) if axis not in gone)
    rank += len(axes)
    new = {int(axis) % rank for axis in axes}
    sizes = iter(shape)
    return tuple(1 if axis in new else next(sizes) for axis in range(rank))


def _resolve(target: np.ndarray, shape: tuple[int, ...], allow_zero: bool) -> tuple[int, ...]:
    """A Reshape target with its 0 and -1 entries worked out."""
    result = [int(size) for size in target.reshape(-1)]
    for axis, size in enumerate(result):
        if size == 0 and not allow_zero and axis < len(shape):
            result[axis] = shape[axis]
    if -1 in result:
        known = prod(size for size in result if size != -1)
        result[result.index(-1)] = prod(shape) // max(known, 1)
    return tuple(result)


def import_reshape(builder: Builder, node: Node) -> None:
    """Reshape, Flatten, Squeeze, Unsqueeze -> Reshape."""
    value = builder.value(node.inputs[0])
    target = reshape_target(node, builder.model)
    if target is None:
        raise Unsupported("the target shape is not constant", "export with fixed shapes")
    new = target[1:]
    logical = builder.shape(value)
    if not target or target[0] != builder.batch or prod(new) != prod(logical):
        raise Unsupported(
            f"reshaping a {[builder.batch, *logical]} tensor to {list(target)} moves data between "
            "the batch and other axes",
            BATCH_ADVICE,
        )
    if value.scrambled and new == logical:
        builder.values[node.outputs[0]] = value
        return
    value = builder.arrange(value, value.perm)
    order = _stored_order(value.perm, logical, new)
    if order is None and len(new) == 1 and _only_fully_connected(builder, node.outputs[0]):
        stored = builder.stored(value)
        tensor = builder.add(node.name, "Reshape", ReshapeAttrs(new), (value.tensor,), new)
        builder.bind(node.outputs[0], tensor, (0,), (stored, value.perm))
        return
    if order is None:
        value = builder.arrange(value, _gathered_perm(value.perm, logical, new))
        order = _stored_order(value.perm, logical, new)
        assert order is not None
    perm = _neat_perm(order, new)
    shape = [0] * len(new)
    for axis, place in enumerate(perm):
        shape[place] = new[axis]
    if tuple(shape) == builder.stored(value):
        builder.bind(node.outputs[0], value.tensor, perm)
        return
    attrs = ReshapeAttrs(tuple(shape))
    tensor = builder.add(node.name, "Reshape", attrs, (value.tensor,), shape)
    builder.bind(node.outputs[0], tensor, perm)


def _axis_groups(old: tuple[int, ...], new: tuple[int, ...]) -> list[tuple[list[int], list[int]]]:
    """Old and new axes matched, from the left, in the smallest groups of equal product."""
    groups: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(old) or j < len(new):
        left: list[int] = []
        right: list[int] = []
        a = b = 1
        while True:
            if i < len(old) and (a < b or not left):
                a *= old[i]
                left.append(i)
                i += 1
            elif j < len(new) and (b < a or not right):
                b *= new[j]
                right.append(j)
                j += 1
            if (a == b and (left or i == len(old)) and (right or j == len(new))) or (
                i == len(old) and j == len(new)
            ):
                break
        groups.append((left, right))
    return groups


def _stored_order(
    perm: tuple[int, ...], old: tuple[int, ...], new: tuple[int, ...]
) -> list[int] | None:
    """Order in which the axes of `new` lie after a reshape that moves no data.

    None if the old axes of a group do not lie side by side in their own order, so that data
    would have to move.
    """
    stored = sorted((axis for axis in range(len(old)) if old[axis] > 1), key=lambda a: perm[a])
    placed: list[tuple[float, list[int]]] = []
    where = 0.0
    for left, right in _axis_groups(old, new):
        real = [axis for axis in left if old[axis] > 1]
        if real:
            start = stored.index(real[0])
            if stored[start : start + len(real)] != real:
                return None
            where = float(start)
        else:
            where += 1e-3  # axes of size 1 may lie anywhere: next to their neighbour
        placed.append((where, right))
    return [axis for _, right in sorted(placed, key=lambda item: item[0]) for axis in right]


def _gathered_perm(
    perm: tuple[int, ...], old: tuple[int, ...], new: tuple[int, ...]
) -> tuple[int, ...]:
    """A perm as near as possible to `perm` from which the reshape moves no data: the axes of a
    group side by side in their own order, the groups in the order in which they begin."""
    groups = [left for left, _ in _axis_groups(old, new) if left]

    def begin(left: list[int]) -> int:
        return min((perm[axis] for axis in left if old[axis] > 1), default=perm[left[0]])

    order = [axis for left in sorted(groups, key=begin) for axis in left]
    return tuple(order.index(axis) for axis in range(len(old)))


def _neat_perm(order: list[int], shape: tuple[int, ...]) -> tuple[int, ...]:
    """The perm for a storage order of axes, with axes of size 1 put where operators like them."""
    rank = len(shape)
    real = [axis for axis in order if shape[axis] > 1]
    for perm in (canonical(rank), tuple(range(rank))):
        if sorted(real, key=lambda axis: perm[axis]) == real:
            return perm
    perm_list = [0] * rank
    for place, axis in enumerate(order):
        perm_list[axis] = place
    return tuple(perm_list)


def _only_fully_connected(builder: Builder, tensor: str) -> bool:
    """Whether everything that reads `tensor`, through activations, is a fully connected layer."""
    model = builder.model
    if tensor in model.outputs:
        return False
    readers = model.consumers(tensor)
    if not readers:
        return False
    for node in readers:
        if node.op in ("Gemm", "MatMul"):
            if node.inputs[0] != tensor or node.inputs[1] not in model.consts:
                return False
        elif node.op not in _ORDERLESS or not _only_fully_connected(builder, node.outputs[0]):
            return False
    return True


# --- joins and cuts -------------------------------------------------------------------------


def import_concat(builder: Builder, node: Node) -> None:
    """Concat -> Concat."""
    values = [builder.value(name) for name in node.inputs]
    first = values[0]
    axis = batch_axis(int(node.attr("axis", 1)), len(first.perm) + 1)
    perm = _common_perm(builder, values)
    moved = [builder.arrange(value, perm) for value in values]
    place = perm[axis]
    shape = list(builder.stored(moved[0]))
    shape[place] = sum(builder.stored(value)[place] for value in moved)
    tensor = builder.add(
        node.name, "Concat", ConcatAttrs(place), [value.tensor for value in moved], shape
    )
    builder.bind(node.outputs[0], tensor, perm)


def _common_perm(builder: Builder, values: list[Value]) -> tuple[int, ...]:
    """The perm that most of the values have; the operators' own one wins a tie."""
    perms = [value.perm for value in values]
    wanted = canonical(len(perms[0]))
    return max(dict.fromkeys(perms), key=lambda perm: (perms.count(perm), perm == wanted))


def split_sizes(node: Node, model: OnnxModel) -> list[int] | None:
    """Sizes of the parts of a Split node; None if they are not constant."""
    shape = model.shape(node.inputs[0])
    if shape is None:
        return None
    sizes = node.attr("split")
    if sizes is None and node.input(1):
        value = model.const(node.input(1))
        if value is None:
            return None
        sizes = value.reshape(-1)
    if sizes is not None:
        return [int(size) for size in sizes]
    total = shape[int(node.attr("axis", 0))]
    parts = int(node.attr("num_outputs", len(node.outputs)))
    chunk = -(-total // parts)
    return [min(chunk, total - chunk * index) for index in range(parts)]


def import_split(builder: Builder, node: Node) -> None:
    """Split -> Split."""
    value = builder.value(node.inputs[0])
    value = builder.arrange(value, value.perm)
    place = value.perm[batch_axis(int(node.attr("axis", 0)), len(value.perm) + 1)]
    sizes = split_sizes(node, builder.model) or []
    stored = builder.stored(value)
    shapes = [(*stored[:place], size, *stored[place + 1 :]) for size in sizes]
    attrs = SplitAttrs(place, tuple(sizes))
    tensors = builder.add_many(node.name, "Split", attrs, (value.tensor,), shapes)
    for name, tensor in zip(node.outputs, tensors, strict=True):
        if name:
            builder.bind(name, tensor, value.perm)


def slice_ranges(node: Node, model: OnnxModel) -> list[tuple[int, int, int]] | None:
    """(begin, end, step) for every axis of a Slice, batch included, clipped to the shape.

    None if a bound is not constant. A negative step comes out as it is (with end -1 possible).
    """
    shape = model.shape(node.inputs[0])
    if shape is None:
        return None
    found: list[list[int] | None] = []
    for place, key in enumerate(("starts", "ends", "axes", "steps"), start=1):
        if key in node.attrs:
            found.append([int(v) for v in node.attrs[key]])
        elif node.input(place):
            value = model.const(node.input(place))
            if value is None:
                return None
            found.append([int(v) for v in value.reshape(-1)])
        else:
            found.append(None)
    starts, ends, axes, steps = found
    if starts is None or ends is None:
        return None
    axes = axes if axes is not None else list(range(len(starts)))
    steps = steps if steps is not None else [1] * len(starts)
    ranges = [(0, size, 1) for size in shape]
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = shape[axis]
        ranges[axis % len(shape)] = (*slice(start, end, step).indices(size)[:2], step)
    return ranges


def import_slice(builder: Builder, node: Node) -> None:
    """Slice -> Slice."""
    value = builder.value(node.inputs[0])
    value = builder.arrange(value, value.perm)
    ranges = slice_ranges(node, builder.model) or []
    stored = builder.stored(value)
    begin, end, strides = [0] * len(stored), list(stored), [1] * len(stored)
    shape = list(stored)
    for place, (low, high, step) in zip(value.perm, ranges[1:], strict=True):
        begin[place], end[place], strides[place] = low, high, step
        shape[place] = len(range(low, high, step))
    if 0 in shape:
        raise Unsupported("nothing is left after the slice", "check starts and ends")
    if tuple(shape) == stored:
        builder.values[node.outputs[0]] = value
        return
    attrs = SliceAttrs(tuple(begin), tuple(end), tuple(strides))
    tensor = builder.add(node.name, "Slice", attrs, (value.tensor,), shape)
    builder.bind(node.outputs[0], tensor, value.perm)


def pad_amounts(node: Node, model: OnnxModel) -> list[tuple[int, int]] | None:
    """(before, after) for every axis of a Pad, batch included; None if not constant."""
    shape = model.shape(node.inputs[0])
    if shape is None:
        return None
    rank = len(shape)
    if "pads" in node.attrs:
        flat = [int(v) for v in node.attrs["pads"]]
    else:
        value = model.const(node.input(1))
        if value is None:
            return None
        flat = [int(v) for v in value.reshape(-1)]
    axes = list(range(rank))
    if node.input(3):
        value = model.const(node.input(3))
        if value is None:
            return None
        axes = [int(axis) % rank for axis in value.reshape(-1)]
    pads = [(0, 0)] * rank
    for index, axis in enumerate(axes):
        pads[axis] = (flat[index], flat[index + len(axes)])
    return pads


def pad_value(node: Node, model: OnnxModel) -> float | None:
    """What a constant Pad fills in; None if it is not constant."""
    if node.input(2):
        value = model.const(node.input(2))
        if value is None:
            return None
        return float(value.reshape(-1)[0]) if value.size else 0.0
    return float(node.attr("value", 0.0))


def import_pad(builder: Builder, node: Node) -> None:
    """Pad -> Pad (folded into a following convolution later, where it adds zeros)."""
    value = builder.value(node.inputs[0])
    value = builder.arrange(value, value.perm)
    amounts = (pad_amounts(node, builder.model) or [])[1:]
    stored = builder.stored(value)
    pads = [(0, 0)] * len(stored)
    for place, amount in zip(value.perm, amounts, strict=True):
        pads[place] = amount
    if not any(before or after for before, after in pads):
        builder.values[node.outputs[0]] = value
        return
    shape = [size + sum(amount) for size, amount in zip(stored, pads, strict=True)]
    mode = str(node.attr("mode", "constant")).upper()
    fill = pad_value(node, builder.model) or 0.0
    attrs = PadAttrs(tuple(pads), mode, fill if mode == "CONSTANT" else 0.0)
    tensor = builder.add(node.name, "Pad", attrs, (value.tensor,), shape)
    builder.bind(node.outputs[0], tensor, value.perm)


IMPORTERS = {
    "Transpose": import_transpose,
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), import_reshape),
    "Concat": import_concat,
    "Split": import_split,
    "Slice": import_slice,
    "Pad": import_pad,
}
