"""Integers near real weights that keep a layer's sums: error feedback, then descent by weight."""

from __future__ import annotations

import numpy as np
from numba import njit

from r329fast.kernels.runtime import cache

assert cache.CACHE_DIR  # set before anything is decorated


_ROWS = 16  # outputs that go through a factor's row together, while it is near


@njit(nogil=True, cache=True)
def round_with_feedback(w, factor, q, held, limit):  # type: ignore[no-untyped-def]
    """Round float32 w (O, K) to q (O, K), each error made good by the weights behind it.

    factor: float32 (G, K, K), upper Cholesky factor of the inverse Gram matrix of each group of
    outputs; held: bool (O, K) weights that keep the value that q has already; limit: largest
    magnitude. w is used up.
    """
    outputs, width = w.shape
    each = outputs // factor.shape[0]
    first = 0
    while first < outputs:
        group = first // each
        last = min(first + _ROWS, (group + 1) * each)
        upper = factor[group]
        for k in range(width):
            pivot = upper[k, k]
            for o in range(first, last):
                if not held[o, k]:
                    q[o, k] = min(max(np.rint(w[o, k]), -limit), limit)
                error = (w[o, k] - q[o, k]) / pivot
                for j in range(k + 1, width):
                    w[o, j] -= error * upper[k, j]
        first = last


@njit(nogil=True, cache=True)
def descend(gram, slope, q, held, limit, passes):  # type: ignore[no-untyped-def]
    """Change single integers of q (O, K) while that lowers (q - aim) G (q - aim); how many changed.

    gram: float32 (G, K, K), symmetric, of each group of outputs; slope: float32 (O, K), (q - aim) G
    at the start, used up; held: bool (O, K) weights that stay; limit: largest magnitude.
    """
    changed = 0
    outputs, width = q.shape
    each = outputs // gram.shape[0]
    for o in range(outputs):
        matrix, row = gram[o // each], slope[o]
        for _ in range(passes):
            moved = False
            for k in range(width):
                if held[o, k]:
                    continue
                best = min(max(np.rint(q[o, k] - row[k] / matrix[k, k]), -limit), limit)
                step = np.float32(best - q[o, k])
                if step != 0:
                    moved = True
                    changed += 1
                    q[o, k] = best
                    for j in range(width):
                        row[j] += step * matrix[k, j]
            if not moved:
                break
    return changed


@njit(nogil=True, cache=True)
def move_biases(products, sums, bias, least, low, high, rounds):  # type: ignore[no-untyped-def]
    """Move bias float64 (O,), real, to where products + bias meets `sums`, float32 (S, O) both.

    Means of the error run over the values that are not cut off on both sides, at `low` and below
    or at `high` and above; on one side, the cut-off value is what counts. Ends when no bias moves
    by more than its `least`, float64 (O,).
    """
    samples, outputs = products.shape
    for _ in range(rounds):
        error = np.zeros(outputs)
        count = np.zeros(outputs)
        for s in range(samples):
            for o in range(outputs):
                found = products[s, o] + bias[o]
                aim = sums[s, o]
                if (aim <= low and found <= low) or (aim >= high and found >= high):
                    continue
                error[o] += min(max(aim, low), high) - min(max(found, low), high)
                count[o] += 1
        moved = False
        for o in range(outputs):
            step = error[o] / max(count[o], 1.0)
            bias[o] += step
            moved = moved or abs(step) > least[o]
        if not moved:
            break


@njit(nogil=True, cache=True)
def take_aim(sums, found, low, high, aim):  # type: ignore[no-untyped-def]
    """Into aim: `sums`, but `found` where both are cut off alike, at `low` and below or at `high`
    and above, and the edge where only the sums are. The squared change of aim. float32 (S, O) all.
    """
    samples, outputs = sums.shape
    change = 0.0
    for s in range(samples):
        for o in range(outputs):
            value = sums[s, o]
            if value >= high:
                value = max(found[s, o], high)
            elif value <= low:
                value = min(found[s, o], low)
            change += np.float64(value - aim[s, o]) ** 2
            aim[s, o] = value
    return change
