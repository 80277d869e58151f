"""Pixels to the integers of a network's input, cut values counted in the same pass."""

from __future__ import annotations

import numpy as np
from numba import njit

# An entry of a table is the byte that a pixel becomes, and this bit where it was cut: so one sum
# over all entries counts the cuts, above whatever the bytes add up to.
CUT_SHIFT = 40


@njit(nogil=True, cache=True)
def encode_pixels(p, x, tables, out):  # type: ignore[no-untyped-def]
    """x bytes [p[0], 3] -> out through a table of 256 for each channel of x; how many were cut.

    p[1]: 1 where the channels change places.
    """
    first, second, third = tables[:256], tables[256:512], tables[512:768]
    total = 0
    # two loops: with places known when it is compiled, either takes half the time
    if p[1]:
        for i in range(np.uint64(p[0])):
            a, b, c = third[x[3 * i + 2]], second[x[3 * i + 1]], first[x[3 * i]]
            out[3 * i] = a & 255
            out[3 * i + 1] = b & 255
            out[3 * i + 2] = c & 255
            total += a + b + c
    else:
        for i in range(np.uint64(p[0])):
            a, b, c = first[x[3 * i]], second[x[3 * i + 1]], third[x[3 * i + 2]]
            out[3 * i] = a & 255
            out[3 * i + 1] = b & 255
            out[3 * i + 2] = c & 255
            total += a + b + c
    return total >> CUT_SHIFT


def pixel_tables(codes: np.ndarray, cut: np.ndarray) -> np.ndarray:
    """The tables of `encode_pixels`: codes of one byte and cut (bool), both [256, 3]."""
    entries = codes.view(np.uint8).astype(np.int64) | cut.astype(np.int64) << CUT_SHIFT
    return np.ascontiguousarray(entries.T).reshape(-1)
