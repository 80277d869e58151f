"""Weights on the integer grid whose sums come closest to the float layer's.

For one layer, with the integers x that it really gets: the integers w and b for which
scale * (w x + b) is nearest to the float layer's sums (least squares over the samples), so that
they make good what the layers before did wrong as well. Sums that an activation or the output's
integers cut off on both sides are no error: there the aim is what the layer gives already.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve, cholesky, lapack

from r329fast.tuning.rounding import descend, move_biases, round_with_feedback

LIMIT = 127
_DAMPING = 0.01  # pull towards the float weights, as a share of the mean variance
_ROUNDS, _BIAS_ROUNDS = 3, 8
_PASSES = 4


@dataclass(frozen=True)
class Problem:
    """One layer, or one group of its channels.

    x: float32 [S, K], the integers it reads less their zero point; sums: float32 [S, O] aimed at;
    scale: float64 (O,), real value of one step of the accumulator; weights: float64 (O, K), real,
    for x in steps; low, high: where output values are cut off.
    """

    x: np.ndarray
    sums: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    low: float
    high: float


@dataclass(frozen=True)
class Moments:
    """Of a problem's inputs. mean (K,), gram (K, K), damped; lower: its Cholesky factor."""

    mean: np.ndarray
    gram: np.ndarray
    lower: np.ndarray
    damping: float


def moments(x: np.ndarray, damping: float) -> Moments:
    mean = x.mean(axis=0, dtype=np.float64)
    centred = x - mean.astype(np.float32)
    gram = (centred.T @ centred).astype(np.float64) / len(x)
    # a quarter of a step is what no input can be told more precisely than
    pull = damping * max(float(np.mean(np.diag(gram))), 1e-6) + 1 / 16
    # few samples say little: pull harder, so that weights stay where the float network has them
    pull *= 1 + gram.shape[0] / len(x)
    gram[np.diag_indices_from(gram)] += pull
    return Moments(mean, gram, cholesky(gram, lower=True), pull)


def ideal_weights(problem: Problem, found: Moments, sums: np.ndarray) -> np.ndarray:
    """float64 (O, K): the real weights, in steps, that fit `sums` best."""
    centred = problem.x - found.mean.astype(np.float32)
    target = (sums - sums.mean(axis=0, dtype=np.float64)) / problem.scale
    cross = (centred.T @ target.astype(np.float32)).astype(np.float64) / len(problem.x)
    cross += found.damping * (problem.weights / problem.scale[:, None]).T
    return cho_solve((found.lower, True), cross).T


def reachable(problem: Problem, found: np.ndarray) -> np.ndarray:
    """The sums to aim at, where the layer gives `found` now: what is cut off anyway may stay."""
    aim = np.where(problem.sums <= problem.low, np.minimum(found, problem.low), problem.sums)
    return np.where(problem.sums >= problem.high, np.maximum(found, problem.high), aim)


def fit_bias(problem: Problem, products: np.ndarray, start: np.ndarray) -> np.ndarray:
    """float64 (O,): the bias, in steps, for w x = `products` (in values)."""
    bias = start * problem.scale
    move_biases(products, problem.sums, bias, problem.low, problem.high, _BIAS_ROUNDS)
    return bias / problem.scale


def inverse_factor(found: Moments) -> np.ndarray:
    """Upper Cholesky factor of the inverse of the Gram matrix, float32."""
    inverse, _ = lapack.dpotri(found.lower, lower=1)
    inverse = np.tril(inverse) + np.tril(inverse, -1).T
    return np.ascontiguousarray(cholesky(inverse, lower=False), dtype=np.float32)


def held_weights(ideal: np.ndarray, each_channel: bool) -> tuple[np.ndarray, np.ndarray]:
    """(bool (O, K), float32 (O, K)): the largest weight, of all or of each channel, is +-127."""
    held = np.zeros(ideal.shape, dtype=bool)
    rows = range(len(ideal)) if each_channel else [int(np.abs(ideal).max(axis=1).argmax())]
    for row in rows:
        held[row, int(np.abs(ideal[row]).argmax())] = True
    q = np.where(held, np.where(ideal < 0, -LIMIT, LIMIT), np.clip(np.rint(ideal), -LIMIT, LIMIT))
    return held, q.astype(np.float32)


def fit_integers(
    problem: Problem,
    found: Moments,
    factor: np.ndarray,
    start: np.ndarray,
    each_channel: bool,
    trust: float,
) -> tuple[np.ndarray, np.ndarray]:
    """(int64 weights (O, K), float64 biases (O,) in steps).

    factor: `inverse_factor` of the moments; start: what the layer gives now [S, O]; trust: how far
    the aim goes from the float weights (0) to those that fit the samples best (1).
    """
    gram = found.gram.astype(np.float32)
    now = start
    q = bias = np.zeros(0)
    for _ in range(_ROUNDS):
        aim = reachable(problem, now)
        ideal = problem.weights / problem.scale[:, None]
        if trust > 0:
            ideal = ideal + trust * (ideal_weights(problem, found, aim) - ideal)
        held, q = held_weights(ideal, each_channel)
        round_with_feedback(ideal.astype(np.float32), factor, q, held, np.float32(LIMIT))
        wanted = (ideal @ found.gram).astype(np.float32)
        descend(gram, wanted, q, held, np.float32(LIMIT), _PASSES)
        products = (problem.x @ q.T) * problem.scale.astype(np.float32)
        first = (aim.mean(axis=0, dtype=np.float64) - products.mean(axis=0)) / problem.scale
        bias = fit_bias(problem, products, first)
        now = products + (bias * problem.scale).astype(np.float32)
    return q.astype(np.int64), bias
