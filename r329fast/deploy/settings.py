"""The settings that travel together from a command or a call to calibration and quantisation."""

from __future__ import annotations

from dataclasses import dataclass

from r329fast.base.arguments import Progress, at_least_one


@dataclass(frozen=True)
class Settings:
    """How a cfg is carried out.

    scheme ("aqt2021", "compass42"), rounding ("half_even", "half_up", "floor"), method (of
    calibration) and per_channel overrule the cfg; None leaves the answer to it. threads, at least
    1, and progress(done, total), called as calibration goes on, change no integer.
    Raises UsageError for threads below 1.
    """

    scheme: str | None = None
    rounding: str | None = None
    method: str | None = None
    per_channel: bool | None = None
    threads: int = 1
    progress: Progress | None = None

    def __post_init__(self) -> None:
        at_least_one(threads=self.threads)
