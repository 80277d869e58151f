"""Where windows and resized pixels read from: areas of average pooling, resize coordinates."""

from __future__ import annotations

import numpy as np

from r329fast.graph.ir import PoolingAttrs

WEIGHT_SHIFT = 13


def pooling_areas(attrs: PoolingAttrs, shape: tuple[int, ...], out: tuple[int, ...]) -> np.ndarray:
    """Divisor of every output position, int64 (Ho, Wo) (spec B.9).

    The whole kernel where padding counts (also for windows over the edge in ceil mode), else the
    number of positions inside the image.
    """
    if attrs.count_include_pad:
        return np.full(out[:2], attrs.kernel[0] * attrs.kernel[1], dtype=np.int64)
    inside = []
    for axis in (0, 1):
        start = np.arange(out[axis])[:, None] * attrs.stride[axis] - attrs.pads[axis]
        taps = start + np.arange(attrs.kernel[axis])[None, :] * attrs.dilation[axis]
        inside.append(((taps >= 0) & (taps < shape[axis])).sum(axis=1))
    return np.maximum(np.outer(inside[0], inside[1]), 1).astype(np.int64)


def source_coordinates(size_in: int, size_out: int, mode: str) -> np.ndarray:
    """Real source coordinate of every output index, float64 (size_out,) (spec B.11, Resize)."""
    index = np.arange(size_out, dtype=np.float64)
    if mode == "ALIGN_CORNERS":
        return index * (size_in - 1) / max(size_out - 1, 1)
    if mode == "ASYMMETRIC":
        return index * size_in / size_out
    if mode == "PYTORCH_HALF_PIXEL" and size_out == 1:
        return np.zeros(1)
    if mode in ("HALF_PIXEL", "PYTORCH_HALF_PIXEL"):
        return (index + 0.5) * size_in / size_out - 0.5
    raise ValueError(f"resize mode {mode!r}")


def nearest_indices(coordinates: np.ndarray, size_in: int, rule: str) -> np.ndarray:
    """Integer source index, int64, clamped to the image."""
    if rule == "FLOOR":
        index = np.floor(coordinates)
    elif rule == "CEIL":
        index = np.ceil(coordinates)
    elif rule == "ROUND_PREFER_CEIL":
        index = np.floor(coordinates + 0.5)
    elif rule == "ROUND_PREFER_FLOOR":
        index = np.ceil(coordinates - 0.5)
    else:
        raise ValueError(f"nearest rule {rule!r}")
    return np.clip(index, 0, size_in - 1).astype(np.int64)


def bilinear_tables(
    rows: np.ndarray, columns: np.ndarray, shape: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """Corner indices and the four weights in units of 2**-13, int64 (Ho, Wo, 4)."""
    y0 = np.maximum(np.floor(rows), 0)
    y1 = np.minimum(np.ceil(rows), shape[0] - 1)
    x0 = np.maximum(np.floor(columns), 0)
    x1 = np.minimum(np.ceil(columns), shape[1] - 1)
    # The fraction may be negative at the border: the vendor does not clamp the coordinate.
    fy, fx = (rows - y0)[:, None], (columns - x0)[None, :]
    gy, gx = 1 - fy, 1 - fx
    weights = np.stack([gy * gx, gy * fx, fy * gx, fy * fx], axis=-1)
    return {
        "y0": y0.astype(np.int64),
        "y1": y1.astype(np.int64),
        "x0": x0.astype(np.int64),
        "x1": x1.astype(np.int64),
        "weights": np.floor(weights * 2**WEIGHT_SHIFT + 0.5).astype(np.int64),
    }
