"""Images per second of a vendor's binary beside the same network quantised here.

    python benchmarks/aipu.py aipu.bin [--max MAX.npy --min MIN.npy] [--batch 16]

The second program is the binary's own float network, rebuilt from its integers (and its scales,
where the dicts are given), quantised by scheme aqt2021. Runs are interleaved; the shares are of
medians.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median

import numpy as np

import r329fast
from r329fast.bench.rebuilt import float_network
from r329fast.program.program import Program


def feeds_of(program: Program, images: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    result = {}
    for name in program.inputs:
        spec = program.tensors[name]
        values = rng.integers(spec.qmin, spec.qmax + 1, (images, *spec.shape))
        result[name] = values.astype(spec.dtype)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--max", type=Path)
    parser.add_argument("--min", type=Path)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    loaded = r329fast.load_aipu(args.file, max_file=args.max, min_file=args.min)
    graph, ranges = float_network(loaded)
    ours = r329fast.quantize(graph, ranges, scheme="aqt2021")
    programs = {"binary": loaded, "ours": ours}
    simulators = {
        name: r329fast.Simulator(program, threads=args.threads)
        for name, program in programs.items()
    }
    feeds = {name: feeds_of(program, args.batch) for name, program in programs.items()}
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for number in range(args.rounds + 1):
        for name, simulator in simulators.items():
            start = time.perf_counter()
            simulator.run(feeds[name])
            if number:  # the first compiles
                seconds[name].append(time.perf_counter() - start)
    speed = {name: args.batch / median(values) for name, values in seconds.items()}
    for name, value in speed.items():
        print(f"{name:<8}{value:8.1f} images per second, batch {args.batch}")
    print(f"binary / ours: {speed['binary'] / speed['ours']:.3f}")


if __name__ == "__main__":
    main()
