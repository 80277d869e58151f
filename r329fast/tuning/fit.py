"""Weights on the integer grid whose sums come closest to the float layer's.

For one layer, with the integers x that it really gets: the integers w and b for which
scale * (w x + b) is nearest to the float layer's sums (least squares over the samples), so that
they make good what the layers before did wrong as well. Sums that an activation or the output's
integers cut off on both sides are no error: there the aim is what the layer gives already.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cholesky, lapack

from r329fast.tuning.rounding import descend, move_biases, round_with_feedback

LIMIT = 127
_ROUNDS, _BIAS_ROUNDS = 3, 8
_PASSES = 4
_CHUNK = 2048  # samples whose products are summed in float32
_SMALL = 64  # up to this width a stack of matrices is factored by NumPy, above it each by LAPACK
_SAME_AIM = 1e-5  # change of the aim, as a share of its variance, below which it stays


@dataclass(frozen=True)
class Problem:
    """One layer in G groups of channels that read the same: S samples, K inputs, O outputs.

    x: float32 [G, S, K], the integers read less their zero point; sums: float32 [S, O] aimed at;
    scale: float64 (O,), real value of one step of the accumulator; weights: float64 (O, K), real,
    for x in steps; grid: int64 (O,), which outputs share a weight scale; low, high: where sums are
    cut off.
    """

    x: np.ndarray
    sums: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    grid: np.ndarray
    low: float
    high: float

    def products(self, weights: np.ndarray) -> np.ndarray:
        """float32 [S, O] of weights (O, K)."""
        groups = len(self.x)
        each = weights.astype(np.float32).reshape(groups, -1, weights.shape[-1])
        found = self.x @ each.transpose(0, 2, 1)
        return np.ascontiguousarray(found.transpose(1, 0, 2)).reshape(len(self.sums), -1)


@dataclass(frozen=True)
class Moments:
    """Of a problem's inputs: gram (G, K, K), damped; upper: the Cholesky factor of its inverse
    (inverse = upper^T upper); damping (G,)."""

    gram: np.ndarray
    upper: np.ndarray
    damping: np.ndarray


def moments(x: np.ndarray, damping: float) -> Moments:
    """damping: pull towards the float weights, as a share of the mean variance of x [G, S, K]."""
    samples, width = x.shape[1:]
    mean = x.mean(axis=1, dtype=np.float64, keepdims=True).astype(np.float32)
    gram = np.zeros((len(x), width, width))
    for first in range(0, samples, _CHUNK):
        centred = x[:, first : first + _CHUNK] - mean
        gram += centred.transpose(0, 2, 1) @ centred
    gram /= samples
    diagonal = np.einsum("gkk->gk", gram)
    # a quarter of a step is what no input can be told more precisely than
    pull = damping * np.maximum(diagonal.mean(axis=1), 1e-6) + 1 / 16
    # few samples say little: pull harder, so that weights stay where the float network has them
    pull *= 1 + width / samples
    diagonal += pull[:, None]  # a view into gram
    return Moments(gram, inverse_factor(gram), pull)


def inverse_factor(gram: np.ndarray) -> np.ndarray:
    """Upper U (G, K, K) with U^T U the inverse of each matrix: U = R^-1 where gram = R R^T."""
    if gram.shape[-1] <= _SMALL:
        turned = np.linalg.cholesky(gram[:, ::-1, ::-1])[:, ::-1, ::-1]
        return np.triu(np.linalg.inv(turned))
    return np.stack([_inverse_factor(one) for one in gram])


def _inverse_factor(gram: np.ndarray) -> np.ndarray:
    turned = cholesky(
        np.asfortranarray(gram[::-1, ::-1]), lower=True, overwrite_a=True, check_finite=False
    )
    inverse, _ = lapack.dtrtri(turned, lower=1, overwrite_c=1)
    return np.asarray(inverse[::-1, ::-1])  # nothing stands below its diagonal


def ideal_weights(problem: Problem, found: Moments, sums: np.ndarray) -> np.ndarray:
    """float64 (O, K): the real weights, in steps, that fit `sums` best."""
    groups, samples, width = problem.x.shape
    target = ((sums - sums.mean(axis=0, dtype=np.float64)) / problem.scale).astype(np.float32)
    target = target.reshape(samples, groups, -1).transpose(1, 0, 2)
    cross = (problem.x.transpose(0, 2, 1) @ target).astype(np.float64) / samples
    steps = (problem.weights / problem.scale[:, None]).reshape(groups, -1, width)
    cross += found.damping[:, None, None] * steps.transpose(0, 2, 1)
    best = found.upper.transpose(0, 2, 1) @ (found.upper @ cross)
    return best.transpose(0, 2, 1).reshape(-1, width)


def reachable(problem: Problem, found: np.ndarray) -> np.ndarray:
    """The sums to aim at, where the layer gives `found` now: what is cut off anyway may stay."""
    aim = np.where(problem.sums <= problem.low, np.minimum(found, problem.low), problem.sums)
    return np.where(problem.sums >= problem.high, np.maximum(found, problem.high), aim)


def fit_bias(problem: Problem, products: np.ndarray, start: np.ndarray) -> np.ndarray:
    """float64 (O,): the bias, in steps, for w x = `products` (in values)."""
    bias = start * problem.scale
    low, high = problem.low, problem.high
    move_biases(products, problem.sums, bias, problem.scale / 4, low, high, _BIAS_ROUNDS)
    return bias / problem.scale


def held_weights(ideal: np.ndarray, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(bool (O, K), float32 (O, K)): the largest weight of each grid is +-127 and stays so."""
    held = np.zeros(ideal.shape, dtype=bool)
    largest = np.abs(ideal).max(axis=1)
    for number in np.unique(grid):
        rows = np.flatnonzero(grid == number)
        row = rows[int(largest[rows].argmax())]
        held[row, int(np.abs(ideal[row]).argmax())] = True
    q = np.where(held, np.where(ideal < 0, -LIMIT, LIMIT), np.clip(np.rint(ideal), -LIMIT, LIMIT))
    return held, q.astype(np.float32)


def fit_integers(
    problem: Problem, found: Moments, start: np.ndarray, trust: float
) -> tuple[np.ndarray, np.ndarray]:
    """(int64 weights (O, K), float64 biases (O,) in steps).

    start: what the layer gives now [S, O]; trust: how far the aim goes from the float weights (0)
    to those that fit the samples best (1).
    """
    groups, _, width = problem.x.shape
    gram, upper = found.gram.astype(np.float32), found.upper.astype(np.float32)
    limit, last = np.float32(LIMIT), None
    now = start
    q = bias = np.zeros(0)
    for _ in range(_ROUNDS):
        aim = reachable(problem, now)
        if last is not None and _hardly_differs(aim, last):
            break
        last = aim
        ideal = problem.weights / problem.scale[:, None]
        if trust > 0:
            ideal = ideal + trust * (ideal_weights(problem, found, aim) - ideal)
        held, q = held_weights(ideal, problem.grid)
        round_with_feedback(ideal.astype(np.float32), upper, q, held, limit)
        shape = (groups, -1, width)
        slope = (q.reshape(shape) - ideal.reshape(shape)).astype(np.float32) @ gram
        descend(gram, slope.reshape(q.shape), q, held, limit, _PASSES)
        products = problem.products(q) * problem.scale.astype(np.float32)
        first = (aim.mean(axis=0, dtype=np.float64) - products.mean(axis=0)) / problem.scale
        bias = fit_bias(problem, products, first)
        now = products + (bias * problem.scale).astype(np.float32)
    return q.astype(np.int64), bias


def _hardly_differs(aim: np.ndarray, last: np.ndarray) -> bool:
    return float(np.square(aim - last).mean()) <= _SAME_AIM * float(aim.var())
