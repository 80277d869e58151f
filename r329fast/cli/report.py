"""`r329fast report`: a page from the record of an earlier run, or from several side by side."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from r329fast.cli.options.targets import file_to_write
from r329fast.cli.output import Console

NAME = "report"
HELP = "a page from the record of an earlier run, or from several"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Turn what `profile --out`, `eval --out` or `run` left in a folder into one page that\n"
        "needs no network connection. With several folders, it shows them side by side."
    )
    parser.add_argument(
        "runs", metavar="RUN_DIR", type=Path, nargs="+", help="folders, or their JSON"
    )
    parser.add_argument(
        "--images", metavar="SET", type=Path, help="where thumbnails of an evaluation come from"
    )
    parser.add_argument("--labels", metavar="FILE", help="label file of --images (label.txt)")
    parser.add_argument(
        "--classes", metavar="FILE", type=Path, help="class names for the worst images"
    )
    parser.add_argument(
        "--setting",
        metavar="NAME",
        action="append",
        help="of a sweep (default: the best); given several times, one for each run",
    )
    parser.add_argument(
        "--html", metavar="FILE", type=file_to_write, help="default: report.html in RUN_DIR"
    )
    parser.add_argument(
        "--csv", metavar="FILE", type=file_to_write, help="the layer table of the first"
    )


def execute(args: argparse.Namespace, out: Console) -> int:
    from r329fast.base.files import write_text
    from r329fast.base.reading import faults_of
    from r329fast.comparison.classes import read_classes
    from r329fast.errors import UsageError
    from r329fast.report.comparison_findings import comparison_findings
    from r329fast.report.csv_file import layers_csv
    from r329fast.report.facts import comparison_pairs
    from r329fast.report.findings import finding_lines, findings
    from r329fast.report.html import page
    from r329fast.report.load import load_run
    from r329fast.report.outputs import write_csv

    names = read_classes(args.classes) if args.classes else None
    records = [
        load_run(path, args.images, args.labels, setting, names)
        for path, setting in zip(args.runs, _settings(args), strict=True)
    ]
    labels = _labels(args.runs, records)
    first = args.runs[0] if args.runs[0].is_dir() else args.runs[0].parent
    target = args.html or first / ("report.html" if len(records) == 1 else "comparison.html")
    if args.csv is not None and not records[0]["layers"]:
        raise UsageError(f"--csv: {args.runs[0]} has no layers, make one with `profile`")
    # a record is a file that anybody may have written
    with faults_of(" and ".join(map(str, args.runs)), "records that can be shown"):
        text = page(records, labels)
        pairs = [dict(comparison_pairs(record)) for record in records]
        sentences = [findings(record) for record in records]
        compared = comparison_findings(records, labels)
        layers_csv(records[0]["layers"])
    paths = {"html": str(write_text(target, text))}
    if args.csv is not None:
        paths["csv"] = str(write_csv(args.csv, records[0]))
    keys = list(dict.fromkeys(key for found in pairs for key in found))
    rows = [
        [key, *(found.get(key, "") for found in pairs)]
        for key in keys
        # what is the same everywhere is no news, where several runs need the room
        if len({found.get(key) for found in pairs}) > 1
        or not ((key.startswith("option ") and len(pairs) > 1) or len(pairs) > 2)
    ]
    if compared:
        out.print("The runs side by side")
        out.paragraphs(finding_lines(compared))
        out.print()
    for label, found in zip(labels, sentences, strict=True):
        out.print(f"What to look at in {label}" if len(records) > 1 else "What to look at")
        out.paragraphs(finding_lines(found))
        out.print()
    out.table(["", *labels], rows)
    for label, record in zip(labels, records, strict=True):
        _show_settings(label, record, out)
    for kind, path in paths.items():
        out.print(f"{kind}: {path}")
    words = [[item.as_json() for item in found] for found in sentences]
    out.result(
        {
            "runs": dict(zip(labels, pairs, strict=True)),
            "findings": dict(zip(labels, words, strict=True)),
            "compared": [item.as_json() for item in compared],
            "files": paths,
        }
    )
    return 0


def _settings(args: argparse.Namespace) -> Sequence[str | None]:
    """The setting to show of each run."""
    from r329fast.errors import UsageError

    chosen = args.setting or [None]
    if len(chosen) == 1:
        chosen = chosen * len(args.runs)
    if len(chosen) != len(args.runs):
        raise UsageError(
            f"--setting: found {len(chosen)} for {len(args.runs)} run, allowed one for each",
            option="setting",
        )
    return list(chosen)


def _labels(paths: Sequence[Path], records: Sequence[dict[str, Any]]) -> list[str]:
    """What to call each run: its folder, with the setting where one folder stands twice."""
    found = [path.name or str(record["model"]) for path, record in zip(paths, records, strict=True)]
    if len(set(found)) == len(found):
        return found
    settings = [record.get("evaluation", {}).get("setting", "") for record in records]
    found = [f"{label} {setting}".strip() for label, setting in zip(found, settings, strict=True)]
    if len(set(found)) == len(found):
        return found
    return [f"{label} ({number})" for number, label in enumerate(found, 1)]


def _show_settings(label: str, record: dict[str, Any], out: Console) -> None:
    """All settings of a sweep, and which of them the page shows."""
    evaluation = record.get("evaluation")
    if not evaluation or len(evaluation["settings"]["rows"]) < 2:
        return
    out.print(f"{label}: all settings, the page shows {evaluation['setting']!r}")
    out.table(evaluation["settings"]["columns"], evaluation["settings"]["rows"])
