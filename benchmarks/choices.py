"""Direct or Winograd: how often the built-in and the measured cost model choose the faster one.

    python benchmarks/choices.py [--models ...] [--batches 1 4 16] [--out FILE]

Runs the networks both ways, op by op in their order, so that weights come from where they do in a
run, and takes for every 3x3 layer of stride 1 (dense) the median of its times. Then it asks both
models. Times are of the processor; `lost` is the time of all choices over that of the faster ones,
minus one.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

from r329fast.base.files import write_json
from r329fast.bench.cases import make_case
from r329fast.bench.models import MODELS
from r329fast.kernels.conv import choice
from r329fast.kernels.conv.layout import ConvLayout, conv_layout
from r329fast.kernels.measure import measure
from r329fast.kernels.runtime.measured import Measured
from r329fast.program.program import Program
from r329fast.simulator.binding import BoundProgram, PreparedProgram

_BUDGET = 8 << 20
_FORCED = {"direct": "0", "winograd": "1"}
Samples = dict[str, dict[int, list[float]]]


def layers(program: Program) -> dict[int, ConvLayout]:
    """Index of an op -> its layout, of those that have both ways."""
    found = {}
    for index, op in enumerate(program.ops):
        if op.kind == "conv2d":
            x, y = program.tensors[op.inputs[0]], program.tensors[op.outputs[0]]
            layout = conv_layout(op, x, y)
            if choice.is_unit(layout):
                found[index] = layout
    return found


def bound(program: Program, batch: int, way: str) -> BoundProgram:
    """The network with all its layers computed one way where that is possible."""
    before = os.environ.get(choice.VARIABLE)
    os.environ[choice.VARIABLE] = _FORCED[way]
    try:
        return PreparedProgram(program).bind(batch, frozenset(), _BUDGET)
    finally:
        if before is None:
            del os.environ[choice.VARIABLE]
        else:
            os.environ[choice.VARIABLE] = before


def samples(program: Program, batch: int, rounds: int) -> Samples:
    """way -> op -> seconds of a batch, in each of the rounds; the ways take turns."""
    ways = {way: bound(program, batch, way) for way in _FORCED}
    found: Samples = {way: {} for way in ways}
    for turn in range(rounds + 1):
        for way, network in ways.items():
            spent: dict[int, float] = defaultdict(float)
            for stage, (op, _) in enumerate(network.calls.stages):
                call = network.calls.single(stage)
                start = time.thread_time()
                call()
                spent[op] += time.thread_time() - start
            for op, seconds in spent.items() if turn else ():  # the first turn compiles
                found[way].setdefault(op, []).append(seconds)
    return found


def compare(name: str, batch: int, rounds: int, known: Measured) -> list[dict[str, Any]]:
    """A row per layer: times both ways in microseconds, and what each model chooses."""
    program = make_case(name).program
    times = samples(program, batch, rounds)
    rows = []
    for index, layout in layers(program).items():
        chosen = {}
        for model, values in (("built-in", None), ("measured", known)):
            least = choice.winograd_batch(layout, values)
            chosen[model] = "winograd" if least and batch >= least else "direct"
        us = {way: median(times[way][index]) * 1e6 for way in times}
        shape = [*program.tensors[program.ops[index].inputs[0]].shape, len(layout.weights)]
        rows.append({"model": name, "shape": shape, "batch": batch, "us": us, "chosen": chosen})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=sorted(MODELS))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 4, 16])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    known = measure()
    rows = [
        row
        for name in args.models
        for batch in args.batches
        for row in compare(name, batch, args.rounds, known)
    ]
    for name in ("built-in", "measured") if rows else ():
        best = [min(row["us"].values()) for row in rows]
        taken = [row["us"][row["chosen"][name]] for row in rows]
        right = sum(a <= b for a, b in zip(taken, best, strict=True))
        lost = sum(a / b for a, b in zip(taken, best, strict=True)) / len(rows) - 1
        print(
            f"{name}: the faster one in {right} of {len(rows)}, lost "
            f"{sum(taken) / sum(best) - 1:.2%} of all time, {lost:.2%} of a layer's on average"
        )
    for row in rows:
        if len(set(row["chosen"].values())) > 1:
            us = {way: round(value, 1) for way, value in row["us"].items()}
            print(row["model"], row["shape"], row["batch"], us, row["chosen"])
    if args.out:
        write_json(args.out, rows)


if __name__ == "__main__":
    main()
