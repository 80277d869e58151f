"""Ops that work element by element."""

from __future__ import annotations

from r329fast.program.op import Op, TensorSpec
from r329fast.program.ops.bounds import (
    check_channelwise,
    check_table,
    const_in,
    const_is,
    dtype_range,
    largest,
    reach,
    requant_rules,
    shape_is,
)
from r329fast.program.ops.spec import ACT_ATTRS, ACT_CONSTS, OpSpec


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


def check_lut(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    return check_table(op, inputs, output) or const_in(op, "table", *dtype_range(output))


OPS: dict[str, OpSpec] = {
    "eltwise": OpSpec(
        "ADD, SUB, MAX, MIN: a = op((qa + zp_a) * scales[0], (qb + zp_b) * scales[1]); "
        "MUL: a = (qa + zp_a) * (qb + zp_b); act, requant.",
        2,
        {**ACT_ATTRS, "method": ("ADD", "SUB", "MUL", "MAX", "MIN")},
        {**ACT_CONSTS, "scales": ("int32",)},
        check_eltwise,
        accumulates=True,
    ),
    "requantize": OpSpec(
        "a = q + zp_in; act, requant: an activation layer, or a change of scale.",
        1,
        ACT_ATTRS,
        ACT_CONSTS,
        check_channelwise,
        accumulates=True,
    ),
    "lut": OpSpec(
        "table[q - lowest value of the input's dtype].",
        1,
        {},
        {"table": ("int16",)},
        check_lut,
        result_table="table",
    ),
}
