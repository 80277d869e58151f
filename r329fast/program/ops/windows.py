"""Ops that sample or sum up: pooling, reduction, resize."""

from __future__ import annotations

from math import prod

from r329fast.base.integers import INT32_MAX
from r329fast.program.op import Op, TensorSpec
from r329fast.program.ops.bounds import (
    axes_are,
    check_window,
    const_in,
    const_is,
    products_fit,
    reach,
    requant_ranges,
    requant_rules,
    window_output,
)
from r329fast.program.ops.spec import (
    AXES,
    REQUANT_ATTRS,
    REQUANT_CONSTS,
    WINDOW_ATTRS,
    WORDS,
    Int,
    OpSpec,
)


def check_pool(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    complaint = check_window(op, inputs, output)
    if complaint:
        return complaint
    # Ceil mode adds up to one window to each axis, so the output may be larger by one.
    height, width = window_output(op, inputs[0])
    shape = output.shape
    if shape[2] != inputs[0].shape[2]:
        return f"output shape {shape} does not fit input {inputs[0].shape}"
    if shape[0] - height not in (0, 1) or shape[1] - width not in (0, 1):
        return f"output {shape[:2]} does not fit ({height}, {width}), ceil mode adds at most one"
    return ""


def check_avgpool(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    complaint = check_pool(op, inputs, output)
    if complaint:
        return complaint
    most = prod(op.integers("kernel")) * reach(inputs[0])
    if most > INT32_MAX:
        return f"window {op.integers('kernel')} is too large for 32-bit sums"
    shapes = ((1, 1), output.shape[:2])
    return (
        const_is(op, "mult", *shapes)
        or const_is(op, "shift", *shapes)
        or requant_ranges(op)
        or products_fit(op, most)
    )


def _kept(op: Op, x: TensorSpec) -> list[int]:
    """Sizes of the axes that a reduction leaves."""
    axes = op.integers("axes")
    return [size for axis, size in enumerate(x.shape) if axis not in axes]


def check_kept(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    """The axes of a reduction, and as many elements as they leave."""
    complaint = axes_are(op, inputs[0].shape)
    if complaint:
        return complaint
    kept = tuple(_kept(op, inputs[0]))
    if output.elements == prod(kept):
        return ""
    return f"output shape {output.shape}, expected {kept} or as many elements"


def check_reduce(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    complaint = check_kept(op, inputs, output)
    if complaint:
        return complaint
    kept = _kept(op, inputs[0])
    most = min(inputs[0].elements * reach(inputs[0]), INT32_MAX + 1)
    return requant_rules(op, kept[-1] if kept else 1, most)


def check_resize(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    if len(inputs[0].shape) != 3 or len(output.shape) != 3:
        return f"shapes {inputs[0].shape} and {output.shape}: input and output must be (H, W, C)"
    height, width, channels = output.shape
    if channels != inputs[0].shape[2]:
        return "channels change"
    names = ("rows", "columns") if op.kind == "resize_nearest" else ("y0", "y1", "x0", "x1")
    for name in names:
        vertical = name in ("rows", "y0", "y1")
        size, limit = (height, inputs[0].shape[0]) if vertical else (width, inputs[0].shape[1])
        complaint = const_is(op, name, (size,)) or const_in(op, name, 0, limit - 1)
        if complaint:
            return complaint
    return const_is(op, "weights", (height, width, 4))


OPS: dict[str, OpSpec] = {
    "maxpool": OpSpec(
        "Largest q of the window's positions inside the image.",
        1,
        WINDOW_ATTRS,
        {},
        check_pool,
        same_scale=True,
        reads=WORDS,
        writes=WORDS,
    ),
    "avgpool": OpSpec(
        "a = sum(q + zp_in) of the window's positions inside the image, clamped to "
        "[-2**31, 2**31 - 1]; requant with mult and shift (Ho, Wo) or (1, 1).",
        1,
        {**WINDOW_ATTRS, **REQUANT_ATTRS},
        REQUANT_CONSTS,
        check_avgpool,
        reads=WORDS,
        writes=WORDS,
        accumulates=True,
    ),
    "reduce_sum": OpSpec(
        "a = sum(q + zp_in) over `axes`; requant (a mean when M / 2**N holds 1/n).",
        1,
        {**REQUANT_ATTRS, "axes": AXES},
        REQUANT_CONSTS,
        check_reduce,
        reads=WORDS,
        writes=WORDS,
        accumulates=True,
    ),
    "resize_nearest": OpSpec(
        "q[rows[y], columns[x]].",
        1,
        {},
        {"rows": ("int32",), "columns": ("int32",)},
        check_resize,
        moves=True,
        same_scale=True,
        reads=WORDS,
        writes=WORDS,
    ),
    "resize_bilinear": OpSpec(
        "clamp(rnd((q[y0,x0]*w0 + q[y0,x1]*w1 + q[y1,x0]*w2 + q[y1,x1]*w3) / 2**weight_shift)), "
        "w = weights[y, x]; the zero point is not removed (spec B.11).",
        1,
        {**REQUANT_ATTRS, "weight_shift": Int(0, 62)},
        {
            "y0": ("int32",),
            "y1": ("int32",),
            "x0": ("int32",),
            "x1": ("int32",),
            "weights": ("int32",),
        },
        check_resize,
        same_scale=True,
        reads=WORDS,
        writes=WORDS,
    ),
}
