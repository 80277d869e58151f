"""Ops that sample or sum up: pooling, reduction, resize."""

from __future__ import annotations

import numpy as np

from r329fast.program.op import Op, TensorSpec
from r329fast.program.ops.spec import (
    REQUANT_ATTRS,
    REQUANT_CONSTS,
    WINDOW_ATTRS,
    OpSpec,
    window_output,
)


def check_pool(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    # Ceil mode adds up to one window to each axis, so the output may be larger by one.
    height, width = window_output(op, inputs[0])
    shape = output.shape
    if len(shape) != 3 or shape[2] != inputs[0].shape[2]:
        return f"output shape {shape} does not fit input {inputs[0].shape}"
    if shape[0] - height not in (0, 1) or shape[1] - width not in (0, 1):
        return f"output {shape[:2]} does not fit ({height}, {width}), ceil mode adds at most one"
    if op.kind == "avgpool" and op.consts["mult"].shape not in ((1, 1), shape[:2]):
        return f"mult has shape {op.consts['mult'].shape}, allowed (1, 1) or {shape[:2]}"
    return ""


def check_reduce(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    shape = inputs[0].shape
    axes = op.integers("axes")
    if not axes or any(not 0 <= axis < len(shape) for axis in axes):
        return f"axes {axes} outside the {len(shape)} axes of the input"
    kept = int(np.prod([size for axis, size in enumerate(shape) if axis not in axes]))
    return "" if output.elements == kept else f"output shape {output.shape} for input {shape}"


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
        index = op.consts[name]
        if index.shape != (size,) or (index < 0).any() or (index >= limit).any():
            return f"{name}: need {size} indices in 0..{limit - 1}"
    if op.kind == "resize_bilinear" and op.consts["weights"].shape != (height, width, 4):
        return f"weights has shape {op.consts['weights'].shape}, expected ({height}, {width}, 4)"
    return ""


OPS: dict[str, OpSpec] = {
    "maxpool": OpSpec(
        "Largest q of the window's positions inside the image.",
        1,
        WINDOW_ATTRS,
        {},
        check_pool,
        same_scale=True,
    ),
    "avgpool": OpSpec(
        "a = sum(q + zp_in) of the window's positions inside the image, clamped to "
        "[-2**31, 2**31 - 1]; requant with mult and shift (Ho, Wo) or (1, 1).",
        1,
        {**WINDOW_ATTRS, **REQUANT_ATTRS},
        REQUANT_CONSTS,
        check_pool,
        accumulates=True,
    ),
    "reduce_sum": OpSpec(
        "a = sum(q + zp_in) over `axes`; requant (a mean when M / 2**N holds 1/n).",
        1,
        {**REQUANT_ATTRS, "axes": "ints:0"},
        REQUANT_CONSTS,
        check_reduce,
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
    ),
    "resize_bilinear": OpSpec(
        "clamp(rnd((q[y0,x0]*w0 + q[y0,x1]*w1 + q[y1,x0]*w2 + q[y1,x1]*w3) / 2**weight_shift)), "
        "w = weights[y, x]; the zero point is not removed (spec B.11).",
        1,
        {**REQUANT_ATTRS, "weight_shift": "int"},
        {
            "y0": ("int32",),
            "y1": ("int32",),
            "x0": ("int32",),
            "x1": ("int32",),
            "weights": ("int32",),
        },
        check_resize,
        same_scale=True,
    ),
}
