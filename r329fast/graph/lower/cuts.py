"""Joins and cuts: concat, split, slice, pad."""

from __future__ import annotations

import numpy as np

from r329fast.graph.ir import ConcatAttrs, Layer, PadAttrs, SliceAttrs, SplitAttrs
from r329fast.graph.issues import FORM, VALUES, Unsupported
from r329fast.graph.lower.builder import Builder, Value, batch_axis, canonical
from r329fast.graph.lower.operator import LayerWriter, Operator
from r329fast.graph.lower.rules import constraint_axis_not_batch
from r329fast.graph.lower.spread import constant
from r329fast.graph.onnx.model import Node, OnnxModel
from r329fast.graph.onnx.writer import Writer
from r329fast.graph.rule import Result, advise, first_shape, show


@advise("export with a batch of 1, or cut the graph in front of it (--output)", VALUES)
def constraint_joined_constants(node: Node, model: OnnxModel) -> Result:
    """A constant among the inputs must be the same for all images (first axis of size 1)."""
    shapes = [model.consts[name].shape for name in node.inputs if name in model.consts]
    found = [show(shape) for shape in shapes if shape[:1] != (1,)]
    return not found, f"a constant of {', '.join(found)}"


@advise("make the sizes constants that add up (constant folding at export, or onnxslim)", VALUES)
def constraint_split_sizes(node: Node, model: OnnxModel) -> Result:
    """The sizes must be constants, one per output, that add up to the axis."""
    sizes, shape = split_sizes(node, model), first_shape(node, model)
    if sizes is None:
        return False, "they are computed"
    total = shape[int(node.attr("axis", 0))]
    ok = sum(sizes) == total and len(sizes) == len(node.outputs) and min(sizes) > 0
    return ok, f"sizes {sizes}, axis of {total}"


@advise(
    "make starts, ends, axes and steps constants (constant folding at export, or onnxslim); a "
    "Gather does what a negative step does",
    VALUES,
)
def constraint_slice_ranges(node: Node, model: OnnxModel) -> Result:
    """Starts, ends, axes and steps must be constants, steps positive, the batch left alone."""
    ranges, shape = slice_ranges(node, model), first_shape(node, model)
    if ranges is None:
        return False, "they are computed"
    ok = all(step > 0 for _, _, step in ranges) and ranges[0] == (0, shape[0], 1)
    return ok, f"ranges {ranges} of {show(shape)}"


@advise(
    "make pads constants; a Slice does what negative ones do, a Concat of Slices what wrap does",
    FORM,
)
def constraint_pad_form(node: Node, model: OnnxModel) -> Result:
    """Pads and value must be constants; mode constant, reflect or edge; pads not negative; no
    padding of the batch; reflected pads smaller than the axis."""
    amounts, mode = pad_amounts(node, model), str(node.attr("mode", "constant"))
    if amounts is None or pad_value(node, model) is None:
        return False, "they are computed"
    shape = first_shape(node, model)
    ok = mode in ("constant", "reflect", "edge") and amounts[0] == (0, 0)
    ok = ok and all(min(amount) >= 0 for amount in amounts)
    if mode == "reflect":
        ok = ok and all(max(a) < n for a, n in zip(amounts[1:], shape[1:], strict=True))
    return ok, f"mode {mode}, pads {amounts}"


def import_concat(builder: Builder, node: Node) -> None:
    """Concat -> Concat."""
    consts = builder.model.consts
    values = {name: builder.held(name) for name in node.inputs if name not in consts}
    perm = _common_perm(builder, [values[name] for name in node.inputs if name in values])
    axis = batch_axis(int(node.attr("axis", 1)), len(perm) + 1)
    moved = []
    for index, name in enumerate(node.inputs):
        if name in values:
            moved.append(builder.arrange(values[name], perm))
            continue
        word, sizes = f"{node.name}_constant{index}", consts[name].shape[1:]
        moved.append(constant(builder, word, consts[name], sizes, perm))
    place = perm[axis]
    shape = list(builder.stored(moved[0]))
    for value in moved:
        stored = builder.stored(value)
        if (*stored[:place], *stored[place + 1 :]) != (*shape[:place], *shape[place + 1 :]):
            raise ValueError(f"inputs of {list(shape)} and {list(stored)} differ in another axis")
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
    value = builder.held(node.inputs[0])
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
    value = builder.held(node.inputs[0])
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
    value = builder.held(node.inputs[0])
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


def write_concat(w: Writer, layer: Layer) -> str:
    axis = w.axis(layer.outputs[0], layer.params(ConcatAttrs).axis)
    return str(w.node("Concat", [w.names[name] for name in layer.inputs], axis=axis))


def write_slice(w: Writer, layer: Layer) -> str:
    attrs = layer.params(SliceAttrs)
    axes = [w.axis(layer.inputs[0], axis) for axis in range(len(attrs.begin))]
    consts = [w.const(np.array(v, np.int64)) for v in (attrs.begin, attrs.end, axes, attrs.strides)]
    return str(w.node("Slice", [w.names[layer.inputs[0]], *consts]))


def write_split(w: Writer, layer: Layer) -> list[str]:
    attrs = layer.params(SplitAttrs)
    axis = w.axis(layer.inputs[0], attrs.axis)
    sizes = w.const(np.array(attrs.sizes, np.int64))
    source = w.names[layer.inputs[0]]
    result = w.node("Split", [source, sizes], len(attrs.sizes), axis=axis)
    return [result] if isinstance(result, str) else list(result)


def write_pad(w: Writer, layer: Layer) -> str:
    attrs = layer.params(PadAttrs)
    rank = len(attrs.pads)
    before, after = [0] * (rank + 1), [0] * (rank + 1)
    for axis, (low, high) in enumerate(attrs.pads):
        place = w.axis(layer.inputs[0], axis)
        before[place], after[place] = low, high
    pads = w.const(np.array(before + after, np.int64))
    inputs = [w.names[layer.inputs[0]], pads, w.scalar(attrs.value)]
    return str(w.node("Pad", inputs, mode=attrs.mode.lower()))


OPERATORS = {
    "Concat": Operator(
        import_concat, "Concat", (constraint_joined_constants, constraint_axis_not_batch)
    ),
    "Split": Operator(import_split, "Split", (constraint_axis_not_batch, constraint_split_sizes)),
    "Slice": Operator(import_slice, "Slice", (constraint_slice_ranges,)),
    "Pad": Operator(import_pad, "Pad; zeros are folded into a convolution", (constraint_pad_form,)),
}

WRITERS: dict[str, LayerWriter] = {
    "Concat": write_concat,
    "Slice": write_slice,
    "Split": write_split,
    "Pad": write_pad,
}
