"""What is left at the end of the steps: never a network that is worse than it was.

Some steps are kept for what they are worth behind a later one (channel factors and headroom with
biases corrected, ties by the model of the noise). Where that later step is not kept, the network
may end below its beginning.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from r329fast.profile.proposals import MIN_GAIN
from r329fast.tuning.score import ImageScore, agreement_falls
from r329fast.tuning.state import State

UNDONE = "steps undone"


@dataclass(frozen=True)
class Standing:
    """A state, the names of the steps that it has, and its scores on the images that choose and on
    those that confirm."""

    kept: tuple[str, ...]
    state: State
    scores: tuple[ImageScore, ImageScore]


class Ending:
    """What stood after the steps that were kept: the last, and the last that was better.

    A network has to be better than `base`: the one that the run began with; behind a step that is
    proved by other images alone (headroom, which costs the images that set the ranges), what was
    best until then with that step.
    """

    def __init__(self, base: Standing) -> None:
        self.base = base
        self._stood: list[Standing] = []

    def take(self, name: str, state: State, scores: tuple[ImageScore, ImageScore]) -> Standing:
        """What stands behind one more step."""
        before = self._stood[-1] if self._stood else self.base
        found = Standing((*before.kept, name), state, scores)
        # what can still be the best; each that is held holds the network's weights
        self._stood = [found] if _better(self.base, found) else [*self._better()[-1:], found]
        return found

    def found(self, base: Standing) -> None:
        """Go on from another base, which may be what stands."""
        self.base, last = base, self._stood[-1]
        self._stood = [] if last.kept == base.kept else [last]

    def best(self) -> Standing:
        """The last that is better than the base, else the base.

        Better: its SNR rises on the images that confirm and does not fall on the others, and
        agreement with the float network does not fall (`agreement_falls`).
        """
        return (self._better() or [self.base])[-1]

    def _better(self) -> list[Standing]:
        return [item for item in self._stood if _better(self.base, item)]

    def undo(self, records: list[dict[str, Any]], told: Callable[[str], None]) -> Standing:
        """`best`, with a word in the records of the steps that it has not."""
        best = self.best()
        undone = [item for item in records if item["accepted"] and item["step"] not in best.kept]
        for record in undone:
            record |= {"accepted": False, "undone": True}
        if undone:
            gain = self._stood[-1].scores[1].snr - self.base.scores[1].snr if self._stood else 0.0
            names = ", ".join(record["step"] for record in undone)
            told(f"{names}: undone, all together brought {gain:+.2f} dB on images that did not "
                 "choose them, or lost on the others")  # fmt: skip
        return best


def _better(start: Standing, end: Standing) -> bool:
    (chosen, confirmed), (before, unseen) = end.scores, start.scores
    return (
        confirmed.snr >= unseen.snr + MIN_GAIN
        and chosen.snr >= before.snr
        and not agreement_falls(start.scores, end.scores)
    )
