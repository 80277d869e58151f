"""compass42 calibration strategies: statistics -> (min, max) (spec B.6)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from r329fast.calibration.kld import narrow_by_kld
from r329fast.calibration.statistics import F32, RunningStatistics
from r329fast.errors import UsageError, nearest

STRATEGIES = "mean, extrema, Nstd, [N]kld, [R]percentile, [R]aciq_laplace, [R]aciq_gauss"
_ACIQ_LAPLACE_8BIT = 9.89
_ACIQ_GAUSS_8BIT = 3.92
_FORM = re.compile(
    r"(?P<number>\d+(?:\.\d+)?)?(?P<word>mean|extrema|std|kld|percentile|aciq_laplace|aciq_gauss)"
)


@dataclass(frozen=True)
class Strategy:
    """A parsed strategy: its word and its leading number (N or R), or the vendor's default."""

    word: str
    number: float

    @property
    def needs_moments(self) -> bool:
        return self.word in ("std", "aciq_laplace", "aciq_gauss")

    @property
    def needs_histogram(self) -> bool:
        return self.word == "kld"


def parse_strategy(text: str) -> Strategy:
    """ "3std" -> Strategy("std", 3.0); UsageError for anything that is not a known strategy."""
    # in_ir asks for ranges stored with the model; ONNX holds none, so it is the vendor's fallback.
    text = text.strip().lower().replace("in_ir", "extrema")
    match = _FORM.fullmatch(text)
    word = match["word"] if match else ""
    numberless = word in ("mean", "extrema")
    if not match or (numberless and match["number"]) or (word == "std" and not match["number"]):
        hint = nearest(text, ("mean", "extrema", "3std", "10kld", "percentile", "aciq_laplace"))
        raise UsageError(
            f"calibration strategy {text!r}, allowed {STRATEGIES}{hint}", option="method"
        )
    default = 10.0 if word == "kld" else 1.0
    return Strategy(word, float(match["number"]) if match["number"] else default)


def simple_strategy(text: str) -> bool:
    """Whether a method is one strategy for all layers, and not the vendor's words with scopes."""
    return "&" not in text and "<" not in text


def choose_range(
    strategy: Strategy, statistics: RunningStatistics, symmetric: bool
) -> tuple[float, float]:
    """(min, max) by the strategy, widened to include 0."""
    running, number = statistics.running, F32(strategy.number)
    low, high = running["min"], running["max"]
    if strategy.word == "extrema":
        low, high = statistics.extrema.low, statistics.extrema.high
    elif strategy.word == "std":
        spread = number * running["std"]
        low, high = max(low, running["mean"] - spread), min(high, running["mean"] + spread)
    elif strategy.word == "percentile":
        low, high = statistics.extrema.low * number, statistics.extrema.high * number
    elif strategy.word == "kld":
        assert statistics.histogram is not None
        low, high = narrow_by_kld(
            statistics.histogram,
            running["min"],
            running["max"],
            int(strategy.number),
        )
    elif strategy.needs_moments:
        laplace = strategy.word == "aciq_laplace"
        factor = F32(_ACIQ_LAPLACE_8BIT if laplace else _ACIQ_GAUSS_8BIT)
        spread = factor * (running["mad"] if laplace else running["std"])
        if symmetric:
            clip = abs(running["mean"]) + number * spread
            low, high = -clip, clip
        else:
            low = max(low, running["mean"] - spread)
            high = low + F32(2) * spread * number
    return min(float(low), 0.0), max(float(high), 0.0)
