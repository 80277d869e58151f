"""Layers that sample or sum up H and W: pooling, reduction, resize."""

from __future__ import annotations

from dataclasses import dataclass

from r329fast.graph.layers.facts import (
    Attrs,
    LayerType,
    each_input,
    each_output,
)


@dataclass(frozen=True)
class PoolingAttrs(Attrs):
    """method: MAX or AVG; pads: (top, left, bottom, right)."""

    method: str
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    ceil_mode: bool = False
    count_include_pad: bool = False


@dataclass(frozen=True)
class ReduceAttrs(Attrs):
    """Over the per-image `axes`; method: a row of REDUCTIONS."""

    method: str
    axes: tuple[int, ...]
    keepdims: bool = True


@dataclass(frozen=True)
class ResizeAttrs(Attrs):
    """size: output (H, W).

    method: NEAREST or BILINEAR; mode: HALF_PIXEL, PYTORCH_HALF_PIXEL, ALIGN_CORNERS or
    ASYMMETRIC; nearest: ROUND_PREFER_FLOOR, ROUND_PREFER_CEIL, FLOOR or CEIL.
    """

    size: tuple[int, int]
    method: str
    mode: str
    nearest: str = "ROUND_PREFER_FLOOR"


# method -> whether the result is signed, None: as the input (spec B.18).
REDUCTIONS: dict[str, bool | None] = {
    "MEAN": None,
    "SUM": None,
    "MAX": None,
    "MIN": None,
    "L1": False,
    "L2": False,
    "VARIANCE": False,
    "PROD": None,
}


def _picks(attrs: Attrs) -> bool:
    """Whether the result is one of the input's values."""
    return isinstance(attrs, ReduceAttrs) and attrs.method in ("MAX", "MIN")


def _reduction_sign(attrs: Attrs) -> bool | None:
    return REDUCTIONS[attrs.method] if isinstance(attrs, ReduceAttrs) else None


TYPES = {
    "Pooling": LayerType(PoolingAttrs, each_input, keeps_scale=True, free_range=False),
    "Reduce": LayerType(
        ReduceAttrs,
        each_input,
        keeps_scale=_picks,
        signed=_reduction_sign,
        free_range=False,
        ops_assumed=True,
    ),
    "Resize": LayerType(
        ResizeAttrs, each_output, keeps_scale=True, free_range=False, ops_assumed=True
    ),
}
