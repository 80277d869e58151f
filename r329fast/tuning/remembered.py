"""What was found of objects that still live."""

from __future__ import annotations

import weakref
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """Values of the last `count` objects, by identity. The objects are not kept alive by it: a
    network's weights take much more memory than what was found of them."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._found: list[tuple[weakref.ref[K], V]] = []

    def get(self, key: K) -> V | None:
        return next((found for known, found in self._found if known() is key), None)

    def put(self, key: K, value: V) -> V:
        self._found = [*self._found, (weakref.ref(key), value)][-self._count :]
        return value
