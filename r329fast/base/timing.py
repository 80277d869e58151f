"""How long a piece of work takes on this thread, where other work of the machine only adds."""

from __future__ import annotations

import time
from collections.abc import Callable

ROUNDS = 5
_LEAST = 200e-6  # seconds of a sample, at least: the clock of a thread is coarse
_MOST_REPEATS = 1024


def shortest_seconds(run: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Processor seconds of a run: the least of a few samples, after one that does not count."""
    run()
    repeats, best = 1, float("inf")
    for _ in range(rounds):
        while True:
            start = time.thread_time()
            for _ in range(repeats):
                run()
            spent = time.thread_time() - start
            if spent >= _LEAST or repeats >= _MOST_REPEATS:
                break
            repeats *= 2
        best = min(best, spent / repeats)
    return best
