"""What is done to every pixel around the simulator, without Python's lock.

Pixels to the integers of a network's input, cut values counted in the same pass; and checksums.
"""

from __future__ import annotations

import zlib

import numpy as np
from numba import njit

# An entry of a table is the bits that a pixel becomes, one byte or two, and this bit where it was
# cut: so one sum over all entries counts the cuts, above whatever the bits add up to.
CUT_SHIFT = 40
PAGE = 256
# Odd and distinct: one changed byte, or two that changed places, always change the sum of a page.
# No sum exceeds 32 bits: 256 * 255 * 32767.
_WEIGHTS = (np.arange(PAGE) * 81014 + 1).astype(np.uint16).view(np.int16)


@njit(
    [
        "int64(int64, boolean, uint8[::1], int64[::1], uint8[::1])",
        "int64(int64, boolean, uint8[::1], int64[::1], uint16[::1])",
    ],
    nogil=True,
    cache=True,
)
def encode_pixels(pixels, reverse, x, tables, out):  # type: ignore[no-untyped-def]
    """x bytes [pixels, 3] -> out through a table of 256 for each channel of x; how many were cut.

    reverse: whether the channels change places; out takes the low bits of an entry.
    """
    first, second, third = tables[:256], tables[256:512], tables[512:768]
    total = 0
    # two loops: with places known when it is compiled, either takes half the time
    if reverse:
        for i in range(np.uint64(pixels)):
            a, b, c = third[x[3 * i + 2]], second[x[3 * i + 1]], first[x[3 * i]]
            out[3 * i] = a
            out[3 * i + 1] = b
            out[3 * i + 2] = c
            total += a + b + c
    else:
        for i in range(np.uint64(pixels)):
            a, b, c = first[x[3 * i]], second[x[3 * i + 1]], third[x[3 * i + 2]]
            out[3 * i] = a
            out[3 * i + 1] = b
            out[3 * i + 2] = c
            total += a + b + c
    return total >> CUT_SHIFT


def pixel_tables(codes: np.ndarray, cut: np.ndarray) -> np.ndarray:
    """The tables of `encode_pixels`: codes of one or two bytes and cut (bool), both [256, 3]."""
    low = codes.view(f"uint{8 * codes.itemsize}").astype(np.int64)
    entries = low | cut.astype(np.int64) << CUT_SHIFT
    return np.ascontiguousarray(entries.T).reshape(-1)


@njit("void(uint8[::1], int16[::1], int32[::1])", nogil=True, cache=True)
def page_sums(x, weights, out):  # type: ignore[no-untyped-def]
    """Weighted sum of every PAGE bytes of x, the last page may be shorter, to out int32."""
    page = np.uint64(PAGE)
    whole = np.uint64(len(x)) // page
    for i in range(whole):
        part = x[i * page : (i + np.uint64(1)) * page]
        total = np.int32(0)
        for k in range(page):
            total += np.int32(part[k]) * np.int32(weights[k])
        out[i] = total
    rest = x[whole * page :]
    if len(rest):
        total = np.int32(0)
        for k in range(len(rest)):
            total += np.int32(rest[k]) * np.int32(weights[k])
        out[whole] = total


def checksum(data: np.ndarray) -> int:
    """32 bits of contiguous uint8 data: CRC-32 of its page sums, many times as fast as of it."""
    sums = np.empty(-(-data.size // PAGE), dtype=np.int32)
    page_sums(data.reshape(-1), _WEIGHTS, sums)
    return zlib.crc32(sums.data)
