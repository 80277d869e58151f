"""Weights of exact Winograd: transformed, packed, and the certificate that makes it exact.

24 * G has integer rows; of the last one a half is left to A^T, so that every transformed weight of
an int8 layer fits int16 (|u| <= 12 * 12 * 128):

    6 0 0; -4 -4 -4; -4 4 -4; 1 2 4; 1 -2 4; 0 0 12
"""

from __future__ import annotations

import numpy as np

from r329fast.kernels.ir.winograd import POSITIONS, WINDOW
from r329fast.kernels.leaves.winograd import WORDS
from r329fast.kernels.runtime.op_plan import empty_aligned

_G = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 12]])
_LIMIT = 1 << 25  # 64 * |y| must fit int32
_STEP = 32  # channels of a chunk are a multiple: whole vectors of every path


def largest_sum(weights: np.ndarray) -> int:
    """Largest |sum| of weights (O, 3, 3, C) times any values in -128..127, exact.

    uint8 inputs are such values too: the transform takes 128 away, the bias gives it back.
    """
    flat = weights.reshape(len(weights), -1)
    up = np.maximum(flat, 0).sum(axis=1, dtype=np.int64)
    down = up - flat.sum(axis=1, dtype=np.int64)
    return int(np.maximum(127 * up + 128 * down, 128 * up + 127 * down).max(initial=0))


def channel_chunk(weights: np.ndarray) -> int:
    """Input channels that one certified sum may run over; 0 where not even the fewest may.

    As few and equal chunks as the certificate allows: each is a sum of its own, of which the
    transform back is exact; the sums are then added as int32.
    """
    channels = int(weights.shape[3])
    count = 1
    while True:
        chunk = -(-channels // (count * _STEP)) * _STEP
        starts = range(0, channels, chunk)
        if all(largest_sum(weights[..., k : k + chunk]) < _LIMIT for k in starts):
            return chunk
        if chunk == _STEP:
            return 0
        count += 1


def transformed_fit(weights: np.ndarray) -> bool:
    """Whether G w G^T fits int16, whatever the weights' own type."""
    if weights.dtype == np.int8:
        return True
    both = np.kron(_G, _G).astype(np.int64) @ _by_tap(weights).reshape(9, -1).astype(np.int64)
    return bool(np.abs(both).max(initial=0) < 1 << 15)


def _by_tap(weights: np.ndarray) -> np.ndarray:
    """(O, 3, 3, I) -> (9, O, I)."""
    return weights.reshape(len(weights), 9, -1).transpose(1, 0, 2)


def _transform(w: np.ndarray) -> np.ndarray:
    """24 * G' w for int16 w (3, ...) -> (6, ...), without matrix products (and their threads)."""
    ends, near = w[0] + w[2], w[0] + 4 * w[2]
    twice = 2 * w[1]
    return np.stack(
        [6 * w[0], -4 * (ends + w[1]), 4 * (w[1] - ends), near + twice, near - twice, 12 * w[2]]
    )


def pack_transformed(weights: np.ndarray, chunk: int, panels: int) -> np.ndarray:
    """uint8 of int16 [`panels` of columns][chunk][36][panel][channel pair][columns][2].

    The order in which the kernel reads them. A last panel of at most half the width has only half
    the columns.
    """
    width, (outs, _, _, channels) = WORDS.width, weights.shape
    columns_in = [width if outs - c > width // 2 else width // 2 for c in range(0, outs, width)]
    even = sum(-(-min(chunk, channels - k) // 2) * 2 for k in range(0, channels, chunk))
    packed = empty_aligned(POSITIONS * sum(columns_in) * even, np.int16)
    place = 0
    for group in range(0, len(columns_in), panels):
        widths = columns_in[group : group + panels]
        for start in range(0, channels, chunk):
            count = min(chunk, channels - start)
            pairs = -(-count // 2)
            size = POSITIONS * sum(widths) * 2 * pairs
            block = packed[place : place + size].reshape(WINDOW, WINDOW, -1)
            place += size
            at = 0
            for index, columns in enumerate(widths):
                first = (group + index) * width
                part = weights[first : first + columns, ..., start : start + count]
                panel = np.zeros((columns, 3, 3, 2 * pairs), dtype=np.int16)
                panel[: len(part), ..., :count] = part
                ordered = panel.reshape(columns, 3, 3, pairs, 2).transpose(1, 2, 3, 0, 4)
                rows = _transform(np.ascontiguousarray(ordered).reshape(3, 3, -1))
                both = _transform(rows.transpose(1, 0, 2)).transpose(1, 0, 2)
                block[..., at : at + both.shape[2]] = both
                at += both.shape[2]
    return packed.view(np.uint8)
