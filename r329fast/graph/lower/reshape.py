"""Transposes and reshapes: what gives the same elements another form."""

from __future__ import annotations

from math import prod

import numpy as np

from r329fast.graph.activations import BY_OPERATOR
from r329fast.graph.ir import ChannelShuffleAttrs, Layer, ReshapeAttrs, TransposeAttrs
from r329fast.graph.issues import VALUES, Unsupported
from r329fast.graph.lower.builder import Builder, canonical
from r329fast.graph.lower.operator import LayerWriter, Operator
from r329fast.graph.lower.rules import BATCH_ADVICE
from r329fast.graph.onnx.model import Node, OnnxModel
from r329fast.graph.onnx.writer import KEPT, Writer
from r329fast.graph.rule import Result, advise, first_shape, show

# Operators that treat every element alike, so that a scrambled flat tensor may pass through them.
_ORDERLESS = {"Dropout", "Identity"} | {
    op for op, (_, row) in BY_OPERATOR.items() if row.keeps_order
}


@advise("export with fixed shapes, or fold them: onnxslim MODEL.onnx OUT.onnx (or onnxsim)", VALUES)
def constraint_target_known(node: Node, model: OnnxModel) -> Result:
    """The target shape or axes must be constants, or fold to constants."""
    return reshape_target(node, model) is not None, "it is computed"


@advise(BATCH_ADVICE)
def constraint_reshape_batch(node: Node, model: OnnxModel) -> Result:
    """The batch must stay the first axis and keep its size."""
    target, shape = reshape_target(node, model), first_shape(node, model)
    if target is None:
        return True, ""
    ok = bool(shape) and bool(target) and target[0] == shape[0]
    return ok, f"{show(shape)} to {show(target)}"


@advise(BATCH_ADVICE)
def constraint_transpose_batch(node: Node, model: OnnxModel) -> Result:
    """perm must leave the batch axis at its place."""
    perm = [int(axis) for axis in node.attr("perm", range(len(first_shape(node, model)))[::-1])]
    return bool(perm) and perm[0] == 0, f"perm {perm}"


def _kept(node: Node) -> bool:
    """Whether `to_onnx` marked the node as a layer that moves data."""
    return node.proto is not None and node.proto.doc_string == KEPT


def import_transpose(builder: Builder, node: Node) -> None:
    """Transpose: only the record of where the axes lie changes."""
    value = builder.held(node.inputs[0])
    if _kept(node):
        _add_transpose(builder, node)
        return
    rank = len(value.perm) + 1
    perm = [int(axis) for axis in node.attr("perm", list(range(rank))[::-1])]
    value = builder.arrange(value, value.perm)  # refuses a scrambled one
    builder.transposes[value.tensor] = node.name
    builder.bind(node.outputs[0], value.tensor, [value.perm[axis - 1] for axis in perm[1:]])


def _add_transpose(builder: Builder, node: Node) -> None:
    value = builder.value(node.inputs[0])
    value = builder.arrange(value, range(len(value.perm)))
    perm = tuple(int(axis) - 1 for axis in node.attr("perm")[1:])
    shape = [builder.stored(value)[axis] for axis in perm]
    tensor = builder.add(node.name, "Transpose", TransposeAttrs(perm), (value.tensor,), shape)
    builder.bind(node.outputs[0], tensor, range(len(perm)))


def reshape_target(node: Node, model: OnnxModel) -> tuple[int, ...] | None:
    """Full shape (batch included) after a Reshape, Flatten, Squeeze, Unsqueeze; None if unknown."""
    shape = model.shape(node.inputs[0])
    if shape is None:
        return None
    rank = len(shape)
    if node.op == "Flatten":
        axis = int(node.attr("axis", 1))
        axis = axis + rank if axis < 0 else axis
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
    value = builder.held(node.inputs[0])
    target = reshape_target(node, builder.model)
    if target is None:
        raise Unsupported("the target shape is not constant", "export with fixed shapes", VALUES)
    new = target[1:]
    logical = builder.shape(value)
    if any(size < 1 for size in (*new, *logical)):  # groups of equal product need positive sizes
        raise ValueError(f"reshaping {list(logical)} to {list(target)}, allowed: sizes from 1")
    if not target or target[0] != builder.batch or prod(new) != prod(logical):
        raise Unsupported(
            f"reshaping a {[builder.batch, *logical]} tensor to {list(target)} moves data between "
            "the batch and other axes",
            BATCH_ADVICE,
        )
    if value.scrambled and new == logical:
        builder.values[node.outputs[0]] = value
        return
    if _kept(node):
        value = builder.arrange(builder.plain(value), range(len(logical)))
        tensor = builder.add(node.name, "Reshape", ReshapeAttrs(new), (value.tensor,), new)
        builder.bind(node.outputs[0], tensor, range(len(new)))
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


def write_reshape(w: Writer, layer: Layer) -> str:
    source = w.stored(layer.inputs[0])
    shape = w.const(np.array([0, *layer.params(ReshapeAttrs).shape], np.int64))
    result = w.node("Reshape", [source, shape])
    w.name_last(layer.name, move=True)
    return w.held(result, layer.outputs[0])


def write_transpose(w: Writer, layer: Layer) -> str:
    source = w.stored(layer.inputs[0])
    perm = [0, *(axis + 1 for axis in layer.params(TransposeAttrs).perm)]
    result = w.node("Transpose", [source], perm=perm)
    w.name_last(layer.name, move=True)
    return w.held(result, layer.outputs[0])


def write_channel_shuffle(w: Writer, layer: Layer) -> str:
    shape = w.graph.shapes[layer.outputs[0]]
    group = layer.params(ChannelShuffleAttrs).group
    size = shape[-1] // group
    if len(shape) == 3:
        split, swap = [0, group, size, *shape[:2]], (0, 2, 1, 3, 4)
        back = [0, shape[2], *shape[:2]]
    else:
        rank = len(shape) + 1
        split = [0, *shape[:-1], group, size]
        swap = (*range(rank - 1), rank, rank - 1)
        back = [0, *shape]
    first, second = layer.parts or ("", "")
    apart = w.node("Reshape", [w.names[layer.inputs[0]], w.const(np.array(split, np.int64))])
    w.name_last(first)
    moved = w.node("Transpose", [apart], perm=swap)
    w.name_last(second)
    result = str(w.node("Reshape", [moved, w.const(np.array(back, np.int64))]))
    w.name_last(layer.name)  # which the reader takes
    return result


_RESHAPE = (constraint_target_known, constraint_reshape_batch)

OPERATORS = {
    "Transpose": Operator(
        import_transpose, "Transpose, where data has to move", (constraint_transpose_batch,)
    ),
    "Reshape": Operator(import_reshape, "Reshape, ChannelShuffle with its neighbours", _RESHAPE),
    **dict.fromkeys(
        ("Flatten", "Squeeze", "Unsqueeze"), Operator(import_reshape, "Reshape", _RESHAPE)
    ),
}

WRITERS: dict[str, LayerWriter] = {
    "Reshape": write_reshape,
    "Transpose": write_transpose,
    "ChannelShuffle": write_channel_shuffle,
}
