"""What judges an output: all of its values, and the order of its first classes."""

from __future__ import annotations

import numpy as np
import pytest

from r329fast.tuning.score import FIRST, ImageScore, agreement_falls, judged_db, judged_gain


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


def _agreeing(agreed: list[int]) -> ImageScore:
    """Of images whose class is float's, 1, or not, 0."""
    score = ImageScore()
    exact = np.tile(np.array([1.0, 0.0]), (len(agreed), 1))
    score.add(np.where(np.array(agreed)[:, None] == 1, exact, exact[:, ::-1]), exact, None)
    return score


@pytest.mark.parametrize(
    ("images", "lost", "gained", "falls"),
    [
        (100, 0, 0, False),
        (100, 1, 0, False),  # what one image says is chance
        (100, 4, 0, False),  # p = 0.06
        (100, 5, 0, True),  # p = 0.03
        (100, 5, 3, False),
        (100, 8, 1, True),
        (100, 0, 9, False),
        (1000, 20, 16, False),
        (1000, 30, 15, True),
        (24, 1, 0, False),
        (24, 2, 0, True),  # a twelfth of the images
        (5, 1, 0, True),  # no test could tell that
        (5, 1, 1, False),
        (3, 1, 0, True),
    ],
)
def test_agreement_falls_where_it_is_no_chance(
    images: int, lost: int, gained: int, falls: bool
) -> None:
    same = [1] * (images - lost - gained)
    one, other = [1] * lost + [0] * gained + same, [0] * lost + [1] * gained + same
    assert agreement_falls([_agreeing(one)], [_agreeing(other)]) == falls
    half = images // 2
    parts = [[_agreeing(row[:half]), _agreeing(row[half:])] for row in (one, other)]
    assert agreement_falls(*parts) == falls  # the same in two parts
