"""Direct or Winograd: how often the built-in and the measured cost model choose the faster one.

    python benchmarks/choices.py [--models ...] [--batches 1 4 16] [--out FILE]

Takes every 3x3 layer of stride 1 (dense, each shape once) of the networks, times it both ways
(processor time, the least of a few samples), and asks both models. `lost` is the time of all
choices over the time of the faster ones, minus one.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from r329fast.base.files import write_json
from r329fast.bench.cases import make_case
from r329fast.bench.models import MODELS
from r329fast.kernels.conv import choice
from r329fast.kernels.conv.direct import prepare_rows
from r329fast.kernels.conv.layout import conv_layout
from r329fast.kernels.conv.winograd import prepare_winograd
from r329fast.kernels.measure import layer_of, measure, seconds_of

Shape = tuple[tuple[int, int, int], int]


def shapes_of(models: list[str]) -> list[Shape]:
    """(H, W, C) and output channels of every such layer, each once."""
    found: dict[Shape, None] = {}
    for name in models:
        program = make_case(name).program
        for op in program.ops:
            if op.kind != "conv2d":
                continue
            x, y = program.tensors[op.inputs[0]], program.tensors[op.outputs[0]]
            layout = conv_layout(op, x, y)
            if choice.is_unit(layout) and x.shape[:2] == y.shape[:2]:
                found[(x.shape[0], x.shape[1], x.shape[2]), y.shape[2]] = None
    return list(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=sorted(MODELS))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 4, 16])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    known = measure()
    rows: list[dict[str, Any]] = []
    for shape, outs in shapes_of(args.models):
        op, x, y = layer_of(shape, outs)
        layout = conv_layout(op, x, y)
        winograd, direct = prepare_winograd(op, layout, y), prepare_rows(layout)
        if winograd is None:
            continue
        least = {
            "built-in": choice.winograd_batch(layout, None),
            "measured": choice.winograd_batch(layout, known),
        }
        for batch in args.batches:
            times = {plan: seconds_of(plans, batch, x, y) * 1e6 for plan, plans in
                     (("winograd", winograd), ("direct", direct))}  # fmt: skip
            chosen = {
                name: "winograd" if count and batch >= count else "direct"
                for name, count in least.items()
            }
            rows.append({"shape": [*shape, outs], "batch": batch, "us": times, "chosen": chosen})
    for name in ("built-in", "measured"):
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
            print(row["shape"], row["batch"], {k: round(v, 1) for k, v in row["us"].items()},
                  row["chosen"])  # fmt: skip
    if args.out is not None:
        write_json(args.out, {"measured": vars(known), "layers": rows})


if __name__ == "__main__":
    main()
