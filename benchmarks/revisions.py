"""Two checkouts of this package against each other, in turns; run before a refactor lands.

    python benchmarks/revisions.py OLD_FOLDER [NEW_FOLDER] [--models ...] [--rounds N] [--out FILE]

Each checkout runs in a process of its own (same interpreter, its own compiled kernels) and holds
the same networks. A round times both, one right after the other, in alternating order; before
each timing is one run that does not count. The figure is the median over the rounds of
new / old; its interval (95 %) comes from resampling the rounds. CPU time is of the whole process,
so with several threads it counts waiting workers too.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from r329fast.base.files import write_json
from r329fast.base.machine import cores
from r329fast.bench.compare_engines import machine
from r329fast.bench.models import MODELS, bench_model

_TURN = 0.25  # seconds that one timing should take
# What a child runs: only names that every version of the package has.
_CHILD = """
import hashlib, json, sys, time
import numpy as np
from r329fast.bench.cases import make_case
from r329fast.bench.engines import ours
case, engines = make_case(sys.argv[1]), {}
print(json.dumps("ready"), flush=True)
for line in sys.stdin:
    batch, threads, repeats = json.loads(line)
    if (batch, threads) not in engines:
        engines[batch, threads] = ours(case, batch, threads).run
    run = engines[batch, threads]
    digest = hashlib.sha256(np.ascontiguousarray(run()).tobytes()).hexdigest()
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        run()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(json.dumps([wall / repeats, cpu / repeats, digest]), flush=True)
"""
Record = dict[str, Any]


class Checkout:
    """A process that runs one network with the package of `folder`."""

    def __init__(self, folder: Path, model: str) -> None:
        environment = {**os.environ, "PYTHONPATH": str(folder)}
        command = [sys.executable, "-W", "ignore", "-c", _CHILD, model]
        self._process = subprocess.Popen(
            command, cwd=folder, env=environment, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )  # fmt: skip
        self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"error: a checkout ended with exit code {self._process.wait()}")
        return json.loads(line)

    def time(self, batch: int, threads: int, repeats: int) -> tuple[float, float, str]:
        """Seconds of a run (wall, CPU) and a hash of its outputs."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([batch, threads, repeats]) + "\n")
        self._process.stdin.flush()
        wall, cpu, digest = self._answer()
        return wall, cpu, digest

    def close(self) -> None:
        self._process.communicate()


def interval(ratios: list[float]) -> tuple[float, float]:
    """95 % interval of the median, by resampling."""
    drawn = np.random.default_rng(0).choice(ratios, (2000, len(ratios)))
    low, high = np.quantile(np.median(drawn, axis=1), [0.025, 0.975])
    return float(low), float(high)


def compare(old: Checkout, new: Checkout, batch: int, threads: int, rounds: int) -> Record:
    """One setting. equal: the outputs of both are the same integers."""
    seconds, _, digest = old.time(batch, threads, 1)
    equal = digest == new.time(batch, threads, 1)[2]
    repeats = max(1, round(_TURN / seconds))
    walls: list[list[float]] = []
    cpus: list[list[float]] = []
    for turn in range(rounds):
        pair = (old, new) if turn % 2 == 0 else (new, old)
        times = [each.time(batch, threads, repeats) for each in pair]
        first, second = times if turn % 2 == 0 else times[::-1]
        walls.append([first[0], second[0]])
        cpus.append([first[1], second[1]])
    ratios = [b / a for a, b in walls]
    cpu_ratios = [b / a for a, b in cpus]
    return {
        "batch": batch,
        "threads": threads,
        "equal": equal,
        "old_ms": statistics.median(a for a, _ in walls) * 1e3,
        "new_ms": statistics.median(b for _, b in walls) * 1e3,
        "ratio": statistics.median(ratios),
        "interval": interval(ratios),
        "cpu_ratio": statistics.median(cpu_ratios),
        "cpu_interval": interval(cpu_ratios),
        "rounds": walls,
    }


def show(model: str, result: Record) -> str:
    low, high = result["interval"]
    return (
        f"{model:16} batch {result['batch']:3}, threads {result['threads']}: "
        f"{result['old_ms']:8.3f} -> {result['new_ms']:8.3f} ms  "
        f"ratio {result['ratio']:.3f} [{low:.3f}, {high:.3f}]  "
        f"CPU {result['cpu_ratio']:.3f}{'' if result['equal'] else '  OUTPUTS DIFFER'}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("old", type=Path, help="folder of the other checkout")
    parser.add_argument("new", type=Path, nargs="?", default=Path(__file__).parents[1])
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--out", type=Path, help="JSON file for all figures")
    args = parser.parse_args()
    record: Record = {"machine": machine(), "results": []}
    for model in args.models:
        old, new = Checkout(args.old.resolve(), model), Checkout(args.new.resolve(), model)
        full = bench_model(model).batch
        for batch, threads in dict.fromkeys([(full, 1), (full, cores()), (1, 1), (1, cores())]):
            result = compare(old, new, batch, threads, args.rounds)
            record["results"].append({"model": model, **result})
            print(show(model, result), flush=True)
        old.close()
        new.close()
        if args.out is not None:
            write_json(args.out, record)
    every = [result["ratio"] for result in record["results"]]
    print(f"geometric mean of new / old: {statistics.geometric_mean(every):.4f}")


if __name__ == "__main__":
    main()
