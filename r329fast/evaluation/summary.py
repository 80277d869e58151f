"""Figures of an evaluation from its records; intervals and tests are scipy's."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Interval = tuple[float, float]


@dataclass
class Accuracy:
    """Of one network on the images that could be read. Fractions; intervals are 95 % Wilson.

    mean_rank: of the true class, 1 is best.
    """

    images: int
    top1: float
    top5: float
    mean_rank: float
    top1_interval: Interval
    top5_interval: Interval


@dataclass
class Against:
    """int8 against float on the same images.

    agreement: same first class. lost: float right, int8 wrong; gained: the other way round.
    p_value: exact two-sided McNemar test of lost against gained. pairs: (true class, int8 class)
    -> images lost so. worst: rows of the lost images, highest int8 rank of the true class first.
    """

    agreement: float
    agreement_interval: Interval
    drop: float
    lost: int
    gained: int
    p_value: float
    pairs: list[tuple[int, int, int]] = field(default_factory=list)
    worst: list[int] = field(default_factory=list)


@dataclass
class VariantResult:
    """Figures of one setting. saturated: input values cut, and images with at least one.

    tied_images: several classes share the highest integer. top1_shared: top-1 when each of them
    gets its part of the image, which is what a fair choice among them would give on average
    (top1 counts the lowest class number, as argmax does).
    """

    name: str
    settings: dict[str, Any]
    accuracy: Accuracy
    against: Against | None
    saturated_values: int
    saturated_images: int
    tied_images: int
    top1_shared: float

    def as_json(self) -> dict[str, Any]:
        accuracy, against = self.accuracy, self.against
        found: dict[str, Any] = {
            "name": self.name,
            **self.settings,
            "images": accuracy.images,
            "top1": accuracy.top1,
            "top5": accuracy.top5,
            "mean_rank": accuracy.mean_rank,
            "top1_interval": list(accuracy.top1_interval),
            "top5_interval": list(accuracy.top5_interval),
            "saturated_values": self.saturated_values,
            "saturated_images": self.saturated_images,
            "tied_images": self.tied_images,
            "top1_shared": self.top1_shared,
        }
        if against is not None:
            found |= {
                "agreement": against.agreement,
                "agreement_interval": list(against.agreement_interval),
                "drop": against.drop,
                "lost": against.lost,
                "gained": against.gained,
                "mcnemar_p": against.p_value,
                "confused": [list(pair) for pair in against.pairs[:20]],
                "worst": against.worst[:20],
            }
        return found


def wilson(hits: int, total: int) -> Interval:
    """95 % interval of a fraction."""
    if not total:
        return 0.0, 1.0
    from scipy.stats import binomtest

    found = binomtest(hits, total).proportion_ci(0.95, method="wilson")
    return float(found.low), float(found.high)


def mcnemar(lost: int, gained: int) -> float:
    """Two-sided p of `lost` against `gained` under equal chances, exact."""
    if lost + gained == 0:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(lost, lost + gained, 0.5).pvalue)


def accuracy_of(rank: np.ndarray) -> Accuracy:
    """From the ranks of the true classes, 0 for skipped images."""
    rank = rank[rank > 0]
    total = len(rank)
    first, five = int((rank == 1).sum()), int((rank <= 5).sum())
    return Accuracy(
        total,
        first / total if total else 0.0,
        five / total if total else 0.0,
        float(rank.mean()) if total else 0.0,
        wilson(first, total),
        wilson(five, total),
    )


def compare(scores: np.ndarray, floats: np.ndarray, classes: np.ndarray) -> Against:
    """Records of one setting against those of the float network, row by row."""
    used = scores["rank"] > 0
    total = int(used.sum())
    same = used & (scores["top"][:, 0] == floats["top"][:, 0])
    lost = used & (floats["rank"] == 1) & (scores["rank"] != 1)
    gained = used & (floats["rank"] != 1) & (scores["rank"] == 1)
    rows = np.flatnonzero(lost)
    worst = rows[np.argsort(-scores["rank"][rows], kind="stable")]
    counted = Counter((int(classes[row]), int(scores["top"][row, 0])) for row in rows)
    pairs = sorted(((n, *pair) for pair, n in counted.items()), key=lambda item: (-item[0], item))
    share = int(same.sum()) / total if total else 0.0
    return Against(
        agreement=share,
        agreement_interval=wilson(int(same.sum()), total),
        drop=(int(lost.sum()) - int(gained.sum())) / total if total else 0.0,
        lost=int(lost.sum()),
        gained=int(gained.sum()),
        p_value=mcnemar(int(lost.sum()), int(gained.sum())),
        pairs=[(true, found, n) for n, true, found in pairs],
        worst=[int(row) for row in worst],
    )


def summarise(
    name: str,
    settings: dict[str, Any],
    scores: np.ndarray,
    floats: np.ndarray | None,
    classes: np.ndarray,
) -> VariantResult:
    """All figures of one setting."""
    used = scores["rank"] > 0
    # the classes that share the best value have the ranks 1 to `tied`
    among = scores["rank"][used] <= scores["tied"][used]
    return VariantResult(
        name,
        settings,
        accuracy_of(scores["rank"]),
        compare(scores, floats, classes) if floats is not None else None,
        saturated_values=int(scores["saturated"].astype(np.int64).sum()),
        saturated_images=int((scores["saturated"] > 0).sum()),
        tied_images=int((used & (scores["tied"] > 1)).sum()),
        top1_shared=float((among / scores["tied"][used]).mean()) if used.any() else 0.0,
    )
