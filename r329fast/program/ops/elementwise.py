"""Ops that work element by element."""

from __future__ import annotations

from r329fast.program.op import Op, TensorSpec
from r329fast.program.ops.bounds import (
    check_channelwise,
    check_same_shape,
    check_table,
    const_in,
    const_is,
    dtype_range,
    largest,
    reach,
    requant_rules,
    shape_is,
)
from r329fast.program.ops.spec import (
    ACT_ATTRS,
    ACT_CONSTS,
    REQUANT_ATTRS,
    REQUANT_CONSTS,
    WORDS,
    Int,
    OpSpec,
)

MAX_QUOTIENT = 65535  # of a divisor's table


def check_eltwise(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    a, b = inputs[0].shape, inputs[1].shape
    if not a:
        return "needs inputs with at least one axis"
    if a != b and not (len(a) == len(b) and b[:-1] == (1,) * (len(b) - 1) and a[-1] == b[-1]):
        return f"shapes {a} and {b}: the second must be equal to the first or (1, .., 1, C)"
    reaches = [reach(x) for x in inputs]
    if op.text("method") == "MUL":
        most = reaches[0] * reaches[1]
    else:
        most = sum(reaches) * largest(op.consts["scales"])
    return const_is(op, "scales", (2,)) or shape_is(a, output) or requant_rules(op, a[-1], most)


def check_divide(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    a, b = inputs[0].shape, inputs[1].shape
    if a != b:
        return f"shapes {a} and {b} differ"
    if not -255 <= inputs[1].lowest + inputs[1].zero_point <= 0:
        return f"zero point {inputs[1].zero_point} of the divisor: it would leave -255..255"
    return (
        const_is(op, "table", (256,))
        or const_in(op, "table", -MAX_QUOTIENT, MAX_QUOTIENT)
        or shape_is(a, output)
        or requant_rules(op, 1, reach(inputs[0]) * MAX_QUOTIENT)
    )


def check_lut(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    return check_table(op, inputs, output) or const_in(op, "table", *dtype_range(output))


def check_lut_line(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    entries = 1 << (16 - op.integer("shift"))
    return (
        const_is(op, "table", (entries,))
        or const_in(op, "table", *dtype_range(output))
        or check_same_shape(op, inputs, output)
    )


OPS: dict[str, OpSpec] = {
    "eltwise": OpSpec(
        "ADD, SUB, MAX, MIN: a = op((qa + zp_a) * scales[0], (qb + zp_b) * scales[1]); "
        "MUL: a = (qa + zp_a) * (qb + zp_b); act, requant.",
        2,
        {**ACT_ATTRS, "method": ("ADD", "SUB", "MUL", "MAX", "MIN")},
        {**ACT_CONSTS, "scales": ("int32",)},
        check_eltwise,
        reads=WORDS,
        writes=WORDS,
        accumulates=True,
    ),
    "requantize": OpSpec(
        "a = q + zp_in; act, requant: an activation layer, or a change of scale.",
        1,
        ACT_ATTRS,
        ACT_CONSTS,
        check_channelwise,
        reads=WORDS,
        writes=WORDS,
        accumulates=True,
    ),
    "divide": OpSpec(
        "a = qa + zp_a, b = qb + zp_b; requant(sign(b) * a * table[|b|]), sign(0) = 1. (spec B.19)",
        2,
        REQUANT_ATTRS,
        {**REQUANT_CONSTS, "table": ("int32",)},
        check_divide,
    ),
    "abs": OpSpec(
        "requant(|q + zp_in|). (spec B.21)",
        1,
        REQUANT_ATTRS,
        REQUANT_CONSTS,
        check_channelwise,
        reads=WORDS,
        writes=WORDS,
    ),
    "negative": OpSpec(
        "clamp(-(q + zp_in) - zp_out). (spec B.21)",
        1,
        {},
        {},
        check_same_shape,
    ),
    "lut": OpSpec(
        "table[q - lowest value of the input's dtype].",
        1,
        {},
        {"table": ("int16", "int32")},
        check_lut,
        result_table="table",
        writes=WORDS,
    ),
    "lut_line": OpSpec(
        "u = q - lowest value of the input's dtype, i = u >> shift, f = u - (i << shift); table[i] "
        "+ (((table[i + 1] - table[i]) * f) >> shift), the last entry repeated: 2**(16 - shift) "
        "entries for 16-bit q. (spec B.8, B.23)",
        1,
        {"shift": Int(0, 8)},
        {"table": ("int32",)},
        check_lut_line,
        result_table="table",
        reads=(2,),
        writes=WORDS,
    ),
}
