"""The limit that kernels are measured against: the register tile alone, on operands in L1."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numba import njit

from r329fast.kernels import ISA
from r329fast.kernels.tile import ROW_BYTES, dot_wide

_INNER = 576  # K of one call: a 3x3 kernel on 64 channels
_REPEAT = 400


@njit(nogil=True)
def _repeat_tile(a, w, acc, steps, repeat):  # type: ignore[no-untyped-def]
    for _ in range(repeat):
        dot_wide(a.ctypes.data, w.ctypes.data, steps, acc.ctypes.data, 1)


_OPERANDS = (
    np.zeros(ISA.rows * ROW_BYTES + 64, dtype=np.uint8),
    np.zeros(_INNER * ISA.width * ISA.element + 64, dtype=np.uint8),
    np.zeros(4 * ISA.rows * ISA.width + 64, dtype=np.uint8),
)


def best_seconds(run: Callable[[], object], rounds: int = 5) -> float:
    """Shortest of a few runs: the machine's other work only ever adds."""
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


def bare_rate() -> float:
    """GMAC/s of the bare tile, now."""
    steps = _INNER // ISA.kgroup
    _repeat_tile(*_OPERANDS, steps, 1)
    seconds = best_seconds(lambda: _repeat_tile(*_OPERANDS, steps, _REPEAT))
    return _REPEAT * ISA.rows * ISA.width * _INNER / seconds / 1e9
