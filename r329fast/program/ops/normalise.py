"""Softmax in its forms and local response normalisation."""

from __future__ import annotations

from r329fast.program.op import Op, TensorSpec
from r329fast.program.ops.spec import (
    REQUANT_ATTRS,
    REQUANT_CONSTS,
    OpSpec,
    check_table,
    shape_is,
)


def check_softmax(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    if not 0 <= op.integer("axis") < len(inputs[0].shape):
        return f"axis {op.integer('axis')} outside {inputs[0].shape}"
    if "table" in op.consts and op.consts["table"].shape != (256,):
        return f"table has shape {op.consts['table'].shape}, expected (256,)"
    return shape_is(inputs[0].shape, output)


OPS: dict[str, OpSpec] = {
    "softmax_lut": OpSpec(
        "e = table[q - max(q) + 255], S = sum(e) over `axis`. form 0: z = ((e << bits) + (S >> 1))"
        " // max(S, 1), clamp(rnd(z * M / 2**(N + bits)) - zp); form 1: R = (M << bits) // "
        "max(S, 1), clamp(rnd(e * R / 2**(N + bits)) - zp). (spec B.12)",
        1,
        {**REQUANT_ATTRS, "axis": "int", "form": "int", "bits": "int"},
        {**REQUANT_CONSTS, "table": ("int32",)},
        check_softmax,
    ),
    "softmax_fast_exp": OpSpec(
        "l = ((q - max(q)) * mult_in) >> shift_in, y = 2**(q_bits + l) or 0 where that is < 0, "
        "S = sum(y); the result is a power of two: see spec B.12, FAST_EXP with adjust_q 1.",
        1,
        {"axis": "int", "mult_in": "int", "shift_in": "int", "q_bits": "int"},
        {},
        check_softmax,
    ),
    "log_softmax": OpSpec(
        "As softmax_lut with output range 0..255, then log_table[result].",
        1,
        {**REQUANT_ATTRS, "axis": "int", "form": "int", "bits": "int"},
        {**REQUANT_CONSTS, "table": ("int32",), "log_table": ("int16",)},
        check_softmax,
        result_table="log_table",
    ),
    "lrn": OpSpec(
        "S = sum of (q + zp_in)**2 over `size` channels (size//2 before, (size-1)//2 after); "
        "u = clamp(rnd(S * sum_mult / 2**sum_shift), 0, 65535); L = table read at u with linear "
        "interpolation (256 entries, floor); requant((q + zp_in) * L). (spec B.11)",
        1,
        {**REQUANT_ATTRS, "size": "int", "sum_mult": "int", "sum_shift": "int"},
        {**REQUANT_CONSTS, "table": ("int32",)},
        check_table,
    ),
}
