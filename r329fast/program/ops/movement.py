"""Ops that move integers: concat (with its rescale), reshape to channel shuffle."""

from __future__ import annotations

from r329fast.program.op import Op, TensorSpec
from r329fast.program.ops.spec import (
    REQUANT_ATTRS,
    REQUANT_CONSTS,
    OpSpec,
    shape_is,
)


def check_concat(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    axis = op.integer("axis")
    if op.consts["mult"].shape != (len(inputs),) or op.consts["shift"].shape != (len(inputs),):
        return "mult and shift need one entry per input"
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


def check_channel_shuffle(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    group, channels = op.integer("group"), inputs[0].shape[-1]
    if group < 1 or channels % group:
        return f"group {group} does not divide {channels} channels"
    return shape_is(inputs[0].shape, output)


def check_depth_to_space(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    block, inverse, x = op.integer("block"), op.integer("inverse"), inputs[0].shape
    if block < 1 or inverse not in (0, 1):
        return f"block {block} and inverse {inverse}, allowed from 1, and 0 or 1"
    wide, deep = (x, output.shape) if inverse else (output.shape, x)
    if len(x) != 3 or len(output.shape) != 3:
        return f"needs (H, W, C) tensors, found {x} and {output.shape}"
    expected = (deep[0] * block, deep[1] * block, wide[2])
    fits = wide == expected and deep[2] == wide[2] * block * block
    return "" if fits else f"shapes {x} and {output.shape} with block {block}"


OPS: dict[str, OpSpec] = {
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
            "mode": ("CONSTANT", "REFLECT", "EDGE"),
            "value": "int",
        },
        {},
        check_pad,
        moves=True,
        same_scale=True,
    ),
    "depth_to_space": OpSpec(
        "out[y * block + i, x * block + j, c] = q[y, x, d], d = (i * block + j) * C + c (DCR) or "
        "(c * block + i) * block + j (CRD); inverse 1: out[y, x, d] = q[y * block + i, ..].",
        1,
        {"block": "int", "mode": ("DCR", "CRD"), "inverse": "int"},
        {},
        check_depth_to_space,
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
