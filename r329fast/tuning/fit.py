"""Weights on the integer grid whose sums come closest to the float layer's.

For one layer, with the integers x that it really gets: the integers w and b for which
scale * (w x + b) is nearest to the float layer's sums (least squares over the samples), so that
they make good what the layers before did wrong as well. Sums that an activation or the output's
integers cut off on both sides are no error: there the aim is what the layer gives already.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack

from r329fast.tuning.rounding import descend, move_biases, round_with_feedback, take_aim

LIMIT = 127
_ROUNDS, _BIAS_ROUNDS = 3, 8
_PASSES = 4
_CHUNK = 2048  # samples whose products are summed in float32
_BLOCK = 256  # rows or columns of a matrix that is changed in its place
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
    """Of a problem's inputs: gram, float32 (G, K, K), damped; upper, float64, and near, float32:
    the Cholesky factor of its inverse (inverse = upper^T upper); damping (G,)."""

    gram: np.ndarray
    upper: np.ndarray
    near: np.ndarray
    damping: np.ndarray


def damped_gram(x: np.ndarray, damping: float) -> tuple[np.ndarray, np.ndarray]:
    """(float64 (G, K, K) of x [G, S, K], its damping (G,)).

    damping: pull towards the float weights, as a share of the mean variance of x.
    """
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
    return gram, pull


def moments(x: np.ndarray, damping: float) -> Moments:
    gram, pull = damped_gram(x, damping)
    near = gram.astype(np.float32)
    upper = inverse_factor(gram, overwrite=True)
    return Moments(near, upper, upper.astype(np.float32), pull)


def inverse_factor(gram: np.ndarray, overwrite: bool = False) -> np.ndarray:
    """Upper U (G, K, K) with U^T U the inverse of each matrix: U = R^-1 where gram = R R^T.

    overwrite: whether gram may be used up, as wide matrices take hundreds of MB.
    """
    if gram.shape[-1] <= _SMALL:
        turned = np.linalg.cholesky(gram[:, ::-1, ::-1])[:, ::-1, ::-1]
        return np.triu(np.linalg.inv(turned))
    result = gram if overwrite else gram.copy()
    for one in result:
        _invert_factor(one)
    return result


def _invert_factor(gram: np.ndarray) -> None:
    """`inverse_factor` of one matrix, in its place.

    LAPACK factors L L^T, so the order of rows and columns is turned. It reads columns: those of a
    symmetric matrix are its rows.
    """
    _turn(gram)
    lower, info = lapack.dpotrf(gram.T, lower=1, overwrite_a=1)
    if info:
        raise np.linalg.LinAlgError(f"leading minor {info} is not positive definite")
    inverse, _ = lapack.dtrtri(lower, lower=1, overwrite_c=1)
    assert np.shares_memory(inverse, gram)  # both routines take it as it is
    _transpose(gram)
    _turn(gram)


def _turn(matrix: np.ndarray) -> None:
    """Rows and columns in reverse order, in place."""
    flat = matrix.reshape(-1)
    for first in range(0, flat.size // 2, _BLOCK**2):
        last = min(first + _BLOCK**2, flat.size // 2)
        head, tail = flat[first:last], flat[::-1][first:last]
        kept = head.copy()
        head[:] = tail
        tail[:] = kept


def _transpose(matrix: np.ndarray) -> None:
    """Rows become columns, in place."""
    parts = [slice(first, first + _BLOCK) for first in range(0, len(matrix), _BLOCK)]
    for index, rows in enumerate(parts):
        for columns in parts[index:]:
            kept = matrix[rows, columns].T.copy()
            matrix[rows, columns] = matrix[columns, rows].T
            matrix[columns, rows] = kept


def ideal_weights(problem: Problem, found: Moments, sums: np.ndarray) -> np.ndarray:
    """float64 (O, K): the real weights that fit `sums` best."""
    groups, samples, width = problem.x.shape
    mean = sums.mean(axis=0, dtype=np.float64).astype(np.float32)
    target = (sums - mean).reshape(samples, groups, -1).transpose(1, 0, 2)
    cross = (problem.x.transpose(0, 2, 1) @ target).astype(np.float64) / samples
    now = problem.weights.reshape(groups, -1, width)
    cross += found.damping[:, None, None] * now.transpose(0, 2, 1)
    turned = found.upper @ cross
    del cross  # wide layers have these by the tens of MB, several at once
    best = found.upper.transpose(0, 2, 1) @ turned
    return best.transpose(0, 2, 1).reshape(-1, width)


@dataclass(frozen=True)
class Aim:
    """sums: float32 [S, O], what to meet; weights: float64 (O, K), real, those that fit it best."""

    sums: np.ndarray
    weights: np.ndarray


def first_aim(problem: Problem, found: Moments, now: np.ndarray) -> Aim:
    """Where the layer gives `now`, float32 [S, O]. It does not depend on any scale."""
    sums = np.zeros_like(now)
    take_aim(problem.sums, now, problem.low, problem.high, sums)
    return Aim(sums, ideal_weights(problem, found, sums))


def fit_bias(
    products: np.ndarray,
    sums: np.ndarray,
    scale: np.ndarray,
    start: np.ndarray,
    low: float,
    high: float,
) -> np.ndarray:
    """float64 (O,): the bias, in steps, for which `products` [S, O] (in values) meet `sums`."""
    bias = start * scale
    move_biases(products, sums, bias, scale / 4, low, high, _BIAS_ROUNDS)
    return bias / scale


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
    problem: Problem, found: Moments, first: Aim, trust: float
) -> tuple[np.ndarray, np.ndarray]:
    """(int64 weights (O, K), float64 biases (O,) in steps).

    trust: how far the aim goes from the float weights (0) to those that fit the samples best (1).
    """
    groups, _, width = problem.x.shape
    limit = np.float32(LIMIT)
    sums, best = first.sums.copy(), first.weights
    q = bias = np.zeros(0)
    for number in range(_ROUNDS):
        ideal = (problem.weights + trust * (best - problem.weights)) / problem.scale[:, None]
        held, q = held_weights(ideal, problem.grid)
        round_with_feedback(ideal.astype(np.float32), found.near, q, held, limit)
        shape = (groups, -1, width)
        slope = (q.reshape(shape) - ideal.reshape(shape)).astype(np.float32) @ found.gram
        descend(found.gram, slope.reshape(q.shape), q, held, limit, _PASSES)
        products = problem.products(q)
        products *= problem.scale.astype(np.float32)
        start = (sums.mean(axis=0, dtype=np.float64) - products.mean(axis=0)) / problem.scale
        bias = fit_bias(products, problem.sums, problem.scale, start, problem.low, problem.high)
        if number == _ROUNDS - 1:
            break
        products += (bias * problem.scale).astype(np.float32)
        change = take_aim(problem.sums, products, problem.low, problem.high, sums)
        if change <= _SAME_AIM * sums.size * float(sums.var()):
            break
        best = ideal_weights(problem, found, sums)
    return q.astype(np.int64), bias
