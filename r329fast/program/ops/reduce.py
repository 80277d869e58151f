"""Reductions beyond sums: extremes, norms, variance, product (spec B.18)."""

from __future__ import annotations

from r329fast.program.op import Op, TensorSpec
from r329fast.program.ops.bounds import (
    MAX_MULT,
    PRODUCT_LIMIT,
    axes_are,
    const_in,
    const_is,
    dtype_range,
    products_fit,
    reach,
    requant_lengths,
    shape_is,
)
from r329fast.program.ops.normalise import ROOT_ENTRIES
from r329fast.program.ops.spec import (
    AXES,
    REQUANT_ATTRS,
    REQUANT_CONSTS,
    SHIFT,
    Int,
    OpSpec,
)
from r329fast.program.ops.windows import check_kept

TABLE_ENTRIES = 256
_WORD = 1 << 17  # what a norm's sum, or a product, is cut below


def _squares(x: TensorSpec) -> int:
    """Largest sum of squares over all elements of an image."""
    return x.elements * reach(x) ** 2


def _squares_fit(x: TensorSpec) -> str:
    fits = _squares(x) < PRODUCT_LIMIT
    return "" if fits else f"{x.elements} squares of up to {reach(x)} pass 62 bits"


def check_norm_sum(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    if (op.text("method") == "L2") != ("table" in op.consts):
        return "L2 needs the constant table, nothing else has one"
    return (
        check_kept(op, inputs, output)
        or const_is(op, "table", (TABLE_ENTRIES,))
        or const_in(op, "table", *dtype_range(output))
        or requant_lengths(op, 1)
        or _squares_fit(inputs[0])
        or products_fit(op, _WORD)
    )


def check_variance(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    most = inputs[0].elements * 255**2
    return check_kept(op, inputs, output) or requant_lengths(op, 1) or products_fit(op, most)


def check_product(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    x = inputs[0]
    if reach(x) > 65535:
        return f"zero point {x.zero_point}"
    if op.text("width") == "uint16" and x.qmin + x.zero_point < 0:
        return "width uint16 of an input with negative values"
    return check_kept(op, inputs, output) or requant_lengths(op, 1) or products_fit(op, _WORD)


def check_l2_normalize(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    x, axes = inputs[0], op.integers("axes")
    complaint = axes_are(op, x.shape)
    if complaint or axes != tuple(range(axes[0], axes[0] + len(axes))):
        return complaint or f"axes {axes}, allowed axes side by side"
    complaint = (
        shape_is(x.shape, output)
        or const_is(op, "table", (ROOT_ENTRIES,))
        or const_in(op, "table", 0, MAX_MULT)
        or _squares_fit(x)
    )
    # a sum past 31 bits is cut by pairs of bits, which the last shift gives back
    cut = (max(_squares(x).bit_length() - 31, 0) + 1) // 2
    last = op.integer("shift") + 31 - op.integer("before") + cut
    if not complaint and last > SHIFT.high:
        return f"shift {op.integer('shift')} and before {op.integer('before')}: {last} together"
    return complaint


_CONSTS = REQUANT_CONSTS

OPS: dict[str, OpSpec] = {
    "reduce_extreme": OpSpec(
        "Largest or smallest q over `axes`.",
        1,
        {"axes": AXES, "method": ("MAX", "MIN")},
        {},
        check_kept,
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
        {**REQUANT_ATTRS, "axes": AXES, "method": ("L1", "L2")},
        {**_CONSTS, "table?": ("int32",)},
        check_norm_sum,
        result_table="table",
    ),
    "reduce_variance": OpSpec(
        "m = rne(mean of q) over `axes`; requant(sum of (q - m)**2). (spec B.18)",
        1,
        {**REQUANT_ATTRS, "axes": AXES},
        _CONSTS,
        check_variance,
    ),
    "reduce_product": OpSpec(
        "d = 1, j = 0; for each a = q + zp_in: d *= a; while d leaves `width`: d >>= 1, j += 1; "
        "requant(d) with N = power - j. Below 0, uint16 takes 0. (spec B.18)",
        1,
        {
            **REQUANT_ATTRS,
            "axes": AXES,
            "power": Int(-1 << 20, 1 << 20),
            "width": ("int16", "uint16"),
        },
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
            "axes": AXES,
            "mult": Int(0, MAX_MULT),
            "before": Int(0, 31),
            "shift": Int(-64, 63),
        },
        {"table": ("int32",)},
        check_l2_normalize,
    ),
}
