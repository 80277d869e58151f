"""Compiling kernels ahead of the first run: what `info --warmup` does, for images and CI.

Every kernel has one signature, for all shapes, dtypes, roundings and activations.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from r329fast.kernels.runtime.isa import JIT
from r329fast.kernels.runtime.kernel import KERNELS
from r329fast.kernels.runtime.team import compile_loop


def warmup(report: Callable[[str, float], None] | None = None) -> float:
    """Compile every kernel, or load it from the cache; returns seconds.

    report: called with each kernel's name and seconds.
    """
    begin = time.perf_counter()
    if not JIT:
        return 0.0
    for kernel in KERNELS:
        start = time.perf_counter()
        kernel.compile()
        if report is not None:
            report(kernel.__name__, time.perf_counter() - start)
    compile_loop()
    import r329fast.kernels.pixels  # noqa: F401  (compiled when it is imported)

    return time.perf_counter() - begin
