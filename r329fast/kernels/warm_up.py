"""Compiling kernels ahead of the first run: what `info --warmup` does, for images and CI.

Every kernel has one signature, for all shapes, dtypes, roundings and activations.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import suppress

from r329fast.kernels.runtime.isa import JIT
from r329fast.kernels.runtime.kernel import KERNELS
from r329fast.kernels.runtime.team import compile_loop

_LOADED = 0.1  # seconds: a kernel that takes longer was not in the cache


def warmup(report: Callable[[str, float], None] | None = None, processes: int = 1) -> float:
    """Compile every kernel, or load it from the cache; returns seconds.

    report: called with each kernel's name and seconds. processes: how many compile side by side
    where kernels are missing: this one from the first on, others from the last, into the cache.
    They import the caller's main module: a script that asks for more than one begins its work
    below `if __name__ == "__main__"`.
    """
    begin = time.perf_counter()
    if not JIT:
        return 0.0
    pool: ProcessPoolExecutor | None = None
    try:
        for kernel in KERNELS:
            start = time.perf_counter()
            kernel.compile()
            spent = time.perf_counter() - start
            if report is not None:
                report(kernel.__name__, spent)
            if pool is None and processes > 1 and spent > _LOADED:
                pool = _compile_beside(processes - 1)
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)  # waits: what follows may measure
    compile_loop()
    import r329fast.kernels.pixels  # noqa: F401  (compiled when it is imported)

    return time.perf_counter() - begin


def _compile_beside(processes: int) -> ProcessPoolExecutor:
    """Others that fill the cache, from the last kernel on.

    What they do not do, because they could not begin or died, the caller does.
    """
    pool = ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), signal.signal,
        (signal.SIGINT, signal.SIG_IGN),
    )  # fmt: skip
    with suppress(OSError, BrokenExecutor):
        for index in reversed(range(len(KERNELS))):
            pool.submit(_compile, index)
    return pool


def _compile(index: int) -> None:
    import r329fast.kernels  # noqa: F401  (all of them)

    KERNELS[index].compile()
