"""Wall time of jobs that one pool does in turn, though they overlap at their ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any


@dataclass
class Seconds:
    """Where the time went: of the simulator, the float network and of all decoding threads."""

    simulate: float = 0.0
    float_run: float = 0.0
    decode: float = 0.0

    def add(self, other: Seconds) -> None:
        self.simulate += other.simulate
        self.float_run += other.float_run
        self.decode += other.decode


class Span:
    """One job: when it was handed in, and when the last of its futures was done."""

    def __init__(self, futures: Sequence[Future[Any]]) -> None:
        self.begun = self.ended = time.perf_counter()
        self._lock = threading.Lock()
        self._open = len(futures)
        self._closed = threading.Event()
        if not futures:
            self._closed.set()
        for future in futures:
            future.add_done_callback(self._note)

    def _note(self, future: Future[Any]) -> None:
        with self._lock:
            self.ended = time.perf_counter()
            self._open -= 1
            if not self._open:
                self._closed.set()

    @property
    def done(self) -> bool:
        return self._closed.is_set()

    def wait(self) -> None:
        """Until the end is known: a future wakes those who wait for it before it calls back."""
        self._closed.wait()


class WallTime:
    """Gives every moment to one job at most: while two overlap, to the earlier."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counted = 0.0  # until here all time is given out
        self._last = Span([])

    def start(self, futures: Sequence[Future[Any]]) -> Span:
        """A job that was handed in just now, behind those before it."""
        span = Span(futures)
        if futures:
            self._last = span
        return span

    def seconds(self, span: Span) -> float:
        """Of a job that is done."""
        span.wait()
        with self._lock:
            begun = max(span.begun, self._counted)
            self._counted = max(self._counted, span.ended)
            return max(span.ended - begun, 0.0)

    def idle(self, since: float) -> float:
        """Seconds from `since` to now with no job to do."""
        last = self._last
        return max(time.perf_counter() - max(since, last.ended), 0.0) if last.done else 0.0
