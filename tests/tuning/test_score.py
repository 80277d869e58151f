"""What judges an output: all of its values, and the order of its first classes."""

from __future__ import annotations

import numpy as np
import pytest

from r329fast.tuning.score import FIRST, ImageScore, judged_db, judged_gain


def _db(signal: np.ndarray, error: np.ndarray) -> float:
    return 10 * float(np.log10((signal**2).sum() / (error**2).sum()))


def test_both_ratios_count() -> None:
    rng = np.random.default_rng(0)
    exact = rng.normal(size=(6, 40)) * 3
    values = exact + rng.normal(size=exact.shape)
    order = np.argsort(exact, axis=1)[:, -FIRST:]
    first = [np.take_along_axis(rows, order, 1) for rows in (exact, values - exact)]
    expected = _db(exact, values - exact) + _db(*(r - r.mean(axis=1, keepdims=True) for r in first))
    assert judged_db(values, exact) == pytest.approx(expected / 2)


def test_an_error_that_all_first_classes_share_changes_no_order() -> None:
    exact = np.random.default_rng(1).normal(size=(6, 40))
    rows, first = np.arange(6)[:, None], np.argsort(exact, axis=1)[:, -FIRST:]
    alike, apart = exact.copy(), exact.copy()
    alike[rows, first] += 0.3
    apart[rows, first] += 0.3 * np.array([1, -1, 1, -1, 1])
    assert judged_db(alike, exact) > judged_db(apart, exact) + 20


def test_few_classes_are_judged_by_all_values() -> None:
    exact = np.random.default_rng(2).normal(size=(6, FIRST))
    values = exact + 0.1
    assert judged_db(values, exact) == pytest.approx(_db(exact, values - exact))


@pytest.mark.parametrize("classes", [FIRST, 12])
def test_a_gain_over_images_is_that_of_the_score(classes: int) -> None:
    rng = np.random.default_rng(1)
    exact = rng.normal(size=(8, classes)).astype(np.float32)
    found = []
    for size in (0.2, 0.1):
        values = (exact + size * rng.normal(size=exact.shape)).astype(np.float32)
        score = ImageScore()
        for part in (slice(0, 3), slice(3, 8)):
            score.add(values[part], exact[part], None)
        found.append((score, judged_db(values, exact)))
    gain, low, high = judged_gain(found[0][0], found[1][0])
    assert gain == pytest.approx(found[1][1] - found[0][1], abs=1e-5)
    assert low < gain < high
    assert judged_gain(found[0][0], found[0][0]) == (0, 0, 0)
