"""The limit that kernels are measured against: the register tile alone, on operands in L1."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import njit

from r329fast.kernels.leaves.gemm_tile import sum_tile_wide
from r329fast.kernels.runtime.isa import ISA

_INNER = 576  # K of one call: a 3x3 kernel on 64 channels
_ROW = _INNER * ISA.element + 64
_REPEAT = 400


@njit(nogil=True, cache=True)
def _repeat_tile(a, w, acc, steps, repeat):  # type: ignore[no-untyped-def]
    first = a.ctypes.data
    for _ in range(repeat):
        sum_tile_wide(first, _ROW, steps, w.ctypes.data, acc.ctypes.data)


_OPERANDS = (
    np.zeros(ISA.rows * _ROW + 64, dtype=np.uint8),
    np.zeros(_INNER * ISA.width * ISA.element + 64, dtype=np.uint8),
    np.zeros(4 * ISA.rows * ISA.width + 64, dtype=np.uint8),
)


def bare_tiles(threads: int, repeat: int = 10 * _REPEAT) -> None:
    """As many tiles at once, each on operands of its own."""
    steps = _INNER // ISA.kgroup
    with ThreadPoolExecutor(threads) as pool:
        futures = [
            pool.submit(_repeat_tile, a, w, acc, steps, repeat)
            for a, w, acc in (tuple(array.copy() for array in _OPERANDS) for _ in range(threads))
        ]
        for future in futures:
            future.result()


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
