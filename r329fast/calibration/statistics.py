"""Running statistics of one tensor over a calibration set (spec A "Ranges" and B.6).

Every accumulator sees one statistics batch after the other; memory does not grow with the set.
All in float32, as the vendor's tools compute.
"""

from __future__ import annotations

import numpy as np

F32 = np.float32
MOMENTUM = 0.9  # of running statistics, where nobody says another


class ExtremeRange:
    """aqt2021 EXTREME: global min and max."""

    def __init__(self) -> None:
        self.low = F32(np.inf)
        self.high = F32(-np.inf)

    def update(self, values: np.ndarray) -> None:
        """Take one image (or batch) in."""
        self.add(F32(values.min()), F32(values.max()))

    def add(self, low: np.float32, high: np.float32) -> None:
        # unlike min and max, these keep NaN, which a network may give
        self.low, self.high = np.minimum(self.low, low), np.maximum(self.high, high)

    def range(self) -> tuple[float, float]:
        return float(self.low), float(self.high)

    seen = range


class MeanRange:
    """aqt2021 MEAN: v = x_0, then v = 0.5 * v + 0.5 * x_i in dataset order, image by image."""

    def __init__(self) -> None:
        self.extrema = ExtremeRange()
        self.mean: tuple[np.float32, np.float32] | None = None

    def update(self, values: np.ndarray) -> None:
        """Take one image in."""
        low, high = F32(values.min()), F32(values.max())
        self.extrema.add(low, high)
        half = F32(0.5)
        if self.mean is not None:
            low = half * self.mean[0] + half * low
            high = half * self.mean[1] + half * high
        self.mean = low, high

    def range(self) -> tuple[float, float]:
        assert self.mean is not None
        return float(self.mean[0]), float(self.mean[1])

    def seen(self) -> tuple[float, float]:
        """Global min and max, for comparison."""
        return self.extrema.range()


def range_statistics(method: str) -> MeanRange | ExtremeRange:
    """The statistics of an aqt2021 method, MEAN or EXTREME."""
    return MeanRange() if method == "MEAN" else ExtremeRange()


class RunningStatistics:
    """compass42: running and extreme min and max; optionally mean, std, mad and histogram.

    `running` holds min, max, mean, std (unbiased), mad (mean |x - mean|) with momentum; the
    histogram has `bins` equal bins over each batch's own range, averaged bin by bin.
    """

    def __init__(self, momentum: float, moments: bool, bins: int) -> None:
        self.momentum = momentum
        self.moments, self.bins = moments, bins
        self.extrema = ExtremeRange()
        self.running: dict[str, np.float32] = {}
        self.histogram: np.ndarray | None = None

    def update(self, values: np.ndarray) -> None:
        current = {"min": F32(values.min()), "max": F32(values.max())}
        self.extrema.add(current["min"], current["max"])
        if self.moments:
            wide = values.astype(np.float64)
            mean = wide.mean()
            current["mean"] = F32(mean)
            current["std"] = F32(wide.std(ddof=1)) if values.size > 1 else F32(0)
            current["mad"] = F32(np.abs(wide - mean).mean())
        for name, value in current.items():
            self.running[name] = self._blend(self.running.get(name), value)
        if self.bins:
            low, high = current["min"], current["max"]
            counts = histogram(values, low, high, self.bins)
            old = self.histogram
            self.histogram = counts if old is None else self._blend_array(old, counts)

    def _weights(self) -> tuple[np.float32, np.float32]:
        return F32(self.momentum), F32(1.0 - self.momentum)

    def _blend(self, running: np.float32 | None, value: np.float32) -> np.float32:
        if running is None:
            return value
        old, new = self._weights()
        return old * running + new * value

    def _blend_array(self, running: np.ndarray, counts: np.ndarray) -> np.ndarray:
        old, new = self._weights()
        return (old * running + new * counts).astype(F32)


def histogram(values: np.ndarray, low: np.float32, high: np.float32, bins: int) -> np.ndarray:
    """Counts in `bins` equal bins over [low, high], float32 (bins,); the top edge is inside."""
    flat = values.reshape(-1).astype(F32)
    if not high > low:
        counts = np.zeros(bins, dtype=F32)
        counts[bins // 2] = flat.size
        return counts
    position = (flat - low) / (high - low) * F32(bins)
    index = np.clip(position.astype(np.int64), 0, bins - 1)
    return np.bincount(index, minlength=bins).astype(F32)
