"""Softmax in its forms and local response normalisation."""

from __future__ import annotations

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
    shape_is,
)
from r329fast.program.ops.spec import (
    AXIS,
    FAR,
    FLAG,
    REQUANT_ATTRS,
    REQUANT_CONSTS,
    SHIFT,
    Int,
    OpSpec,
)

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
