"""Softmax in its forms, norms, where extremes lie, local response normalisation."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from r329fast.program.op import Op, TensorSpec
from r329fast.program.ops.bounds import (
    MAX_MULT,
    PRODUCT_LIMIT,
    check_axis,
    check_table,
    const_in,
    const_is,
    dtype_range,
    largest,
    reach,
    requant_lengths,
    requant_rules,
    same_dtype,
    shape_is,
    span,
)
from r329fast.program.ops.spec import (
    AXIS,
    FAR,
    FLAG,
    REQUANT_ATTRS,
    REQUANT_CONSTS,
    SHIFT,
    SIZE,
    Int,
    OpSpec,
)

ROOT_ENTRIES = 193  # of the table of 1 / sqrt (spec B.17)
_MAX_BITS = 31  # fraction bits of a quotient: powers are below 2**31


def check_softmax(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    complaint = check_axis(op, inputs[0].shape) or shape_is(inputs[0].shape, output)
    if complaint or "table" not in op.consts:
        return complaint
    complaint = (
        const_is(op, "table", (256,))
        or const_in(op, "table", 0, FAR)
        or const_is(op, "log_table", (256,))
        or const_in(op, "log_table", *dtype_range(output))
        or requant_lengths(op, 1)
    )
    if complaint:
        return complaint
    shift, bits = int(op.consts["shift"][0]), op.integer("bits")
    if shift + bits > SHIFT.high:
        return f"shift {shift} and bits {bits} together, allowed up to {SHIFT.high}"
    # the first division's dividend; its quotient is at most 2**bits + 1, and so are the products
    total = inputs[0].shape[op.integer("axis")] * largest(op.consts["table"])
    if (largest(op.consts["table"]) << bits) + total >= PRODUCT_LIMIT:
        return f"table up to {largest(op.consts['table'])} with bits {bits} passes 62 bits"
    return ""


def check_norm(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    x, axis, groups = inputs[0], op.integer("axis"), op.integer("groups")
    shape, bias = x.shape, op.consts["bias"]
    if not axis < len(shape) or shape[-1] % groups:
        return f"axis {axis} and {groups} groups of {shape}"
    complaint = (
        const_is(op, "weights", shape[axis:], shape[-1:])
        or const_is(op, "bias", op.consts["weights"].shape)
        or const_is(op, "table", (ROOT_ENTRIES,))
        or const_in(op, "table", 0, MAX_MULT)
    )
    if complaint:
        return complaint
    # the mean may be clamped away from integers that lie outside the tensor's range
    low, high = dtype_range(x)
    outside = max(x.qmin - low, high - x.qmax) + 1
    count = prod(shape[axis:]) // groups
    variance = count * (((high - low + 1) // 2) ** 2 + outside**2)
    if variance >> max(op.integer("var_shift"), 0) > FAR:
        return (
            f"variance of {count} elements passes 31 bits with var_shift {op.integer('var_shift')}"
        )
    most = 128 * largest(op.consts["weights"]) + largest(bias)
    return shape_is(shape, output) or requant_rules(op, shape[-1], most)


def check_norm_words(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    x, axis, bias = inputs[0], op.integer("axis"), op.consts["bias"]
    if not axis < len(x.shape):
        return f"axis {axis} of {x.shape}"
    if prod(x.shape[axis:]) * span(x) ** 2 >= PRODUCT_LIMIT:
        return f"squares of {prod(x.shape[axis:])} elements pass 62 bits"
    most = 32768 * largest(op.consts["weights"]) + largest(bias)
    return (
        const_is(op, "weights", x.shape[axis:], x.shape[-1:])
        or const_is(op, "bias", op.consts["weights"].shape)
        or const_is(op, "table", (ROOT_ENTRIES,))
        or const_in(op, "table", 0, MAX_MULT)
        or shape_is(x.shape, output)
        or requant_rules(op, x.shape[-1], most)
    )


def check_arg(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    axis, shape = op.integer("axis"), inputs[0].shape
    complaint = check_axis(op, shape)
    if complaint:
        return complaint
    if shape[axis] > output.qmax + 1:
        return f"indices of {shape[axis]} do not fit {output.dtype}"
    size = 1 if op.kind == "arg_extreme" else op.integer("k")
    if size > shape[axis]:
        return f"k {size} of {shape[axis]}"
    return shape_is((*shape[:axis], size, *shape[axis + 1 :]), output)


def check_topk(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    if op.text("result") == "INDICES":
        return check_arg(op, inputs, output)
    complaint = same_dtype(inputs, output)
    return complaint or check_arg(op, inputs, replace(output, qmax=inputs[0].elements))


def check_lrn(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    complaint = check_table(op, inputs, output)
    if complaint:
        return complaint
    x, size = inputs[0], op.integer("size")
    squares = size * reach(x) ** 2 * op.integer("sum_mult")
    if squares >= PRODUCT_LIMIT:
        return f"size {size} and sum_mult {op.integer('sum_mult')} pass 62 bits"
    return requant_rules(op, x.shape[-1], reach(x) * (largest(op.consts["table"]) + 1))


OPS: dict[str, OpSpec] = {
    "standardize": OpSpec(
        "Over the axes from `axis` on, for each of `groups` parts of the last: m = rne(mean q), "
        "v = sum((q - m)**2) >> var_shift (0 where that is negative), g = (isqrt(v) + 2**15) >> 16 "
        "by `table`; u = clamp(rne((q - m) * g / 2**(8 + norm_shift)), -128, 127); "
        "requant(u * weights + bias). (spec B.17)",
        1,
        {
            **REQUANT_ATTRS,
            "axis": AXIS,
            "groups": SIZE,
            "var_shift": Int(-31, 62),
            "norm_shift": Int(SHIFT.low - 8, SHIFT.high - 8),
        },
        {
            **REQUANT_CONSTS,
            "weights": ("int8", "int16"),
            "bias": ("int32",),
            "table": ("int32",),
        },
        check_norm,
        accumulates=True,
    ),
    "standardize_words": OpSpec(
        "Over the axes from `axis` on: m = rne(mean q), v = mean((q - m)**2), floor; g = "
        "clamp(rne(((isqrt(v) + 2**15) >> 16) * norm_mult / 2**norm_shift), 0, 65535), isqrt by "
        "`table`; u = clamp(rne(((q - m) >> 1) * g / 2**7), -32768, 32767); requant(u * weights + "
        "bias). (spec B.23)",
        1,
        {**REQUANT_ATTRS, "axis": AXIS, "norm_mult": Int(0, MAX_MULT), "norm_shift": SHIFT},
        {
            **REQUANT_CONSTS,
            "weights": ("int8", "int16"),
            "bias": ("int32", "int64"),
            "table": ("int32",),
        },
        check_norm_words,
        reads=(2,),
        writes=(2,),
        accumulates=True,
    ),
    "arg_extreme": OpSpec(
        "Index of the largest or smallest q of `axis`; of equal ones the first, or the last. "
        "(spec B.20)",
        1,
        {"axis": AXIS, "method": ("MAX", "MIN"), "last": FLAG},
        {},
        check_arg,
        reads=(1, 2),
        writes=(2, 4),
    ),
    "top_k": OpSpec(
        "The k largest (or smallest) q of `axis` in order, or their indices; of equal ones the "
        "larger index first. (spec B.20)",
        1,
        {
            "axis": AXIS,
            "k": SIZE,
            "method": ("MAX", "MIN"),
            "result": ("VALUES", "INDICES"),
        },
        {},
        check_topk,
        reads=(1, 2),
        writes=(1, 2, 4),
    ),
    "softmax_lut": OpSpec(
        "e = table[q - max(q) + 255], S = sum(e) over `axis`. form 0: z = ((e << bits) + (S >> 1))"
        " // max(S, 1), clamp(rnd(z * M / 2**(N + bits)) - zp); form 1: R = (M << bits) // "
        "max(S, 1), clamp(rnd(e * R / 2**(N + bits)) - zp). (spec B.12)",
        1,
        {**REQUANT_ATTRS, "axis": AXIS, "form": FLAG, "bits": Int(0, _MAX_BITS)},
        {**REQUANT_CONSTS, "table": ("int32",)},
        check_softmax,
    ),
    "softmax_fast_exp": OpSpec(
        "l = ((q - max(q)) * mult_in) >> shift_in, y = 2**(q_bits + l) or 0 where that is < 0, "
        "S = sum(y); the result is a power of two: see spec B.12, FAST_EXP with adjust_q 1.",
        1,
        {"axis": AXIS, "mult_in": Int(0, FAR), "shift_in": Int(0, 63), "q_bits": Int(0, 31)},
        {},
        check_softmax,
    ),
    "log_softmax": OpSpec(
        "As softmax_lut with output range 0..255, then log_table[result].",
        1,
        {**REQUANT_ATTRS, "axis": AXIS, "form": FLAG, "bits": Int(0, _MAX_BITS)},
        {**REQUANT_CONSTS, "table": ("int32",), "log_table": ("int16",)},
        check_softmax,
        result_table="log_table",
    ),
    "lrn": OpSpec(
        "S = sum of (q + zp_in)**2 over `size` channels (size//2 before, (size-1)//2 after); "
        "u = clamp(rnd(S * sum_mult / 2**sum_shift), 0, 65535); L = table read at u with linear "
        "interpolation (256 entries, floor); requant((q + zp_in) * L). (spec B.11)",
        1,
        {**REQUANT_ATTRS, "size": Int(1, 4096), "sum_mult": Int(0, MAX_MULT), "sum_shift": SHIFT},
        {**REQUANT_CONSTS, "table": ("int32",)},
        check_lrn,
    ),
}
