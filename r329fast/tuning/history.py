"""What a tuning had reached when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

MOST = 0.8  # share of the gain that is looked for


@dataclass(frozen=True)
class Moment:
    """After a step ("": the beginning): seconds since the run began, the output's SNR in dB on the
    images that confirm."""

    step: str
    seconds: float
    snr: float


def time_record(history: Sequence[Moment], threads: int, wall: float, cpu: float) -> dict[str, Any]:
    """For tune.json: seconds of the whole run, the history, and when most of the gain was there.

    seconds_to_most: None where nothing was gained.
    """
    aim = history[0].snr + MOST * (history[-1].snr - history[0].snr)
    reached = next((moment for moment in history[1:] if moment.snr >= aim), None)
    gained = history[-1].snr > history[0].snr
    return {
        "threads": threads,
        "wall": wall,
        "cpu": cpu,
        "most": MOST,
        "seconds_to_most": reached.seconds if gained and reached else None,
        "history": [vars(moment) for moment in history],
    }
