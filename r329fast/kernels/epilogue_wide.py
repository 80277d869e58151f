"""The epilogue in int64: for accumulators whose products pass float64's exact range.

Its constants are an int64 array: a header, then MULT, SHIFT, SLOPE and BIAS of C channels each. The
same steps as `fixed_point.round_shift`, a value at a time.
"""

from __future__ import annotations

import numpy as np

from r329fast.kernels.runtime.compiling import kernel_part

# Places in the header, its length, and the rows of channels behind it. PLAIN: 1 where all channels
# round half to even by shifts to the right, with at most a ReLU before: what runs in vectors.
ACT, ROUNDING, SLOPE_SHIFT, CLIP_MIN, CLIP_MAX, ZERO_POINT, QMIN, QMAX, PLAIN, HEADER = range(10)
MULT, SHIFT, SLOPE, BIAS = range(4)
NONE, RELU, CLIP, LEAKY, RELU_FLOAT32 = range(5)  # values of ACT
HALF_EVEN, HALF_UP, FLOOR = range(3)  # values of ROUNDING
ACT_CODES = {
    "NONE": NONE,
    "RELU": RELU,
    "CLIP": CLIP,
    "LEAKY": LEAKY,
    "RELU_FLOAT32": RELU_FLOAT32,
}
ROUNDING_CODES = {"half_even": HALF_EVEN, "half_up": HALF_UP, "floor": FLOOR}
_SATURATED = 1 << 31  # where `round_shift` saturates before it moves left


@kernel_part
def round_shift_wide(product: int, shift: int, rounding: int) -> int:
    """round(product / 2**shift), ties and remainders as ROUNDING_CODES name it; int64."""
    if shift == 0:
        return product
    if shift < 0:
        cut = min(max(product, -_SATURATED), _SATURATED)
        return cut << min(-shift, 31)
    quotient = product >> shift
    remainder = product - (quotient << shift)
    half = 1 << (shift - 1)
    if rounding == HALF_EVEN and (remainder > half or (remainder == half and quotient & 1)):
        return quotient + 1
    if rounding == HALF_UP and remainder >= half:
        return quotient + 1
    return quotient


@kernel_part
def epilogue_wide(a, constants, channel, channels):  # type: ignore[no-untyped-def]
    """Accumulator int64 without bias -> output integer of `channel`."""
    act, rounding = constants[ACT], constants[ROUNDING]
    first = HEADER + channel
    mult, shift = constants[first + MULT * channels], constants[first + SHIFT * channels]
    a += constants[first + BIAS * channels]
    if act == RELU:
        a = max(a, 0)
    elif act == RELU_FLOAT32:
        a = np.int64(np.float32(max(a, 0)))
    elif act == CLIP:
        t = round_shift_wide(a * mult, shift - 8, rounding)
        t = min(max(t, constants[CLIP_MIN]), constants[CLIP_MAX])
        q = round_shift_wide(t, 8, rounding) - constants[ZERO_POINT]
        return min(max(q, constants[QMIN]), constants[QMAX])
    elif act == LEAKY:
        slope = constants[first + SLOPE * channels]
        below = round_shift_wide(min(a, 0) * slope, constants[SLOPE_SHIFT], rounding)
        a = below + max(a, 0)
    q = round_shift_wide(a * mult, shift, rounding) - constants[ZERO_POINT]
    return min(max(q, constants[QMIN]), constants[QMAX])
