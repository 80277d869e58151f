"""Reductions beyond sums: extremes, norms, variance, product (spec B.18)."""

from __future__ import annotations

from r329fast.program.op import Op, TensorSpec
from r329fast.program.ops.spec import (
    REQUANT_ATTRS,
    REQUANT_CONSTS,
    OpSpec,
    axes_are,
    requant_lengths,
    shifts_are,
)
from r329fast.program.ops.windows import check_reduce

TABLE_ENTRIES = 256
# Elements whose squares (of 255) times a multiplier of 15 bits sum up to less than 2**62.
_LONGEST = 1 << 30


def check_reduction(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    complaint = axes_are(op, inputs[0].shape) or check_reduce(op, inputs, output)
    if complaint or "mult" not in op.consts:
        return complaint
    if inputs[0].elements > _LONGEST:
        return f"{inputs[0].elements} elements per image"
    table = op.consts.get("table")
    if (op.attrs.get("method") == "L2") != (table is not None):
        return "L2 needs the constant table, nothing else has one"
    if table is not None and table.shape != (TABLE_ENTRIES,):
        return f"table has shape {table.shape}, expected ({TABLE_ENTRIES},)"
    return requant_lengths(op, 1)


def check_product(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    complaint = check_reduction(op, inputs, output)
    low, high = inputs[0].qmin + inputs[0].zero_point, inputs[0].qmax + inputs[0].zero_point
    if complaint or max(abs(low), abs(high)) > 65535:
        return complaint or f"zero point {inputs[0].zero_point}"
    if op.text("width") == "uint16" and low < 0:
        return "width uint16 of an input with negative values"
    return shifts_are(op, power=(-1 << 20, 1 << 20))


def check_l2_normalize(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    x, axes = inputs[0], op.integers("axes")
    complaint = axes_are(op, x.shape)
    if complaint or axes != tuple(range(axes[0], axes[0] + len(axes))):
        return complaint or f"axes {axes}, allowed axes side by side"
    if output.shape != x.shape:
        return f"output shape {output.shape}, expected {x.shape}"
    if op.consts["table"].shape != (193,):
        return f"table has shape {op.consts['table'].shape}, expected (193,)"
    return shifts_are(op, mult=(0, 32767), before=(0, 31), shift=(-64, 63))


_CONSTS = REQUANT_CONSTS

OPS: dict[str, OpSpec] = {
    "reduce_extreme": OpSpec(
        "Largest or smallest q over `axes`.",
        1,
        {"axes": "ints:0", "method": ("MAX", "MIN")},
        {},
        check_reduction,
        same_scale=True,
        reads=(1, 2),
        writes=(1, 2),
    ),
    "reduce_norm": OpSpec(
        "S = sum of |q + zp_in| (L1) or of its square (L2) over `axes`; k = max(0, ceil(log2 of "
        "the image's largest S) - 16), log2 in float32. L1: requant(min(S >> k, 65535)), N - k; "
        "L2: u = clamp(rnd((S >> k) * M / 2**(N - k)), 0, 65535), then table read at u with linear "
        "interpolation (256 entries, floor). (spec B.18)",
        1,
        {**REQUANT_ATTRS, "axes": "ints:0", "method": ("L1", "L2")},
        {**_CONSTS, "table?": ("int32",)},
        check_reduction,
        result_table="table",
    ),
    "reduce_variance": OpSpec(
        "m = rne(mean of q) over `axes`; requant(sum of (q - m)**2). (spec B.18)",
        1,
        {**REQUANT_ATTRS, "axes": "ints:0"},
        _CONSTS,
        check_reduction,
    ),
    "reduce_product": OpSpec(
        "d = 1, j = 0; for each a = q + zp_in: d *= a; while d leaves `width`: d >>= 1, j += 1; "
        "requant(d) with N = power - j. (spec B.18)",
        1,
        {**REQUANT_ATTRS, "axes": "ints:0", "power": "int", "width": ("int16", "uint16")},
        _CONSTS,
        check_product,
    ),
    "l2_normalize": OpSpec(
        "a = q + zp_in, S = sum of a**2 over `axes`; r = 1 / sqrt(S) by `table`, 15 bits, with a "
        "shift of its own; clamp(rnd(((a * mult) >> before) * r / 2**n) - zp), products cut to "
        "int32. (spec B.18)",
        1,
        {
            **REQUANT_ATTRS,
            "axes": "ints:0",
            "mult": "int",
            "before": "int",
            "shift": "int",
        },
        {"table": ("int32",)},
        check_l2_normalize,
    ),
}
