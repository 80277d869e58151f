"""The epilogue in int64: for accumulators whose products pass float64's exact range.

`ei`: act, rounding, slope_shift, clip_min, clip_max, zero_point, qmin, qmax, then C multipliers,
C shifts, C slopes, C biases. The same steps as `fixed_point.round_shift`, a value at a time.
"""

from __future__ import annotations

from numba import njit

_SATURATED = 1 << 31


@njit(nogil=True, cache=True)
def round_shift_wide(product: int, shift: int, rounding: int) -> int:
    """round(product / 2**shift), rounding 0 half_even, 1 half_up, 2 floor; int64."""
    if shift == 0:
        return product
    if shift < 0:
        cut = min(max(product, -_SATURATED), _SATURATED)
        return cut << min(-shift, 31)
    quotient = product >> shift
    remainder = product - (quotient << shift)
    half = 1 << (shift - 1)
    if rounding == 0 and (remainder > half or (remainder == half and quotient & 1)):
        return quotient + 1
    if rounding == 1 and remainder >= half:
        return quotient + 1
    return quotient


@njit(nogil=True, cache=True)
def finish_wide(a, ei, channel, channels):  # type: ignore[no-untyped-def]
    """Accumulator int64 without bias -> output integer of `channel`."""
    act, rounding = ei[0], ei[1]
    mult, shift = ei[8 + channel], ei[8 + channels + channel]
    a += ei[8 + 3 * channels + channel]
    if act == 1:
        a = max(a, 0)
    elif act == 2:
        t = round_shift_wide(a * mult, shift - 8, rounding)
        t = min(max(t, ei[3]), ei[4])
        return min(max(round_shift_wide(t, 8, rounding) - ei[5], ei[6]), ei[7])
    elif act == 3:
        below = round_shift_wide(min(a, 0) * ei[8 + 2 * channels + channel], ei[2], rounding)
        a = below + max(a, 0)
    return min(max(round_shift_wide(a * mult, shift, rounding) - ei[5], ei[6]), ei[7])
