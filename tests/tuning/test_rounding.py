"""Rounding on the integer grid, against brute force and against plain rounding."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from r329fast.tuning.fit import (
    LIMIT,
    Problem,
    damped_gram,
    first_aim,
    fit_bias,
    fit_integers,
    inverse_factor,
    moments,
)
from r329fast.tuning.rounding import descend, round_with_feedback, take_aim


def _loss(q: np.ndarray, ideal: np.ndarray, gram: np.ndarray) -> float:
    return float(np.einsum("ok,kl,ol->", q - ideal, gram, q - ideal))


def _correlated(samples: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(width, width)) + 2.0
    return (rng.normal(size=(samples, width)) @ mixing).astype(np.float32) * 10


def test_descent_finds_what_brute_force_finds_on_two_weights() -> None:
    gram = np.array([[2.0, 0.3], [0.3, 1.0]], np.float32)
    ideal = np.array([[0.4, -1.7], [3.2, 0.51]])
    q = np.rint(ideal).astype(np.float32)
    held = np.zeros(q.shape, bool)
    slope = ((q - ideal) @ gram).astype(np.float32)
    descend(gram.astype(np.float32)[None], slope, q, held, np.float32(LIMIT), 8)
    for row in range(2):
        near = itertools.product(range(-6, 7), repeat=2)
        best = min(near, key=lambda pair: _loss(np.array([pair]), ideal[row : row + 1], gram))
        np.testing.assert_array_equal(q[row], best)


def test_feedback_and_descent_lose_less_than_plain_rounding_and_keep_what_is_held() -> None:
    found = moments(_correlated(4000, 24)[None], 0.01)
    gram = found.gram[0]
    rng = np.random.default_rng(1)
    ideal = rng.normal(size=(5, 24)) * 30
    held = np.zeros(ideal.shape, bool)
    held[2, 7] = True
    q = np.rint(ideal).astype(np.float32)
    q[2, 7] = LIMIT
    plain = _loss(q, ideal, gram)
    limit = np.float32(LIMIT)
    round_with_feedback(ideal.astype(np.float32), found.upper.astype(np.float32), q, held, limit)
    fed = _loss(q, ideal, gram)
    slope = ((q - ideal) @ gram).astype(np.float32)
    descend(found.gram.astype(np.float32), slope, q, held, limit, 8)
    least = _loss(q, ideal, gram)
    assert least <= fed < plain / 2
    assert q[2, 7] == LIMIT
    assert np.array_equal(q, np.rint(q))
    assert np.abs(q).max() <= LIMIT


def test_bias_leaves_out_what_both_sides_cut_off() -> None:
    """Half of the sums lie far below zero on both sides: they must not move the bias."""
    rng = np.random.default_rng(2)
    sums = np.concatenate([rng.uniform(1, 5, 500), rng.uniform(-500, -300, 500)])[:, None]
    products = (sums - 0.7).astype(np.float32)
    products[500:] += 100  # an error that nobody sees
    sums = sums.astype(np.float32)
    bias = fit_bias(products, sums, np.array([0.01]), np.zeros(1), 0.0, 6.0)
    np.testing.assert_allclose(bias * 0.01, 0.7, atol=1e-4)


@pytest.mark.parametrize("width", [9, 100, 301, 512])
def test_the_factor_of_the_inverse(width: int) -> None:
    x = np.stack([_correlated(400, width, seed) for seed in range(3)])
    grams, _ = damped_gram(x, 0.01)
    np.testing.assert_array_equal(grams, grams.transpose(0, 2, 1))  # as the factor takes it
    uppers = inverse_factor(grams)
    for gram, upper in zip(grams, uppers, strict=True):
        np.testing.assert_array_equal(upper, np.triu(upper))
        np.testing.assert_allclose(upper.T @ upper @ gram, np.eye(width), atol=1e-6)
    np.testing.assert_array_equal(moments(x, 0.01).upper, uppers)


def test_groups_are_fitted_as_if_each_were_alone() -> None:
    rng = np.random.default_rng(3)
    x = np.rint(rng.normal(size=(4, 500, 9)) * 40).astype(np.float32)
    weights = rng.normal(size=(4, 9)) * 0.2
    scale = np.abs(weights).max(axis=1) / LIMIT
    sums = np.einsum("gsk,gk->sg", x, weights).astype(np.float32)
    whole = Problem(x, sums, scale, weights, np.arange(4), -np.inf, np.inf)
    found = moments(x, 0.01)
    q, bias = fit_integers(whole, found, first_aim(whole, found, sums), 1.0)
    for g in range(4):
        part = slice(g, g + 1)
        one = Problem(
            x[part], sums[:, part], scale[part], weights[part], np.zeros(1, np.int64), -np.inf,
            np.inf,
        )  # fmt: skip
        found = moments(x[part], 0.01)
        alone, own = fit_integers(one, found, first_aim(one, found, sums[:, part].copy()), 1.0)
        np.testing.assert_array_equal(q[part], alone)
        np.testing.assert_allclose(bias[part], own, atol=0.5)
    assert np.abs(q).max(axis=1).tolist() == [LIMIT] * 4


def test_the_aim_leaves_what_is_cut_off_alike() -> None:
    rng = np.random.default_rng(5)
    sums, found = (rng.integers(-3, 10, (40, 7)).astype(np.float32) for _ in range(2))
    low, high = 0.0, 6.0
    aim = np.zeros_like(sums)
    change = take_aim(sums, found, low, high, aim)
    expected = np.where(sums <= low, np.minimum(found, low), sums)
    expected = np.where(sums >= high, np.maximum(found, high), expected)
    np.testing.assert_array_equal(aim, expected)
    assert change == float((expected.astype(np.float64) ** 2).sum())
    assert take_aim(sums, found, low, high, aim) == 0
