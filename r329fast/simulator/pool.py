"""Threads that are made when they are first needed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from r329fast.base.fork import renew_after_fork


class _Threads:
    """A pool and how many are handing work in; the last of them ends it once it is retired."""

    def __init__(self, threads: int) -> None:
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="r329fast")
        self.users = 0
        self.retired = False


class LazyPool:
    """A pool of `threads` threads; after `close`, or in a forked child, the next use makes one."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._held: _Threads | None = None
        self._lock = threading.Lock()
        renew_after_fork(self)

    @property
    def begun(self) -> bool:
        """Whether there are threads."""
        return self._held is not None

    @contextmanager
    def use(self) -> Iterator[ThreadPoolExecutor]:
        """The pool, which takes work until the block ends, whoever closes meanwhile."""
        with self._lock:
            if self._held is None:
                self._held = _Threads(self.threads)
            held = self._held
            held.users += 1
        try:
            yield held.pool
        finally:
            with self._lock:
                held.users -= 1
                last = held.retired and not held.users
            if last:
                held.pool.shutdown()

    def close(self) -> None:
        """End the threads when what runs is done; wait for it unless others still hand work in."""
        with self._lock:
            held, self._held = self._held, None
            if held is not None and held.users:
                held.retired, held = True, None
        if held is not None:
            held.pool.shutdown()

    def after_fork(self) -> None:
        """Threads stay behind in the parent."""
        self._held, self._lock = None, threading.Lock()
