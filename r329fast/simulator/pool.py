"""Threads that are made when they are first needed."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor


class LazyPool:
    """A pool of `threads` threads; after `close` the next use makes a new one."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()

    def get(self) -> ThreadPoolExecutor:
        with self._lock:
            if self.pool is None:
                self.pool = ThreadPoolExecutor(self.threads, thread_name_prefix="r329fast")
            return self.pool

    def close(self) -> None:
        """Wait for what runs, and end the threads."""
        with self._lock:
            pool, self.pool = self.pool, None
        if pool is not None:
            pool.shutdown()
