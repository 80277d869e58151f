"""Multiplier, shift and rounding: the one place where these formulas stand.

Used by both schemes, by the tables and by the reference backend. Spec: arithmetic.md A
("Requantise"), B.4, B.4b and B.5.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

F32 = np.float32
Float32Array = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]

EPS32 = F32(np.finfo(np.float32).eps)
MAX_MULTIPLIER = 32767  # 15 bits: what the hardware's fixed-function multiplier takes
MAX_SHIFT = 31

# A product is cut to this size before a left shift: anything larger saturates every output.
_SATURATED = 1 << 31


def round_shift(product: Int64Array, shift: npt.ArrayLike, rounding: str) -> Int64Array:
    """Exact round(product / 2**shift) with `rounding` half_even, half_up or floor (spec B.5).

    product: int64, |product| < 2**62; shift: -31..63, broadcast; a negative shift multiplies
    (the product is first cut to +-2**31, which lies beyond every output range).
    """
    product = np.asarray(product, dtype=np.int64)
    shift = np.asarray(shift, dtype=np.int64)
    left = np.clip(product, -_SATURATED, _SATURATED) << np.clip(-shift, 0, MAX_SHIFT)
    right = np.maximum(shift, 1)  # shift 0 is handled by `left`
    quotient = product >> right
    remainder = product - (quotient << right)
    half = np.int64(1) << (right - 1)
    if rounding == "half_even":
        up = (remainder > half) | ((remainder == half) & (quotient & 1 == 1))
    elif rounding == "half_up":
        up = remainder >= half
    elif rounding == "floor":
        up = np.zeros(remainder.shape, dtype=bool)
    else:
        raise ValueError(f"rounding {rounding!r}, allowed half_even, half_up, floor")
    # With shift 0 the value passes unclipped; only true left shifts saturate early.
    return np.where(shift > 0, quotient + up, np.where(shift == 0, product, left))


def requantize(
    accumulator: Int64Array,
    mult: npt.ArrayLike,
    shift: npt.ArrayLike,
    zero_point: int,
    qmin: int,
    qmax: int,
    rounding: str = "half_even",
) -> Int64Array:
    """clamp(round(accumulator * mult / 2**shift) - zero_point, qmin, qmax) (spec B.5)."""
    product = np.asarray(accumulator, dtype=np.int64) * np.asarray(mult, dtype=np.int64)
    return np.clip(round_shift(product, shift, rounding) - zero_point, qmin, qmax)


def real_multiplier(mult: npt.ArrayLike, shift: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """mult / 2**shift, exact: what the integers of an op multiply by."""
    return np.asarray(mult, dtype=np.float64) / np.exp2(np.asarray(shift, dtype=np.float64))


def approximate(
    rescale: npt.ArrayLike,
    bits: int = 8,
    *,
    max_shift: int = MAX_SHIFT,
    force_shift_positive: bool = False,
) -> tuple[Int64Array, Int64Array]:
    """Real rescale -> (M, N) with rescale ~ M / 2**N, scheme compass42 (spec B.4).

    rescale: positive, float32 scalar or vector; bits: multiplier bits (15 at most).
    All in float32, as the vendor computes; returns int64 arrays of shape (n,).
    """
    x = np.atleast_1d(np.asarray(rescale, dtype=F32))
    m = min(bits, 15)
    # float32 log2 on purpose: float64 differs a hair below powers of two.
    shift = np.floor(np.log2(F32(2**m - 1) / x)).astype(np.int64)
    shift = np.minimum(shift, max_shift)
    mult = np.floor((x * np.exp2(shift.astype(F32))).astype(F32) + F32(0.5)).astype(np.int64)
    if force_shift_positive:
        mult = np.where(shift < 0, min(2**bits - 1, MAX_MULTIPLIER), mult)
        shift = np.maximum(shift, 0)
    if np.abs(mult.astype(F32) - np.exp2(shift.astype(F32))).max() < EPS32:
        return np.ones_like(mult), np.zeros_like(shift)
    return mult, shift


def approximate_8bit(rescale: npt.ArrayLike) -> tuple[Int64Array, Int64Array]:
    """Real rescale -> (M, N) of the 2021 tool: the largest N with round(r * 2**N) <= 255.

    float64; M is in 128..255. Spec A, "Requantise" (53 of 53 layers of a real binary have such
    M; rounding verified on its Eltwise, Concat and Mean parameters).
    """
    r = np.atleast_1d(np.asarray(rescale, dtype=np.float64))
    # 255.5 / r is the bound of r * 2**N before it rounds to 256 (half to even: 255.5 -> 256).
    shift = np.floor(np.log2(255.5 / r)).astype(np.int64)
    mult = np.rint(r * np.exp2(shift.astype(np.float64))).astype(np.int64)
    shift = np.minimum(np.where(mult > 255, shift - 1, shift), MAX_SHIFT)
    mult = np.rint(r * np.exp2(shift.astype(np.float64))).astype(np.int64)
    return mult, shift


def log2_ceiling(value: npt.ArrayLike) -> Int64Array:
    """ceil(log2(value)) with the logarithm in float32, as the vendor has it; 0 for 0.

    value: int64, not negative. A value a hair above a power of two counts as that power.
    """
    wide = np.maximum(np.asarray(value, dtype=np.int64), 1)
    return np.ceil(np.log2(wide.astype(F32))).astype(np.int64)


@cache
def log2_limits() -> Int64Array:
    """limits[n]: the smallest integer whose `log2_ceiling` lies above n, n = 0..61."""
    bits = np.arange(62, dtype=np.int64)
    low, high = np.int64(1) << bits, (np.int64(1) << bits) * 2
    while (high - low > 1).any():  # low is at most n, high above
        middle = low + (high - low) // 2
        above = log2_ceiling(middle) > bits
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return high


def unify_shifts(mult: Int64Array, shift: Int64Array) -> tuple[Int64Array, Int64Array]:
    """One shift for all channels: multipliers move left, then all right again to fit 15 bits.

    Spec B.4b step 3; precision of small multipliers may be lost (a multiplier may become 0).
    """
    common = max(0, int(shift.max()))
    shifted = mult << (common - shift)
    excess = float(shifted.max()) / MAX_MULTIPLIER
    if excess > 1:
        drop = int(np.ceil(np.log2(excess)))
        common -= drop
        shifted >>= drop
    return shifted, np.full_like(shift, common)
