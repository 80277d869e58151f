"""Softmax in its forms and local response normalisation."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from r329fast.program.op import Op, TensorSpec
from r329fast.program.ops.spec import (
    REQUANT_ATTRS,
    REQUANT_CONSTS,
    OpSpec,
    check_table,
    requant_lengths,
    shape_is,
    shifts_are,
)


def check_softmax(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    if not 0 <= op.integer("axis") < len(inputs[0].shape):
        return f"axis {op.integer('axis')} outside {inputs[0].shape}"
    if "table" in op.consts and op.consts["table"].shape != (256,):
        return f"table has shape {op.consts['table'].shape}, expected (256,)"
    return shape_is(inputs[0].shape, output)


def check_norm(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    x, axis, groups = inputs[0].shape, op.integer("axis"), op.integer("groups")
    if not 0 <= axis < len(x) or groups < 1 or x[-1] % groups:
        return f"axis {axis} and {groups} groups of {x}"
    weights, bias = op.consts["weights"], op.consts["bias"]
    if weights.shape not in (x[axis:], x[-1:]) or bias.shape != weights.shape:
        return f"weights {weights.shape} and bias {bias.shape} of {x} from axis {axis}"
    table = op.consts["table"]
    if table.shape != (NORM_TABLE,) or (table < 0).any() or (table > 32767).any():
        return f"table has shape {table.shape}, expected ({NORM_TABLE},) of 15 bits"
    if prod(x[axis:]) > 1 << 40:
        return f"{prod(x[axis:])} elements behind a statistic"
    complaint = shifts_are(op, var_shift=(-31, 62), norm_shift=(-39, 54))
    return complaint or shape_is(x, output) or requant_lengths(op, x[-1])


def check_arg(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    axis, shape = op.integer("axis"), inputs[0].shape
    if not 0 <= axis < len(shape):
        return f"axis {axis} outside {shape}"
    if shape[axis] > output.qmax + 1:
        return f"indices of {shape[axis]} do not fit {output.dtype}"
    size = 1 if op.kind == "arg_extreme" else op.integer("k")
    if not 1 <= size <= shape[axis]:
        return f"k {size} of {shape[axis]}"
    return shape_is((*shape[:axis], size, *shape[axis + 1 :]), output)


def check_topk(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    if op.text("result") == "VALUES" and output.dtype != inputs[0].dtype:
        return f"values are {output.dtype}, the input {inputs[0].dtype}"
    if op.text("result") == "INDICES":
        return check_arg(op, inputs, output)
    wide = replace(output, qmax=inputs[0].elements)
    return check_arg(op, inputs, wide)


NORM_TABLE = 193

OPS: dict[str, OpSpec] = {
    "standardize": OpSpec(
        "Over the axes from `axis` on, for each of `groups` parts of the last: m = rne(mean q), "
        "v = sum((q - m)**2) >> var_shift (0 where that is negative), g = (isqrt(v) + 2**15) >> 16 "
        "by `table`; u = clamp(rne((q - m) * g / 2**(8 + norm_shift)), -128, 127); "
        "requant(u * weights + bias). (spec B.17)",
        1,
        {
            **REQUANT_ATTRS,
            "axis": "int",
            "groups": "int",
            "var_shift": "int",
            "norm_shift": "int",
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
    "arg_extreme": OpSpec(
        "Index of the largest or smallest q of `axis`; of equal ones the first, or the last. "
        "(spec B.20)",
        1,
        {"axis": "int", "method": ("MAX", "MIN"), "last": "int"},
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
            "axis": "int",
            "k": "int",
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
