"""Wall time of jobs that one pool does in turn, though they overlap at their ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any


class Lap:
    """One job: when it was handed in, and when the last of its futures was done."""

    def __init__(self, futures: Sequence[Future[Any]]) -> None:
        self.begun = self.ended = time.perf_counter()
        self._futures = futures
        for future in futures:
            future.add_done_callback(self._note)

    def _note(self, future: Future[Any]) -> None:
        self.ended = time.perf_counter()

    @property
    def done(self) -> bool:
        return all(future.done() for future in self._futures)


class Laps:
    """Gives every moment to one job at most: while two overlap, to the earlier."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counted = 0.0  # until here all time is given out
        self._last = Lap([])

    def start(self, futures: Sequence[Future[Any]]) -> Lap:
        """A job that was handed in just now, behind those before it."""
        lap = Lap(futures)
        if futures:
            self._last = lap
        return lap

    def seconds(self, lap: Lap) -> float:
        """Of a job that is done."""
        with self._lock:
            begun = max(lap.begun, self._counted)
            self._counted = max(self._counted, lap.ended)
            return max(lap.ended - begun, 0.0)

    def idle(self, since: float) -> float:
        """Seconds from `since` to now with no job to do."""
        last = self._last
        return max(time.perf_counter() - max(since, last.ended), 0.0) if last.done else 0.0
