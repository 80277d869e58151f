"""Ranks, ties, figures and their intervals, from logits and records."""

from __future__ import annotations

import math

import numpy as np
import pytest

from r329fast.evaluation.score import blank, score, score_float, true_rank
from r329fast.evaluation.summary import accuracy_of, compare, mcnemar, summarise, wilson


def test_ranks_follow_the_rule_for_ties() -> None:
    logits = np.array([[3, 5, 5, -128, 127, 5, 0], [1, 1, 1, 1, 1, 1, 1]], np.int8)
    records = score(logits, np.array([2, 6]), np.array([4, 0]))
    assert records["top"].tolist() == [[4, 1, 2, 5, 0], [0, 1, 2, 3, 4]]
    assert records["value"].tolist() == [[127, 5, 5, 5, 3], [1, 1, 1, 1, 1]]
    assert records["rank"].tolist() == [3, 7]
    assert records["tied"].tolist() == [1, 7]
    assert records["saturated"].tolist() == [4, 0]
    floats = score_float(logits.astype(np.float32), np.array([2, 6]))
    assert np.array_equal(floats["top"], records["top"])
    assert np.array_equal(floats["rank"], records["rank"])


def test_ranks_equal_a_plain_sort() -> None:
    rng = np.random.default_rng(0)
    logits = rng.integers(-4, 5, (200, 30)).astype(np.int8)
    classes = rng.integers(0, 30, 200)
    records = score(logits, classes, np.zeros(200))
    for row, true, record in zip(logits, classes, records, strict=True):
        order = sorted(range(30), key=lambda k: (-int(row[k]), k))
        assert record["top"].tolist() == order[:5]
        assert record["rank"] == order.index(true) + 1
    few = score(logits[:, :3], classes % 3, np.zeros(200))
    assert (few["top"][:, 3:] == -1).all()
    assert (few["value"][:, 3:] == 0).all()
    blank(records, np.array([3]))
    assert records["top"][3].tolist() == [-1] * 5
    assert records["rank"][3] == 0


def test_unsigned_values_rank_as_they_are() -> None:
    logits = np.array([[200, 3, 255]], np.uint8)
    assert score(logits, np.array([0]), np.zeros(1))["top"][0, :3].tolist() == [2, 0, 1]
    assert true_rank(logits, np.array([0])).tolist() == [2]


def test_accuracy_leaves_skipped_images_out() -> None:
    item = accuracy_of(np.array([1, 1, 5, 6, 0]))
    assert (item.images, item.top1, item.top5, item.mean_rank) == (4, 0.5, 0.75, 3.25)
    assert accuracy_of(np.zeros(3, int)).images == 0


def test_intervals_against_the_formulas() -> None:
    hits, total, z = 370, 500, 1.959963984540054
    share = hits / total
    middle = (share + z * z / 2 / total) / (1 + z * z / total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / 4 / total**2) / (1 + z * z / total)
    assert wilson(hits, total) == pytest.approx((middle - half, middle + half))
    assert wilson(0, 0) == (0.0, 1.0)
    # exact two-sided binomial: 2 * P(X <= 1) of 6 throws
    assert mcnemar(1, 5) == pytest.approx(2 * (1 + 6) / 64)
    assert mcnemar(0, 0) == mcnemar(4, 4) == 1.0


def test_tied_images_are_shared_out() -> None:
    logits = np.array([[5, 5, 1], [5, 5, 1], [5, 5, 1], [7, 2, 2], [3, 3, 3]], np.int8)
    classes = np.array([0, 1, 2, 0, 2])
    item = summarise("x", {}, score(logits, classes, np.zeros(5)), None, classes)
    assert item.accuracy.top1 == 2 / 5
    assert item.tied_images == 4
    assert item.top1_shared == pytest.approx((0.5 + 0.5 + 0 + 1 + 1 / 3) / 5)


def test_lost_images_worst_first() -> None:
    classes = np.array([1, 1, 2, 3, 0])
    scores = np.zeros(5, score(np.zeros((1, 9), np.int8), np.array([0]), np.zeros(1)).dtype)
    floats = np.zeros(5, score_float(np.zeros((1, 9), np.float32), np.array([0])).dtype)
    scores["top"][:, 0] = [4, 4, 2, 0, -1]
    scores["rank"] = [2, 9, 1, 3, 0]
    floats["top"][:, 0] = [1, 1, 5, 3, -1]
    floats["rank"] = [1, 1, 4, 1, 0]
    found = compare(scores, floats, classes)
    assert (found.lost, found.gained) == (3, 1)
    assert found.worst == [1, 3, 0]
    assert found.pairs == [(1, 4, 2), (3, 0, 1)]
    assert found.agreement == 0.0
    assert found.drop == 0.5
    assert found.p_value == pytest.approx(2 * 5 / 16)
