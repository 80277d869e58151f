"""A change to a program that may help, and what it brought: data that `suggestions.py` fills."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from r329fast.calibration.ranges import Ranges
from r329fast.quantization.options import Options

Change = Callable[["Setup"], "Setup"]


@dataclass(frozen=True)
class Setup:
    """What makes a program.

    per_channel: layers that take per-channel weights on top; zero_biases: layers whose dead
    channels have their biases set to zero.
    """

    ranges: Ranges
    options: Options
    per_channel: tuple[str, ...] = ()
    zero_biases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Candidate:
    """A change to try. kind: per_channel, range, calibration, multiplier, bias or
    width."""

    kind: str
    layer: str
    cause: str
    action: str
    setting: str
    change: Change


@dataclass(frozen=True)
class Suggestion:
    """A candidate that helped: the network's output before and after, on the same images."""

    kind: str
    layer: str
    cause: str
    action: str
    setting: str
    before: dict[str, float | None]
    after: dict[str, float | None]

    @property
    def gain(self) -> float:
        """dB of output SNR."""
        return (self.after["snr"] or 0.0) - (self.before["snr"] or 0.0)

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "gain_db": self.gain}
