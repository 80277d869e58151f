"""What a process that was forked after use must make anew: threads, and locks that they held."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol

_LONGEST = 60.0  # seconds that a fork waits for a compilation in another thread


class Renewed(Protocol):
    """Something that forgets its threads and locks in a forked child."""

    def after_fork(self) -> None: ...


_renewed: weakref.WeakSet[Renewed] = weakref.WeakSet()


def renew_after_fork(item: Renewed) -> None:
    """Call `item.after_fork()` in every child that this process forks, as long as it lives."""
    _renewed.add(item)


def hold_during_fork(lock: threading.Lock) -> None:
    """Fork only while nobody else holds `lock`, so that a child finds it free."""
    held: list[bool] = []

    def before() -> None:
        held.append(lock.acquire(timeout=_LONGEST))

    def after() -> None:
        if held.pop():
            lock.release()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=before, after_in_parent=after, after_in_child=after)


def _in_child() -> None:
    for item in list(_renewed):
        item.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
