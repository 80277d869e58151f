"""Ops that move integers: concat (with its rescale), reshape to channel shuffle."""

from __future__ import annotations

from collections.abc import Mapping

from r329fast.program.op import Op, TensorSpec
from r329fast.program.ops.spec import (
    REQUANT_ATTRS,
    REQUANT_CONSTS,
    AttrRules,
    Check,
    OpSpec,
    shape_is,
)


def check_concat(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    axis = op.integer("axis")
    if op.consts["mult"].shape != (len(inputs),) or op.consts["shift"].shape != (len(inputs),):
        return "mult and shift need one entry an input"
    total = sum(x.shape[axis] for x in inputs)
    expected = (*inputs[0].shape[:axis], total, *inputs[0].shape[axis + 1 :])
    return shape_is(expected, output)


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
    if any(s < 1 for s in strides) or any(
        not 0 <= b < e <= n for b, e, n in zip(begin, end, shape, strict=True)
    ):
        return f"range {begin}..{end} step {strides} outside {shape}"
    expected = tuple(-(-(e - b) // s) for b, e, s in zip(begin, end, strides, strict=True))
    return shape_is(expected, output)


def check_pad(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    before, after = op.integers("before"), op.integers("after")
    if not len(before) == len(after) == len(inputs[0].shape):
        return f"before and after need {len(inputs[0].shape)} entries"
    expected = tuple(b + n + a for b, n, a in zip(before, inputs[0].shape, after, strict=True))
    return shape_is(expected, output)


def check_constant(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    value = op.consts["value"]
    if value.dtype.name != output.dtype:
        return f"value is {value.dtype}, the tensor {output.dtype}"
    return "" if value.shape == output.shape else f"value has shape {value.shape}"


def check_tile(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    repeats, shape = op.integers("repeats"), inputs[0].shape
    if len(repeats) != len(shape) or min(repeats, default=1) < 1:
        return f"repeats {repeats} of {shape}"
    return shape_is(tuple(n * r for n, r in zip(shape, repeats, strict=True)), output)


def check_gather(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    axis, shape, indices = op.integer("axis"), inputs[0].shape, op.consts["indices"]
    if not 0 <= axis < len(shape):
        return f"axis {axis} outside {shape}"
    if indices.ndim != 1 or (indices < 0).any() or (indices >= shape[axis]).any():
        return f"indices: need a list of 0..{shape[axis] - 1}"
    return shape_is((*shape[:axis], len(indices), *shape[axis + 1 :]), output)


def check_blocks(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    block, shape = op.integer("block"), inputs[0].shape
    if len(shape) != 3 or block < 1:
        return f"needs an (H, W, C) input and a positive block, found {shape} and {block}"
    height, width, channels = shape
    if op.kind == "depth_to_space":
        if channels % block**2:
            return f"block {block} does not divide {channels} channels"
        return shape_is((height * block, width * block, channels // block**2), output)
    if height % block or width % block:
        return f"block {block} does not divide {height}x{width}"
    return shape_is((height // block, width // block, channels * block**2), output)


def check_channel_shuffle(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    group, channels = op.integer("group"), inputs[0].shape[-1]
    if group < 1 or channels % group:
        return f"group {group} does not divide {channels} channels"
    return shape_is(inputs[0].shape, output)


def _moving(
    meaning: str,
    attrs: AttrRules,
    check: Check,
    consts: Mapping[str, tuple[str, ...]] | None = None,
) -> OpSpec:
    """An op that puts integers of any width elsewhere."""
    every = (1, 2, 4)
    return OpSpec(
        meaning,
        1,
        attrs,
        consts or {},
        check,
        moves=True,
        same_scale=True,
        reads=every,
        writes=every,
    )


OPS: dict[str, OpSpec] = {
    "constant": OpSpec(
        "value, for every image.",
        0,
        {},
        {"value": ("int8", "uint8", "int16", "uint16", "int32")},
        check_constant,
        result_table="value",
        writes=(1, 2, 4),
    ),
    "tile": _moving("The input so often along each axis.", {"repeats": "ints:0"}, check_tile),
    "gather": _moving(
        "Slices `indices` of `axis`.", {"axis": "int"}, check_gather, {"indices": ("int32",)}
    ),
    "depth_to_space": _moving(
        "[H, W, b, b, c] (DCR) or [H, W, c, b, b] (CRD) -> [H, b, W, b, c]. (spec B.20)",
        {"block": "int", "mode": ("DCR", "CRD")},
        check_blocks,
    ),
    "space_to_depth": _moving(
        "[H, b, W, b, C] -> [H, W, b, b, C]. (spec B.20)", {"block": "int"}, check_blocks
    ),
    "concat": OpSpec(
        "Inputs along `axis`, each a = q + zp_i requantised with its own mult[i], shift[i].",
        -1,
        {**REQUANT_ATTRS, "axis": "int"},
        REQUANT_CONSTS,
        check_concat,
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
    ),
    "transpose": OpSpec(
        "Axes permuted.",
        1,
        {"perm": "ints:0"},
        {},
        check_transpose,
        moves=True,
        same_scale=True,
    ),
    "slice": OpSpec(
        "q[begin:end:strides].",
        1,
        {"begin": "ints:0", "end": "ints:0", "strides": "ints:0"},
        {},
        check_slice,
        moves=True,
        same_scale=True,
    ),
    "pad": OpSpec(
        "`before` and `after` elements on each axis: `value`, or by mirror or edge.",
        1,
        {
            "before": "ints:0",
            "after": "ints:0",
            "mode": ("CONSTANT", "REFLECT", "EDGE", "SYMMETRIC"),
            "value": "int",
        },
        {},
        check_pad,
        moves=True,
        same_scale=True,
    ),
    "channel_shuffle": OpSpec(
        "[.., C] -> [.., group, C/group] -> swap -> [.., C].",
        1,
        {"group": "int"},
        {},
        check_channel_shuffle,
        moves=True,
        same_scale=True,
    ),
}
