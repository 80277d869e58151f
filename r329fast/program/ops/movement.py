"""Ops that move integers: concat (with its rescale), reshape to channel shuffle."""

from __future__ import annotations

from collections.abc import Mapping

from r329fast.program.op import Op, TensorSpec
from r329fast.program.ops.bounds import (
    check_axis,
    const_in,
    const_is,
    dtype_range,
    products_fit,
    reach,
    requant_ranges,
    shape_is,
)
from r329fast.program.ops.spec import (
    AXES,
    AXIS,
    FAR,
    FLAG,
    REQUANT_ATTRS,
    REQUANT_CONSTS,
    SIZE,
    SIZES,
    WORDS,
    AttrRules,
    Check,
    Int,
    Ints,
    OpSpec,
)

EVERY_WIDTH = (1, 2, 4)  # bytes of an element


def check_concat(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    axis, first = op.integer("axis"), inputs[0].shape
    complaint = check_axis(op, first)
    if complaint:
        return complaint
    for x in inputs:
        alike = (*x.shape[:axis], *x.shape[axis + 1 :]) == (*first[:axis], *first[axis + 1 :])
        if len(x.shape) != len(first) or not alike:
            return f"shapes {first} and {x.shape} differ outside axis {axis}"
    total = sum(x.shape[axis] for x in inputs)
    return (
        const_is(op, "mult", (len(inputs),))
        or const_is(op, "shift", (len(inputs),))
        or shape_is((*first[:axis], total, *first[axis + 1 :]), output)
        or requant_ranges(op)
        or products_fit(op, max(reach(x) for x in inputs))
    )


def check_reshape(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    same = inputs[0].elements == output.elements
    return "" if same else f"cannot reshape {inputs[0].shape} to {output.shape}"


def check_transpose(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    perm = op.integers("perm")
    if sorted(perm) != list(range(len(inputs[0].shape))):
        return f"perm {perm} is no permutation of the axes of {inputs[0].shape}"
    return shape_is(tuple(inputs[0].shape[axis] for axis in perm), output)


def check_slice(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    shape = inputs[0].shape
    begin, end, strides = op.integers("begin"), op.integers("end"), op.integers("strides")
    if not len(begin) == len(end) == len(strides) == len(shape):
        return f"begin, end and strides need {len(shape)} entries"
    if any(not b < e <= n for b, e, n in zip(begin, end, shape, strict=True)):
        return f"range {begin}..{end} step {strides} outside {shape}"
    expected = tuple(-(-(e - b) // s) for b, e, s in zip(begin, end, strides, strict=True))
    return shape_is(expected, output)


def check_pad(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    before, after = op.integers("before"), op.integers("after")
    if not len(before) == len(after) == len(inputs[0].shape):
        return f"before and after need {len(inputs[0].shape)} entries"
    low, high = dtype_range(output)
    if not low <= op.integer("value") <= high:
        return f"value {op.integer('value')}, allowed {low} to {high}"
    expected = tuple(b + n + a for b, n, a in zip(before, inputs[0].shape, after, strict=True))
    return shape_is(expected, output)


def check_constant(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    value = op.consts["value"]
    if value.dtype.name != output.dtype:
        return f"value is {value.dtype}, the tensor {output.dtype}"
    return const_is(op, "value", output.shape)


def check_tile(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    repeats, shape = op.integers("repeats"), inputs[0].shape
    if len(repeats) != len(shape):
        return f"repeats {repeats} of {shape}"
    return shape_is(tuple(n * r for n, r in zip(shape, repeats, strict=True)), output)


def check_gather(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    axis, shape, indices = op.integer("axis"), inputs[0].shape, op.consts["indices"]
    complaint = check_axis(op, shape)
    if complaint or indices.ndim != 1:
        return complaint or f"indices has shape {indices.shape}, allowed a list"
    complaint = const_in(op, "indices", 0, shape[axis] - 1)
    return complaint or shape_is((*shape[:axis], len(indices), *shape[axis + 1 :]), output)


def check_channel_shuffle(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    if not inputs[0].shape:
        return "needs an input with at least one axis"
    group, channels = op.integer("group"), inputs[0].shape[-1]
    if channels % group:
        return f"group {group} does not divide {channels} channels"
    return shape_is(inputs[0].shape, output)


def check_depth_to_space(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    block, inverse, x = op.integer("block"), op.integer("inverse"), inputs[0].shape
    wide, deep = (x, output.shape) if inverse else (output.shape, x)
    if len(x) != 3 or len(output.shape) != 3:
        return f"needs (H, W, C) tensors, found {x} and {output.shape}"
    expected = (deep[0] * block, deep[1] * block, wide[2])
    fits = wide == expected and deep[2] == wide[2] * block * block
    return "" if fits else f"shapes {x} and {output.shape} with block {block}"


def _moving(
    meaning: str,
    attrs: AttrRules,
    check: Check,
    consts: Mapping[str, tuple[str, ...]] | None = None,
) -> OpSpec:
    """An op that puts integers of any width elsewhere."""
    return OpSpec(
        meaning,
        1,
        attrs,
        consts or {},
        check,
        moves=True,
        same_scale=True,
        reads=EVERY_WIDTH,
        writes=EVERY_WIDTH,
    )


OPS: dict[str, OpSpec] = {
    "constant": OpSpec(
        "value, for every image.",
        0,
        {},
        {"value": ("int8", "uint8", "int16", "uint16", "int32")},
        check_constant,
        result_table="value",
        writes=EVERY_WIDTH,
    ),
    "tile": _moving("The input so often along each axis.", {"repeats": SIZES}, check_tile),
    "gather": _moving(
        "Slices `indices` of `axis`.", {"axis": AXIS}, check_gather, {"indices": ("int32",)}
    ),
    "concat": OpSpec(
        "Inputs along `axis`, each a = q + zp_i requantised with its own mult[i], shift[i].",
        -1,
        {**REQUANT_ATTRS, "axis": AXIS},
        REQUANT_CONSTS,
        check_concat,
        reads=WORDS,
        writes=WORDS,
        accumulates=True,
    ),
    "reshape": OpSpec(
        "The same bytes under another shape.",
        1,
        {},
        {},
        check_reshape,
        moves=True,
        alias=True,
        same_scale=True,
        reads=EVERY_WIDTH,
        writes=EVERY_WIDTH,
    ),
    "transpose": OpSpec(
        "Axes permuted.",
        1,
        {"perm": AXES},
        {},
        check_transpose,
        moves=True,
        same_scale=True,
        reads=EVERY_WIDTH,
        writes=EVERY_WIDTH,
    ),
    "slice": OpSpec(
        "q[begin:end:strides].",
        1,
        {"begin": Ints(0, FAR), "end": SIZES, "strides": SIZES},
        {},
        check_slice,
        moves=True,
        same_scale=True,
        reads=EVERY_WIDTH,
        writes=EVERY_WIDTH,
    ),
    "pad": OpSpec(
        "`before` and `after` elements on each axis: `value`, or by mirror or edge.",
        1,
        {
            "before": Ints(0, FAR),
            "after": Ints(0, FAR),
            "mode": ("CONSTANT", "REFLECT", "EDGE", "SYMMETRIC"),
            "value": Int(-32768, 65535),
        },
        {},
        check_pad,
        moves=True,
        filling="value",
        same_scale=True,
        reads=WORDS,
        writes=WORDS,
    ),
    "depth_to_space": OpSpec(
        "out[y * block + i, x * block + j, c] = q[y, x, d], d = (i * block + j) * C + c (DCR) or "
        "(c * block + i) * block + j (CRD); inverse 1: out[y, x, d] = q[y * block + i, ..].",
        1,
        {"block": SIZE, "mode": ("DCR", "CRD"), "inverse": FLAG},
        {},
        check_depth_to_space,
        moves=True,
        same_scale=True,
        reads=EVERY_WIDTH,
        writes=EVERY_WIDTH,
    ),
    "channel_shuffle": OpSpec(
        "[.., C] -> [.., group, C/group] -> swap -> [.., C].",
        1,
        {"group": SIZE},
        {},
        check_channel_shuffle,
        moves=True,
        same_scale=True,
        reads=EVERY_WIDTH,
        writes=EVERY_WIDTH,
    ),
}
