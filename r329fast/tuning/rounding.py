"""Integers near real weights that keep a layer's sums: error feedback, then descent by weight."""

from __future__ import annotations

import numpy as np
from numba import njit

from r329fast.kernels.runtime import cache

assert cache.CACHE_DIR  # set before anything is decorated


@njit(nogil=True, cache=True)
def round_with_feedback(w, factor, q, held, limit):  # type: ignore[no-untyped-def]
    """Round float32 w (O, K) to q (O, K), each error made good by the weights behind it.

    factor: float32 (K, K), upper Cholesky factor of the inverse Gram matrix; held: bool (O, K)
    weights that keep the value that q has already; limit: largest magnitude. w is used up.
    """
    for o in range(w.shape[0]):
        row = w[o]
        for k in range(row.size):
            if not held[o, k]:
                q[o, k] = min(max(np.rint(row[k]), -limit), limit)
            error = (row[k] - q[o, k]) / factor[k, k]
            for j in range(k + 1, row.size):
                row[j] -= error * factor[k, j]


@njit(nogil=True, cache=True)
def descend(gram, aim, q, held, limit, passes):  # type: ignore[no-untyped-def]
    """Change single integers of q (O, K) while that lowers q G q - 2 aim q; how many changed.

    gram: float32 (K, K), symmetric; aim: float32 (O, K); held: bool (O, K).
    """
    changed = 0
    width = q.shape[1]
    for o in range(q.shape[0]):
        slope = -aim[o]
        for k in range(width):
            if q[o, k] != 0:
                for j in range(width):
                    slope[j] += q[o, k] * gram[k, j]
        for _ in range(passes):
            moved = False
            for k in range(width):
                if held[o, k]:
                    continue
                best = min(max(np.rint(q[o, k] - slope[k] / gram[k, k]), -limit), limit)
                step = np.float32(best - q[o, k])
                if step != 0:
                    moved = True
                    changed += 1
                    q[o, k] = best
                    for j in range(width):
                        slope[j] += step * gram[k, j]
            if not moved:
                break
    return changed


@njit(nogil=True, cache=True)
def move_biases(products, sums, bias, low, high, rounds):  # type: ignore[no-untyped-def]
    """Move bias float64 (O,), real, to where products + bias meets `sums`, float32 (S, O) both.

    Means of the error run over the values that are not cut off on both sides, at `low` and below
    or at `high` and above; on one side, the cut-off value is what counts.
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
        for o in range(outputs):
            bias[o] += error[o] / max(count[o], 1.0)
