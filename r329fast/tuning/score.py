"""The network's output against the float one, image by image, and how sure a gain is."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from r329fast.profile.errors import ratio_db, top_class
from r329fast.profile.sensitivity import OutputScore

_DRAWS = 1000
FIRST = 5  # classes whose order counts


@dataclass
class ImageScore(OutputScore):
    """rows: float64 [N, 3], of each image the signal, the noise and whether the classes agree."""

    rows: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))

    def add(self, values: np.ndarray, expected: np.ndarray, labels: np.ndarray | None) -> None:
        super().add(values, expected, labels)
        exact = np.asarray(expected, dtype=np.float64).reshape(len(expected), -1)
        noise = np.square(values.reshape(len(values), -1) - exact).sum(axis=1)
        agreed = (top_class(values) == top_class(expected)).reshape(len(values), -1).all(axis=1)
        part = np.stack([np.square(exact).sum(axis=1), noise, agreed], axis=1)
        self.rows = np.concatenate([self.rows, part])


def judged_db(values: np.ndarray, expected: np.ndarray) -> float:
    """Mean of two SNRs in dB: of all values, and of the differences between the first classes.

    values, expected: float [N, ..., classes]. The energy of an output lies in its many low
    classes, its answer in the order of the highest ones; a change has to be good for both.
    """
    exact = np.asarray(expected, dtype=np.float64).reshape(-1, expected.shape[-1])
    error = values.reshape(exact.shape) - exact
    found = [_db(exact, error)]
    if exact.shape[-1] > FIRST:
        first = first_classes(exact)
        found.append(_db(*(centred(np.take_along_axis(rows, first, 1)) for rows in (exact, error))))
    return float(np.mean(found))


def first_classes(rows: np.ndarray) -> np.ndarray:
    """int64 [R, FIRST]: the highest of each row of values [R, C], C > FIRST."""
    return np.argpartition(rows, -FIRST, axis=-1)[:, -FIRST:]


def centred(rows: np.ndarray) -> np.ndarray:
    """Rows less their means."""
    return rows - rows.mean(axis=-1, keepdims=True)


def _db(signal: np.ndarray, error: np.ndarray) -> float:
    return ratio_db(float(np.square(signal).sum()), float(np.square(error).sum()))


def gain_intervals(before: ImageScore, after: ImageScore) -> dict[str, list[float]]:
    """95 % intervals of the gain over the same images: in dB of SNR, in points of agreement.

    By drawing images with replacement; the draws are the same in every run.
    """
    count = len(before.rows)
    draws = np.random.default_rng(count).integers(0, count, (_DRAWS, count))
    first, second = (score.rows[draws].sum(axis=1) for score in (before, after))
    tiny = np.finfo(np.float64).tiny
    gains = 10 * np.log10(np.maximum(first[:, 1], tiny) / np.maximum(second[:, 1], tiny))
    points = 100 * (second[:, 2] - first[:, 2]) / count
    return {
        "gain_interval_db": np.percentile(gains, [2.5, 97.5]).tolist(),
        "agreement_interval_points": np.percentile(points, [2.5, 97.5]).tolist(),
    }
