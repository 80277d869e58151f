"""Scale and zero point from a range, and real numbers to integers (spec B.2, B.3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from r329fast.quantization.fixed_point import EPS32, F32, Float32Array, Int64Array

MODES = ("symmetric_restricted_range", "symmetric_full_range", "asymmetric")


@dataclass(frozen=True)
class LinearParams:
    """q = round(scale * x) - zero_point, clamped to [qmin, qmax]; float32 scale, int64 zero point.

    scale and zero_point have shape (1,) per tensor or (n,) per channel.
    """

    scale: Float32Array
    zero_point: Int64Array
    qmin: int
    qmax: int


def integer_range(bits: int, signed: bool, mode: str) -> tuple[int, int]:
    """(qmin, qmax) of `bits` bits; only signed symmetric_restricted_range leaves out the lowest."""
    if mode not in MODES:
        raise ValueError(f"quantisation mode {mode!r}, allowed {', '.join(MODES)}")
    if not signed:
        return 0, 2**bits - 1
    low = -(2 ** (bits - 1))
    return (low + 1 if mode == "symmetric_restricted_range" else low), 2 ** (bits - 1) - 1


def linear_params(
    low: npt.ArrayLike, high: npt.ArrayLike, bits: int, signed: bool, mode: str
) -> LinearParams:
    """Scale and zero point for real values in [low, high] (spec B.2, float32 throughout)."""
    low = np.atleast_1d(np.asarray(low, dtype=F32))
    high = np.atleast_1d(np.asarray(high, dtype=F32))
    qmin, qmax = integer_range(bits, signed, mode)
    span = F32(qmax - qmin)
    if mode == "asymmetric":
        width = high - low
    else:
        width = np.maximum(np.abs(high), np.abs(low))
        if signed:
            width = F32(2) * width
    width = np.where(np.isnan(width) | (width < EPS32), span, width).astype(F32)
    scale = (span / width).astype(F32)
    if mode == "asymmetric":
        limit = 2 ** (bits - 1) - 1
        zero = np.clip(np.rint(scale * low) - F32(qmin), -limit, limit).astype(np.int64)
    else:
        zero = np.zeros(scale.shape, dtype=np.int64)
    return LinearParams(scale, zero, qmin, qmax)


def quantize_array(
    x: npt.ArrayLike, scale: npt.ArrayLike, zero_point: npt.ArrayLike, qmin: int, qmax: int
) -> Int64Array:
    """clamp(rne(float32(scale * x) - zp), qmin, qmax), NaN -> 0 (spec B.3)."""
    product = (np.asarray(x, dtype=F32) * np.asarray(scale, dtype=F32)).astype(F32)
    q = np.rint(product - np.asarray(zero_point, dtype=F32)).astype(np.float64)
    return np.nan_to_num(np.clip(q, qmin, qmax), nan=0.0).astype(np.int64)
