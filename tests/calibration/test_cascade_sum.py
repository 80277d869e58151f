"""The cascade of sums against the same order spelled out value by value."""

from __future__ import annotations

import numpy as np
import pytest

from r329fast.calibration.cascade_sum import cascade_sum

F32 = np.float32


def column(values: list[np.float32]) -> np.float32:
    """One lane's partial sum: levels that take 2**power values each before they move up."""
    power = max(4, int(np.ceil(np.log2(len(values)))) // 4) if len(values) > 1 else 4
    levels = [F32(0)] * 4
    whole = len(values) >> power << power
    for place, value in enumerate(values, 1):
        levels[0] = F32(levels[0] + value)
        if place <= whole and place % (1 << power) == 0:
            for level in (1, 2, 3):
                levels[level] = F32(levels[level] + levels[level - 1])
                levels[level - 1] = F32(0)
                if place % (1 << ((level + 1) * power)):
                    break
    total = levels[0]
    for level in (1, 2, 3):
        total = F32(total + levels[level])
    return total


def spelled_out(values: np.ndarray) -> np.float32:
    rows = len(values) // 8
    total = F32(0)
    for value in values[8 * rows :]:
        total = F32(total + value)
    for lane in range(8):
        own = values[lane : 8 * rows : 8]
        parts = [column(list(own[part : rows // 4 * 4 : 4])) for part in range(4)]
        for value in own[rows // 4 * 4 :]:
            parts[0] = F32(parts[0] + value)
        for part in (1, 2, 3):
            parts[0] = F32(parts[0] + parts[part])
        total = F32(total + parts[0])
    return total


@pytest.mark.parametrize("count", [0, 1, 7, 8, 31, 32, 33, 256, 511, 512, 2048, 4099, 40_000])
def test_every_rounding_is_in_its_place(count: int) -> None:
    values = (np.random.default_rng(count).standard_normal(count) * 1000).astype(F32)
    assert cascade_sum(values) == spelled_out(values)
    assert cascade_sum(values) == pytest.approx(float(values.astype(float).sum()), abs=0.5)


def test_order_shows_in_the_last_bits() -> None:
    values = np.random.default_rng(1).random(3000).astype(F32)
    assert cascade_sum(values) != np.cumsum(values, dtype=F32)[-1]
