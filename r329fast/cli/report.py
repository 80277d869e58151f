"""`r329fast report`: a page from the record of an earlier run, or from two side by side."""

from __future__ import annotations

import argparse
from pathlib import Path

from r329fast.cli.output import Console

NAME = "report"
HELP = "a page from the record of an earlier run, or from two"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Turn what `profile --out`, `eval --out` or `run` left in a folder into one page that\n"
        "needs no network connection. With two folders, it shows them side by side."
    )
    parser.add_argument(
        "runs", metavar="RUN_DIR", type=Path, nargs="+", help="one or two folders, or their JSON"
    )
    parser.add_argument(
        "--images", metavar="SET", type=Path, help="where thumbnails of an evaluation come from"
    )
    parser.add_argument("--labels", metavar="FILE", help="label file of --images (label.txt)")
    parser.add_argument("--html", metavar="FILE", type=Path, help="default: report.html in RUN_DIR")
    parser.add_argument("--csv", metavar="FILE", type=Path, help="the layer table of the first")


def execute(args: argparse.Namespace, out: Console) -> int:
    from r329fast.base.files import write_text
    from r329fast.base.reading import faults_of
    from r329fast.errors import UsageError
    from r329fast.report.csv_file import layers_csv
    from r329fast.report.facts import comparison_pairs
    from r329fast.report.html import page
    from r329fast.report.load import load_run
    from r329fast.report.outputs import write_csv

    if len(args.runs) > 2:
        raise UsageError(f"found {len(args.runs)} runs, allowed one or two")
    records = [load_run(path, args.images, args.labels) for path in args.runs]
    labels = [
        path.name or str(record["model"]) for path, record in zip(args.runs, records, strict=True)
    ]
    first = args.runs[0] if args.runs[0].is_dir() else args.runs[0].parent
    target = args.html or first / ("report.html" if len(records) == 1 else "comparison.html")
    if args.csv is not None and not records[0]["layers"]:
        raise UsageError(f"--csv: {args.runs[0]} has no layers, make one with `profile`")
    # a record is a file that anybody may have written
    with faults_of(" and ".join(map(str, args.runs)), "records that can be shown"):
        text = page(records, labels)
        pairs = [dict(comparison_pairs(record)) for record in records]
        layers_csv(records[0]["layers"])
    paths = {"html": str(write_text(target, text))}
    if args.csv is not None:
        paths["csv"] = str(write_csv(args.csv, records[0]))
    keys = list(dict.fromkeys(key for found in pairs for key in found))
    rows = [
        [key, *(found.get(key, "") for found in pairs)]
        for key in keys
        if not (
            len(pairs) == 2 and key.startswith("option ") and pairs[0].get(key) == pairs[1].get(key)
        )
    ]
    out.table(["", *labels], rows)
    for kind, path in paths.items():
        out.print(f"{kind}: {path}")
    out.result({"runs": dict(zip(labels, pairs, strict=True)), "files": paths})
    return 0
