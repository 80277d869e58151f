"""Milliseconds per image of whole networks with random weights, over threads and batch sizes.

    PYTHONPATH=. python benchmarks/networks.py [resnet18] [mobilenet_v2] [resnet20]

Settings are interleaved and the shortest of some rounds counts, so that other work on the machine
touches all alike. The last columns put the time of the multiplications alone, at the bare tile's
rate measured in the same run, in relation to the measured time.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from r329fast.base.machine import cpu_model
from r329fast.bench import random_programs
from r329fast.kernels import ISA
from r329fast.kernels.bare import bare_rate
from r329fast.program.blocks import program_macs
from r329fast.simulator.simulator import Simulator

BATCHES = {"resnet18": (1, 16), "mobilenet_v2": (1, 16), "resnet20": (1, 256)}
ROUNDS = 8


def measure(name: str) -> None:
    program = getattr(random_programs, name)()
    settings = [(batch, threads) for batch in BATCHES[name] for threads in (1, 2)]
    simulators = {threads: Simulator(program, threads=threads) for threads in (1, 2)}
    shape = program.tensors["input"].shape
    rng = np.random.default_rng(0)
    x = rng.integers(-128, 128, (max(BATCHES[name]), *shape)).astype(np.int8)
    best = dict.fromkeys(settings, float("inf"))
    limit = 0.0
    for round_ in range(ROUNDS + 1):
        limit = max(limit, bare_rate())
        for batch, threads in settings:
            part = x[:batch]
            simulators[threads].run(part)  # arenas of this setting
            start = time.perf_counter()
            simulators[threads].run(part)
            if round_:
                seconds = time.perf_counter() - start
                best[batch, threads] = min(best[batch, threads], seconds)
    ideal = program_macs(program) / limit / 1e6
    for (batch, threads), seconds in best.items():
        each = seconds / batch * 1e3
        share = ideal / each / threads
        print(
            f"{name:<14} batch {batch:>3} threads {threads} {each:9.3f} ms/image "
            f"{1e3 / each:9.1f} images/s {program_macs(program) / each / 1e6:7.1f} GMAC/s "
            f"{share:5.0%} of the bare tile ({limit:.0f} GMAC/s a thread)"
        )


if __name__ == "__main__":
    print(f"path {ISA.name}, {cpu_model()}")
    for chosen in sys.argv[1:] or BATCHES:
        measure(chosen)
