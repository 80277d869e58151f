"""How speed and memory follow batch, threads and image size; part of docs/peers.md.

    python benchmarks/scaling.py [batch] [threads] [size] [memory] [--model NAME] [--out FILE.json]

Settings take turns in one process, so that a busy machine hits all alike; figures are medians.
Memory is measured in a process of its own for each batch.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from r329fast.base.files import write_json
from r329fast.base.machine import cores
from r329fast.bench.cases import make_case
from r329fast.bench.compare_engines import machine
from r329fast.bench.engines import ours
from r329fast.bench.interleaved import RoundTimes, interleave, ratio
from r329fast.bench.memory import peak_memory
from r329fast.bench.models import MODELS, bench_model
from r329fast.kernels.bare import bare_tiles

_SIZES = (96, 128, 160, 192, 224, 256, 320)
_SIZES_SMALL = (16, 32, 64, 96)
_LONG_TURN = 1.5  # seconds
Rows = list[dict[str, Any]]


def _row(timing: RoundTimes, images: int, macs: int, **setting: int) -> dict[str, Any]:
    """A setting and its figures."""
    each = timing.median / images
    return {
        **setting,
        "images_per_second": 1 / each,
        "ms_per_image": each * 1e3,
        "cpu_ms_per_image": statistics.median(timing.cpu) / images * 1e3,
        "gmac_per_second": macs / each / 1e9,
    }


def by_batch(name: str, rounds: int) -> Rows:
    """images/s against images at once, one thread."""
    case = make_case(name)
    full = bench_model(name).batch
    batches = sorted({1, 2, 4, 8, 16, full, 2 * full})
    runs = {str(batch): ours(case, batch, 1).run for batch in batches}
    timings = interleave(runs, rounds)
    return [_row(timings[str(b)], b, case.macs, batch=b) for b in batches]


def by_threads(name: str, rounds: int) -> Rows:
    """images/s against threads, at full batch and at batch 1. speedup: over one thread.

    bare_speedup: of register tiles alone, one per thread, in the same turns: what the machine gives
    (virtual cores may be halves of one). Turns are long, since cores that were idle need time.
    """
    case = make_case(name)
    counts = range(1, cores() + 1)
    rows = []
    for batch in (bench_model(name).batch, 1):
        runs: dict[str, Callable[[], object]] = {}
        runs |= {str(count): ours(case, batch, count).run for count in counts}
        runs |= {f"bare {count}": partial(bare_tiles, count) for count in counts}
        timings = interleave(runs, rounds, min_turn=_LONG_TURN)
        for n in counts:
            row = _row(timings[str(n)], batch, case.macs, batch=batch, threads=n)
            row["speedup"] = ratio(timings["1"], timings[str(n)])
            row["bare_speedup"] = n * ratio(timings["bare 1"], timings[f"bare {n}"])
            rows.append(row)
    return rows


def by_size(name: str, rounds: int) -> Rows:
    """images/s against the side of the image, one thread, batch 8."""
    sizes = _SIZES if bench_model(name).size > 64 else _SIZES_SMALL
    cases = {size: make_case(name, size) for size in sizes}
    timings = interleave({str(s): ours(case, 8, 1).run for s, case in cases.items()}, rounds)
    return [_row(timings[str(s)], 8, case.macs, size=s) for s, case in cases.items()]


def by_memory(name: str, rounds: int) -> Rows:
    """Peak resident memory against the batch; rounds does not matter."""
    program = make_case(name).program
    peak_memory(program, 1)  # kernels into the compile cache
    counts = sorted({1, cores()})
    return [
        {"batch": batch, "threads": count, **peak_memory(program, batch, count)}
        for count in counts
        for batch in (1, 4, 16, 64)
    ]


MEASURES: dict[str, Callable[[str, int], Rows]] = {
    "batch": by_batch,
    "threads": by_threads,
    "size": by_size,
    "memory": by_memory,
}


def table(rows: Rows) -> str:
    """Markdown."""
    keys = list(rows[0])
    lines = [f"| {' | '.join(keys)} |", "|---" * len(keys) + "|"]
    for row in rows:
        cells = (f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values())
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("what", nargs="*", metavar="WHAT", help=f"{', '.join(MEASURES)} (all)")
    parser.add_argument("--model", default="resnet18_v2", help=", ".join(MODELS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, metavar="FILE.json")
    args = parser.parse_args()
    unknown = set(args.what) - set(MEASURES)
    if unknown:
        parser.error(f"unknown {', '.join(sorted(unknown))}, allowed {', '.join(MEASURES)}")
    record: dict[str, Any] = {"machine": machine(), "model": args.model}
    for what in args.what or MEASURES:
        print(f"{args.model}: {what}", file=sys.stderr, flush=True)
        record[what] = MEASURES[what](args.model, args.rounds)
        print(f"\n{args.model} by {what}\n\n{table(record[what])}", flush=True)
        if args.out is not None:
            write_json(args.out, record)


if __name__ == "__main__":
    main()
