"""Scores of logits: ranked classes and the rank of the true one, as plain records.

Equal values, which are common in int8, rank by class number, the lower first: that is what argmax
does and what a person reading the output would do.
"""

from __future__ import annotations

import numpy as np

TOP = 5
# top, value: the best classes and their integers, -1 and 0 where the network has fewer;
# rank: of the true class, from 1 (0 for a skipped image); tied: classes that share the best
# value; saturated: input values cut at the end of the range
SCORE = np.dtype(
    [
        ("top", "<i4", TOP),
        ("value", "<i2", TOP),
        ("rank", "<i4"),
        ("tied", "<i4"),
        ("saturated", "<i4"),
    ]
)
FLOAT_SCORE = np.dtype([("top", "<i4", TOP), ("rank", "<i4")])


def ranked(logits: np.ndarray) -> np.ndarray:
    """The best classes of [N, classes], best first: int32 [N, TOP], -1 where there are fewer."""
    count, classes = logits.shape
    best = min(TOP, classes)
    result = np.full((count, TOP), -1, dtype=np.int32)
    if logits.dtype.kind in "iu":
        # argmax takes the first of equals, which is the rule for ties
        left = logits.astype(np.int32)
        for place in range(best):
            result[:, place] = left.argmax(axis=1)
            np.put_along_axis(left, result[:, place, None], np.iinfo(np.int32).min, 1)
    else:
        result[:, :best] = np.argsort(-logits, axis=1, kind="stable")[:, :best]
    return result


def true_rank(logits: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """1 + the number of classes before the true one: int32 [N]."""
    own = np.take_along_axis(logits, classes[:, None], 1)
    earlier = np.arange(logits.shape[1]) < classes[:, None]
    return np.asarray(1 + ((logits > own) | ((logits == own) & earlier)).sum(1), dtype=np.int32)


def score(logits: np.ndarray, classes: np.ndarray, saturated: np.ndarray) -> np.ndarray:
    """Records of integer logits [N, classes]; `classes` int64 [N] are the true ones."""
    records = np.zeros(len(logits), dtype=SCORE)
    top = ranked(logits)
    records["top"] = top
    values = np.take_along_axis(logits, np.maximum(top, 0).astype(np.int64), 1).astype(np.int16)
    records["value"] = np.where(top < 0, 0, values)
    records["rank"] = true_rank(logits, classes)
    records["tied"] = (logits == logits.max(axis=1, keepdims=True)).sum(1)
    records["saturated"] = saturated
    return records


def score_float(logits: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Records of float logits [N, classes]."""
    records = np.zeros(len(logits), dtype=FLOAT_SCORE)
    records["top"] = ranked(logits)
    records["rank"] = true_rank(logits, classes)
    return records


def blank(records: np.ndarray, rows: np.ndarray) -> None:
    """Make the given rows those of skipped images."""
    records[rows] = np.zeros((), dtype=records.dtype)
    records["top"][rows] = -1
