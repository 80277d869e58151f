"""The KLD strategy: narrow a range where the quantised histogram diverges least (spec B.6).

The vendor's variant, not the textbook's: among the `top_k` windows of smallest divergence the
widest wins, and windows grow to both sides by one bin a step.
"""

from __future__ import annotations

import numpy as np

from r329fast.calibration.cascade_sum import cascade_sum
from r329fast.calibration.statistics import F32

_LEVELS = 256  # 8 bits
_EPS = F32(np.finfo(np.float32).eps)


def narrow_by_kld(
    histogram: np.ndarray, low: np.float32, high: np.float32, top_k: int
) -> tuple[np.float32, np.float32]:
    """(min, max) of the chosen window; histogram float32 (bins,) over [low, high]."""
    bins = len(histogram)
    if bins <= _LEVELS:
        return low, high
    width = F32((high - low) / F32(bins))
    left, right = _first_window(histogram, low, high)
    steps = max(left + 1, bins - right)
    padded = np.pad(histogram.astype(F32), (steps - (left + 1), steps - (bins - right)))
    # After padding every step has room on both sides; the first window starts at `start`.
    start = steps - 1
    below = np.cumsum(padded, dtype=F32)
    above = np.cumsum(padded[::-1], dtype=F32)[::-1]
    divergence = np.empty(steps, dtype=F32)
    for step in range(steps):
        first, last = start - step, start + _LEVELS - 1 + step
        window = padded[first : last + 1].copy()
        window[0], window[-1] = below[first], above[last]
        divergence[step] = _divergence(window / cascade_sum(window))
    # Equal to float32, two windows tie; the vendor's order of ties is open, the wider one fits.
    order = np.lexsort((-np.arange(steps), divergence))
    chosen = int(order[: max(top_k, 2)].max())
    narrowed_low = low + F32(max(left - chosen, 0)) * width
    narrowed_high = high - F32(bins - 1 - min(right + chosen, bins - 1)) * width
    return F32(narrowed_low), F32(narrowed_high)


def _first_window(histogram: np.ndarray, low: np.float32, high: np.float32) -> tuple[int, int]:
    bins, half = len(histogram), _LEVELS // 2
    if low >= 0:
        return 0, _LEVELS - 1
    if high <= 0:
        return bins - _LEVELS, bins - 1
    fullest = int(histogram.argmax())
    if fullest < bins - 1 - fullest:
        left = max(fullest - half, 0)
        return left, left + _LEVELS - 1
    right = min(fullest + half, bins - 1)
    return right - _LEVELS + 1, right


def _divergence(p: np.ndarray) -> np.float32:
    """sum P log(P / Q), Q the window folded into 256 groups and spread over nonzero bins.

    In float32, as the vendor's: which windows tie, and in which order they come, depends on it.
    """
    group = np.minimum(np.arange(len(p)) // (len(p) // _LEVELS), _LEVELS - 1)
    used = p != 0
    totals = np.bincount(group, weights=p, minlength=_LEVELS)
    counts = np.bincount(group, weights=used, minlength=_LEVELS)
    q = (totals.astype(F32) / (counts.astype(F32) + _EPS))[group]
    return cascade_sum(p[used] * np.log(p[used] / q[used]))
