"""Buffers between pages that nobody may touch, in place of a simulator's arena and scratch.

Code that goes past the slack behind a buffer, or a page before it, kills the process.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pytest

from r329fast.kernels.runtime.call_table import CallTable
from r329fast.kernels.runtime.op_plan import SLACK, Step
from r329fast.kernels.runtime.team import Piece
from r329fast.simulator import binding

_PAGE = mmap.PAGESIZE
_held: list[object] = []  # a mapped page that is given back could be somebody else's
_free: dict[int, list[np.ndarray]] = {}  # pages between guards, by their number


def _pages(count: int) -> np.ndarray:
    """uint8 [count pages] between two pages without access."""
    memory = mmap.mmap(-1, (count + 2) * _PAGE)
    start = (ctypes.c_char * ((count + 2) * _PAGE)).from_buffer(memory)
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for page in (0, count + 1):
        assert protect(ctypes.addressof(start) + page * _PAGE, _PAGE, 0) == 0
    _held.append((memory, start))
    return np.ndarray((count * _PAGE,), np.uint8, buffer=memory, offset=_PAGE)


def guarded(size: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [size] whose last byte is the last before a guard, and all pages between the guards."""
    count = -(-size // _PAGE) or 1
    ready = _free.get(count)
    pages = ready.pop() if ready else _pages(count)
    return pages[len(pages) - size :], pages


@contextmanager
def guarded_buffers() -> Iterator[None]:
    """While it lasts, simulators that are bound get such buffers, and constants such copies.

    Their pages are used again. AssertionError at the end where a kernel wrote to a constant.
    """
    taken: list[np.ndarray] = []
    constants: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    add = CallTable.add

    def pieces(sizes: list[int]) -> list[np.ndarray]:
        result = []
        for size in sizes:
            buffer, pages = guarded(-(-size // 64) * 64 + SLACK)
            pages[:] = 0xA5  # nothing is there that a kernel has not written
            taken.append(pages)
            result.append(buffer)
        return result

    def moved(array: np.ndarray) -> np.ndarray:
        """A constant, so that reading past its end ends the process; buffers as they are."""
        place = array.ctypes.data
        if any(pages.ctypes.data <= place < pages.ctypes.data + len(pages) for pages in taken):
            return array
        if id(array) not in constants:
            size = array.nbytes if place % 64 else -(-array.nbytes // 64) * 64
            buffer, pages = guarded(max(size, 1))
            taken.append(pages)
            copy = buffer[: array.nbytes].view(array.dtype).reshape(array.shape)
            copy[...] = array
            constants[id(array)] = array, copy
        return constants[id(array)][1]

    def add_moved(
        table: CallTable, op: int, stages: list[list[Step]], pieces: Sequence[Sequence[Piece]] = ()
    ) -> None:
        guarded_steps = [
            [(kernel, tuple(map(moved, arrays))) for kernel, arrays in s] for s in stages
        ]
        add(table, op, guarded_steps, pieces)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(binding, "pieces", pieces)
        patch.setattr(CallTable, "add", add_moved)
        yield
    for array, copy in constants.values():
        assert array.tobytes() == copy.tobytes(), "a kernel wrote to a constant"
    for pages in taken:
        _free.setdefault(len(pages) // _PAGE, []).append(pages)
