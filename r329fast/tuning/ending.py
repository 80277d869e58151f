"""What is left at the end of the steps: never a network that is worse than it was.

Some steps are kept for what they are worth behind a later one (channel factors and headroom with
biases corrected, ties by the model of the noise). Where that later step is not kept, the network
may end below its beginning.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from r329fast.profile.proposals import MIN_GAIN
from r329fast.tuning.score import ImageScore
from r329fast.tuning.state import State

MAY_DISAGREE = 0.01  # share of all images in whose class a network may fall behind
UNDONE = "steps undone"


@dataclass(frozen=True)
class Standing:
    """After `steps` steps: the state that stood, and its scores on the images that choose and on
    those that confirm."""

    steps: int
    state: State
    scores: tuple[ImageScore, ImageScore]


def last_that_gains(
    stood: Sequence[Standing], records: list[dict[str, Any]], told: Callable[[str], None]
) -> Standing:
    """The last of `stood` that is better than the first, else the first.

    Better: its SNR rises on the images that confirm and does not fall on the others, and no more
    than MAY_DISAGREE of the images change to another class than the float network's. The records
    of steps behind it say that they were undone.
    """
    last = next(item for item in reversed(stood) if item is stood[0] or _better(stood[0], item))
    undone = [record for record in records[last.steps :] if record["accepted"]]
    for record in undone:
        record |= {"accepted": False, "undone": True}
    if undone:
        gain = stood[-1].scores[1].snr - stood[0].scores[1].snr
        names = ", ".join(record["step"] for record in undone)
        told(f"{names}: undone, the network would end {gain:+.2f} dB from where it began, or worse "
             "on the others")  # fmt: skip
    return last


def _better(start: Standing, end: Standing) -> bool:
    (chosen, confirmed), (before, unseen) = end.scores, start.scores
    may = MAY_DISAGREE * _images(start.scores)
    return (
        confirmed.snr >= unseen.snr + MIN_GAIN
        and chosen.snr >= before.snr
        and _agreed(end.scores) >= _agreed(start.scores) - may
    )


def _agreed(scores: tuple[ImageScore, ImageScore]) -> float:
    return sum(score.agreed for score in scores)


def _images(scores: tuple[ImageScore, ImageScore]) -> int:
    return sum(score.images for score in scores)
