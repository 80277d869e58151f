"""One pass over a layer's float and integer values: sums, largest error, float histogram."""

from __future__ import annotations

import numpy as np
from numba import njit

from r329fast.kernels.runtime import cache

assert cache.CACHE_DIR  # set before anything is decorated

# Places in the sums: float * int, float^2, int^2, error^2, |error| in steps, largest of these.
DOT, FLOAT_SQUARE, INT_SQUARE, ERROR_SQUARE, ABS_STEPS, MAX_STEPS, COUNT = range(7)
SUMS = 7


@njit(nogil=True, cache=True)
def error_sums(x, q, values, scale, sums):  # type: ignore[no-untyped-def]
    """Add to `sums` float64 (7,) what float32 x (n,) and its integers differ by.

    q: uint8 (n,), the integers' bytes; values: float32 (256,), the real value of each byte;
    scale: steps a unit.
    """
    dot = 0.0
    float_square = 0.0
    int_square = 0.0
    error_square = 0.0
    absolute = 0.0
    largest = sums[MAX_STEPS]
    for i in range(x.size):
        f = np.float64(x[i])
        v = np.float64(values[q[i]])
        e = v - f
        dot += f * v
        float_square += f * f
        int_square += v * v
        error_square += e * e
        steps = abs(e) * scale
        absolute += steps
        largest = max(largest, steps)
    sums[DOT] += dot
    sums[FLOAT_SQUARE] += float_square
    sums[INT_SQUARE] += int_square
    sums[ERROR_SQUARE] += error_square
    sums[ABS_STEPS] += absolute
    sums[MAX_STEPS] = largest
    sums[COUNT] += x.size


@njit(nogil=True, cache=True)
def float_histogram(x, scale, start, width, counts):  # type: ignore[no-untyped-def]
    """Add float32 x (n,) to int64 `counts`: bin (x * scale - start) / width, ends included."""
    last = counts.size - 1
    factor = np.float32(scale / width)
    offset = np.float32(start / width)
    for i in range(x.size):
        place = x[i] * factor - offset
        if place <= 0:
            counts[0] += 1
        elif place >= last:
            counts[last] += 1
        else:
            counts[np.int64(place)] += 1
