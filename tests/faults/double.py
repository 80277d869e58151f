"""A test double of the machine: the n-th write, sync, rename, map or allocation fails."""

from __future__ import annotations

import builtins
import errno
import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

KINDS = ("write", "fsync", "rename", "mmap", "allocation")


class Faults:
    """Counts the calls of one kind; the one numbered `fail_at` (from 1) fails."""

    def __init__(self, kind: str, fail_at: int = 0) -> None:
        self.kind, self.fail_at, self.count = kind, fail_at, 0

    def step(self) -> None:
        self.count += 1
        if self.count == self.fail_at:
            if self.kind == "allocation":
                raise MemoryError("Unable to allocate 1.00 GiB for an array")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class _File:
    """An open file whose writes count; a failing one has written a half."""

    def __init__(self, file: Any, faults: Faults) -> None:
        self.__dict__.update(file=file, faults=faults)

    def write(self, data: Any) -> int:
        try:
            self.faults.step()
        except OSError:
            self.file.write(bytes(memoryview(data))[: len(data) // 2])
            raise
        return int(self.file.write(data))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.file)


@contextmanager
def faults(kind: str, fail_at: int = 0) -> Iterator[Faults]:
    """Within the block, calls of `kind` are counted and the one numbered `fail_at` fails."""
    found = Faults(kind, fail_at)
    real_open = builtins.open

    def counting(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            found.step()
            return function(*arguments, **named)

        return call

    def opened(file: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        stream = real_open(file, mode, *arguments, **named)
        writes = "b" in mode and set(mode) & set("wxa+")
        return _File(stream, found) if writes else stream

    places: dict[str, list[tuple[Any, str, Any]]] = {
        "write": [(builtins, "open", opened)],
        "fsync": [(os, "fsync", counting(os.fsync))],
        "rename": [(os, "replace", counting(os.replace))],
        "mmap": [(mmap, "mmap", counting(mmap.mmap))],
        "allocation": [(np, name, counting(getattr(np, name))) for name in ("empty", "zeros")],
    }
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in places[kind]]
    try:
        for owner, name, double in places[kind]:
            setattr(owner, name, double)
        yield found
    finally:
        for owner, name, real in before:
            setattr(owner, name, real)
