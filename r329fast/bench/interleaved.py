"""Interleaved timing: A B A B, so that whatever else the machine does touches all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

# A turn of one engine lasts at least this long (seconds), so that short runs are repeated.
MIN_TURN = 0.15
_MAX_REPEATS = 200
_PAUSE = 1.0  # seconds between two questions to the machine


@dataclass(frozen=True)
class RoundTimes:
    """Seconds of one run in each round: the median of the round's repeats.

    cpu: processor seconds likewise, summed over the process's threads. Waiting for a core that
    other programs hold does not count in it; threads that spin while they wait do. gauged: how the
    machine stood in the worst of the rounds, where that was asked.
    """

    rounds: tuple[float, ...]
    cpu: tuple[float, ...] = ()
    gauged: float = 0.0

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    @property
    def best(self) -> float:
        return min(self.rounds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """First and third quartile; the median twice where there are fewer than two rounds."""
        if len(self.rounds) < 2:
            return self.median, self.median
        low, _, high = statistics.quantiles(self.rounds, n=4, method="inclusive")
        return low, high


def ratio(a: RoundTimes, b: RoundTimes) -> float:
    """How many times longer a took than b: the median of the rounds' ratios."""
    return statistics.median(x / y for x, y in zip(a.rounds, b.rounds, strict=True))


def cpu_ratio(a: RoundTimes, b: RoundTimes) -> float:
    """The same for processor time."""
    return statistics.median(x / max(y, 1e-9) for x, y in zip(a.cpu, b.cpu, strict=True))


def turn(run: Callable[[], object], min_turn: float = MIN_TURN) -> tuple[float, float]:
    """Median (seconds, processor seconds) of one run, repeated for about `min_turn` seconds.

    A first run that is short is not counted: it brings caches and threads back.
    """
    first = _clocked(run)
    if first[0] >= min_turn:
        return first
    samples: list[tuple[float, float]] = []
    end = time.perf_counter() + min_turn
    while not samples or (time.perf_counter() < end and len(samples) < _MAX_REPEATS):
        samples.append(_clocked(run))
    wall, cpu = zip(*samples, strict=True)
    return statistics.median(wall), statistics.median(cpu)


def _clocked(run: Callable[[], object]) -> tuple[float, float]:
    start, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - start, time.process_time() - cpu


def interleave(
    runs: Mapping[str, Callable[[], object]],
    rounds: int,
    min_turn: float = MIN_TURN,
    step: Callable[[], object] = lambda: None,
    gauge: Callable[[], float] | None = None,
    enough: float = 0.0,
    patience: float = 0.0,
) -> dict[str, RoundTimes]:
    """Time each run once per round, in turn, after an uncounted run of each.

    step is called after every turn (progress). gauge: how well the machine stands just now, asked
    before a round and after every turn; the least is the round's (`RoundTimes.gauged`). Below
    `enough` a round waits, `patience` seconds in all, and what was measured so is measured again,
    in at most twice as many rounds; if too few are good, the best stand.
    """
    for run in runs.values():
        run()
    found: list[tuple[float, dict[str, tuple[float, float]]]] = []
    for _ in range(rounds if gauge is None else 2 * rounds):
        stands = [gauge()] if gauge else [enough]
        while gauge and stands[0] < enough and patience > 0:
            time.sleep(_PAUSE)
            patience -= _PAUSE
            stands = [gauge()]
        samples: dict[str, tuple[float, float]] = {}
        for name, run in runs.items():
            samples[name] = turn(run, min_turn)
            step()
            stands += [gauge()] if gauge else []
        found.append((min(stands), samples))
        if sum(stand >= enough for stand, _ in found) == rounds:
            break
    found.sort(key=lambda item: -min(item[0], enough))  # in order of time where they are good
    return {
        name: RoundTimes(
            tuple(samples[name][0] for _, samples in found[:rounds]),
            tuple(samples[name][1] for _, samples in found[:rounds]),
            min(stand for stand, _ in found[:rounds]),
        )
        for name in runs
    }


def fastest(runs: Sequence[Callable[[], object]], tries: int = 3) -> int:
    """Index of the run with the shortest single time over a few interleaved tries."""
    if len(runs) == 1:
        return 0
    best = [float("inf")] * len(runs)
    for attempt in range(tries + 1):
        for index, run in enumerate(runs):
            start = time.perf_counter()
            run()
            if attempt:
                best[index] = min(best[index], time.perf_counter() - start)
    return best.index(min(best))
