"""All benchmark networks against other engines; the measurement behind docs/peers.md.

    python benchmarks/peers.py [MODEL ...] [--rounds N] [--out FILE.json]

For each network: its full batch on one thread, on all cores, and one image on all cores. In each
setting all engines take turns in one process. The record so far is written after every network,
and tables (Markdown) come at the end; `--show FILE.json` prints those of an earlier run.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from r329fast.base.files import write_json
from r329fast.base.machine import cores
from r329fast.bench.cases import make_case
from r329fast.bench.compare_engines import bench_case, cores_note, machine, summary
from r329fast.bench.engines import INT8_PEERS, OURS, PEERS, missing_peers
from r329fast.bench.models import MODELS, bench_model

# What the project asks of itself, at full batch: times the faster of the int8 peers.
MUST = {
    "resnet18_v2": 1.2,
    "vgg16": 1.3,
    "resnet50": 1.0,
    "mobilenet_v2": 1.0,
    "squeezenet": 1.1,
    "resnet20_cifar": 1.2,
}
Record = dict[str, Any]


def measure(models: list[str], rounds: int, out: Path | None, int8_only: bool = False) -> Record:
    missing = missing_peers()
    asked = INT8_PEERS if int8_only else tuple(PEERS)
    families = [family for family in asked if family not in missing]
    record: Record = {"machine": machine(), "rounds": rounds, "missing": missing, "results": []}
    for name in models:
        case = make_case(name)
        batch = bench_model(name).batch
        for images, threads in dict.fromkeys([(batch, 1), (batch, cores()), (1, cores())]):
            print(f"{name}: batch {images}, threads {threads}", file=sys.stderr, flush=True)
            record["results"].append(bench_case(case, images, threads, rounds, families))
        record["summary"] = summary(record["results"])
        if out is not None:
            write_json(out, record)
    return record


def totals(record: Record) -> str:
    """One line per setting: geometric mean and worst of the ratios to the faster int8 peer."""
    lines = ["| setting | networks | geometric mean | worst |", "|---|---|---|---|"]
    for entry in record["summary"]:
        images = "one image" if entry["one_image"] else "full batch"
        setting = f"{images}, {entry['threads']} thread{'s' * (entry['threads'] > 1)}"
        worst = f"{entry['worst']:.2f} ({entry['worst_model']})"
        lines.append(
            f"| {setting} | {entry['networks']} | {entry['geometric_mean']:.2f} | {worst} |"
        )
    return "\n".join(lines)


def ratios(record: Record) -> str:
    """One line per network: the ratio to the faster int8 peer in each setting."""
    columns: dict[str, dict[str, str]] = {}
    names: dict[str, None] = {}
    for result in record["results"]:
        batch = "batch 1" if result["batch"] == 1 else "full batch"
        column = f"{batch}, {result['threads']} thread{'s' * (result['threads'] > 1)}"
        names[result["model"]] = None
        if "ratio" in result:
            peer = result["faster_int8_peer"].removesuffix(" int8")
            cell = f"{result['ratio']:.2f} ({peer})"
            columns.setdefault(column, {})[result["model"]] = cell
            if result["threads"] == 1:  # with more, threads that spin would count as work
                cell = f"{result['cpu_ratio']:.2f}"
                columns.setdefault(f"{column}, CPU time", {})[result["model"]] = cell
    lines = [f"| network | must | {' | '.join(columns)} |", "|---" * (len(columns) + 2) + "|"]
    for name in names:
        cells = [column.get(name, "") for column in columns.values()]
        lines.append(f"| {name} | {MUST.get(name, '')} | {' | '.join(cells)} |")
    return "\n".join(lines)


def times(record: Record) -> str:
    """One line per network and setting: milliseconds per image of each engine."""
    families = [OURS, *PEERS]
    lines = [f"| network | batch | threads | {' | '.join(families)} |"]
    lines.append("|---" * (len(families) + 3) + "|")
    for result in record["results"]:
        found = {entry["engine"]: entry for entry in result["engines"]}
        cells = [
            f"{found[family]['ms_per_image']:.3g}" if family in found else "" for family in families
        ]
        setting = f"{result['model']} | {result['batch']} | {result['threads']}"
        lines.append(f"| {setting} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("models", nargs="*", metavar="MODEL", help=", ".join(MODELS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, metavar="FILE.json")
    parser.add_argument("--show", type=Path, metavar="FILE.json")
    parser.add_argument("--int8-only", action="store_true", help="without the float engine")
    args = parser.parse_args()
    if args.show:
        record = json.loads(args.show.read_text())
    else:
        record = measure(args.models or list(MODELS), args.rounds, args.out, args.int8_only)
    facts = record["machine"]
    print(f"{facts['cpu']}, {facts['cores']} cores, path {facts['path']}, load {facts['load']}")
    for family, why in record["missing"].items():
        print(f"left out: {family} ({why})")
    for note in filter(None, map(cores_note, record["results"])):
        print(note)
    print(f"\n{ratios(record)}\n\n{totals(record)}\n\n{times(record)}")


if __name__ == "__main__":
    main()
