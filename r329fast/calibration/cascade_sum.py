"""A float32 sum in the order of the vendor's tensor library, where the order decides a tie.

Eight lanes, each the sum of every eighth value: of these, four partial sums side by side, each
in a cascade of up to four levels; then partial sums, lanes and the rest in order. (The library's
sum over a contiguous axis with vectors of eight float32; with other vectors the order differs.)
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

F32 = np.float32
_LANES, _PARTS, _LEVELS = 8, 4, 4
_LEAST_POWER = 4  # a level takes at least 2**4 rows before it is added to the next


def cascade_sum(values: npt.NDArray[np.float32]) -> np.float32:
    """Sum of float32 (n,), every addition rounded to float32."""
    count = len(values) // _LANES
    rows = values[: count * _LANES].reshape(count, _LANES)
    several = count // _PARTS
    parts = _cascade(rows[: several * _PARTS].reshape(several, _PARTS * _LANES))
    lanes = parts.reshape(_PARTS, _LANES)
    first = _running(lanes[:1], rows[several * _PARTS :])
    lane_sums = _running(first[None], lanes[1:])
    rest = _running(np.zeros((1, 1), dtype=F32), values[count * _LANES :, None])
    return F32(_running(rest[None], lane_sums[:, None])[0])


def _running(start: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """start [1, m] plus rows [n, m], one after the other."""
    return np.asarray(np.cumsum(np.concatenate([start, rows]), axis=0, dtype=F32)[-1])


def _cascade(rows: np.ndarray) -> np.ndarray:
    """Sums of the columns of rows [n, m]."""
    count, width = rows.shape
    digits = (count - 1).bit_length() if count > 1 else 0
    power = max(_LEAST_POWER, digits // _LEVELS)
    step = 1 << power
    levels = np.zeros((_LEVELS, width), dtype=F32)
    done = 0
    while done + step <= count:
        levels[0] = _running(levels[:1], rows[done : done + step])
        done += step
        for level in range(1, _LEVELS):
            levels[level] += levels[level - 1]
            levels[level - 1] = 0
            if done & ((step - 1) << (level * power)):
                break
    levels[0] = _running(levels[:1], rows[done:])
    return _running(levels[:1], levels[1:])
