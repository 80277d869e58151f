"""How many cores so many threads get just now.

Other programs may hold a core, and a virtual machine may: its two cores then take turns of some
milliseconds on one real core, which no figure of the system tells (the load is low, no time counts
as stolen). Threads that share work then need twice the time, and independent ones show it only in
their sum.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor, wait

from numba import njit

from r329fast.base.machine import cores

_ENOUGH = 0.75  # of the cores: less is said, and a round is measured again
_SECONDS = 0.03  # of work for each thread: several slices of the machine's clock
_MIX = 20_000
_TRIES = 3  # a moment's other work is no lack of cores


@njit(nogil=True, cache=True)
def _work(turns):  # type: ignore[no-untyped-def]
    mix = 1
    for _ in range(turns):
        mix = (mix * 1103515245 + 12345) & 0x7FFFFFFF
    return mix


def enough(threads: int) -> float:
    """Cores that so many threads can have on this machine, less what is no disturbance."""
    return _ENOUGH * min(threads, cores())


def given_cores(threads: int) -> float:
    """Work that `threads` threads do per second, as a multiple of what one did best just before.

    1.0 to about `threads`: the best of three tries, or the first that is enough. Takes 0.1 to
    0.2 s, and nothing for one thread. Un-jitted code has one core at a time by Python's design, and
    is not measured: `threads`.
    """
    from r329fast.kernels.runtime.isa import JIT

    if threads == 1 or not JIT:
        return float(threads)
    _work(1)
    each = min(_seconds_of(_MIX) for _ in range(20)) / _MIX  # no slice falls into all of them
    turns = int(_SECONDS / each)
    best = 0.0
    with ThreadPoolExecutor(threads - 1) as pool:
        for _ in range(_TRIES):
            wait([pool.submit(_work, 1) for _ in range(threads - 1)])  # awake
            start = time.perf_counter()
            others = [pool.submit(_work, turns) for _ in range(threads - 1)]
            _work(turns)
            wait(others)
            best = max(best, threads * turns * each / (time.perf_counter() - start))
            if best >= enough(threads):
                break
    return best


def _seconds_of(turns: int) -> float:
    start = time.perf_counter()
    _work(turns)
    return time.perf_counter() - start
