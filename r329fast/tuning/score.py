"""The network's output against the float one, image by image, and how sure a gain is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from r329fast.profile.errors import ratio_db, top_class
from r329fast.profile.sensitivity import OutputScore

_DRAWS = 1000
MAY_DISAGREE = 0.05  # share of the images that is a fall, whatever chance may do
_SURE = 0.05  # p of the test below which it is no chance
FIRST = 5  # classes whose order counts


@dataclass
class ImageScore(OutputScore):
    """rows: float64 [N, 5], of each image the signal, the noise, whether the classes agree, and
    signal and noise in the differences between the first classes (0 where there are few)."""

    rows: np.ndarray = field(default_factory=lambda: np.zeros((0, 5)))

    def add(self, values: np.ndarray, expected: np.ndarray, labels: np.ndarray | None) -> None:
        super().add(values, expected, labels)
        exact = np.asarray(expected, dtype=np.float64).reshape(len(expected), -1)
        noise = np.square(values.reshape(len(values), -1) - exact).sum(axis=1)
        agreed = (top_class(values) == top_class(expected)).reshape(len(values), -1).all(axis=1)
        first = np.zeros((2, len(exact)))
        if expected.shape[-1] > FIRST:
            rows = exact.reshape(-1, expected.shape[-1])
            error = np.asarray(values, dtype=np.float64).reshape(rows.shape) - rows
            for side, energy in enumerate(map(np.square, _differences(rows, error))):
                first[side] = energy.reshape(len(exact), -1).sum(axis=1)
        part = np.stack([np.square(exact).sum(axis=1), noise, agreed, *first], axis=1)
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
        found.append(_db(*_differences(exact, error)))
    return float(np.mean(found))


def _differences(exact: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of both, float64 [R, C], the first classes of `exact` less their mean: float64 [R, FIRST]."""
    first = first_classes(exact)
    one, other = (centred(np.take_along_axis(rows, first, 1)) for rows in (exact, error))
    return one, other


def judged_gain(before: ImageScore, after: ImageScore) -> tuple[float, float, float]:
    """(gain in `judged_db` over the same images, its 95 % interval: low, high), in dB."""
    first, second = (
        np.concatenate([score.rows.sum(axis=0)[None], score.rows[_draws(len(score.rows))].sum(1)])
        for score in (before, after)
    )
    kinds = [1, 4] if before.rows[:, 3].any() else [1]
    gains = _ratios(first[:, kinds], second[:, kinds]).mean(axis=1)
    low, high = np.percentile(gains[1:], [2.5, 97.5])
    return float(gains[0]), float(low), float(high)


def agreement_falls(before: Sequence[ImageScore], after: Sequence[ImageScore]) -> bool:
    """Whether agreement with the float network falls, over the same images, by more than chance.

    Only images count that agree in one of the two states: an exact one-sided test of as many lost
    among them (McNemar's). A few images cannot show that: a share of MAY_DISAGREE is a fall in any
    case.
    """
    one, other = (np.concatenate([s.rows[:, 2] for s in scores]) for scores in (before, after))
    lost, gained = int((one > other).sum()), int((one < other).sum())
    if lost <= gained:
        return False
    if lost - gained > MAY_DISAGREE * len(one):
        return True
    from scipy.stats import binomtest

    return float(binomtest(lost, lost + gained, 0.5, alternative="greater").pvalue) < _SURE


def _draws(count: int) -> np.ndarray:
    """int64 [_DRAWS, count]: images with replacement, the same in every run."""
    return np.random.default_rng(count).integers(0, count, (_DRAWS, count))


def _ratios(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """dB by which noise fell."""
    tiny = np.finfo(np.float64).tiny
    found: np.ndarray = 10 * np.log10(np.maximum(first, tiny) / np.maximum(second, tiny))
    return found


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
    draws = _draws(count)
    first, second = (score.rows[draws].sum(axis=1) for score in (before, after))
    gains = _ratios(first[:, 1], second[:, 1])
    points = 100 * (second[:, 2] - first[:, 2]) / count
    return {
        "gain_interval_db": np.percentile(gains, [2.5, 97.5]).tolist(),
        "agreement_interval_points": np.percentile(points, [2.5, 97.5]).tolist(),
    }
