"""`r329fast try`: from a model to a page."""

from __future__ import annotations

import argparse
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

from r329fast.cli.options.classes import add_classes, class_names
from r329fast.cli.options.compiling import compile_progress
from r329fast.cli.options.execution import add_quantization
from r329fast.cli.options.part import add_part, part_of
from r329fast.cli.options.preprocess import add_preprocess, asked_of_model
from r329fast.cli.options.targets import file_to_write, folder_to_write
from r329fast.cli.output import Console

if TYPE_CHECKING:
    from r329fast.evaluation import Evaluation
    from r329fast.trial.trial import Trial

NAME = "try"
HELP = "from a model to a page: accuracy, cost and errors, without a cfg"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Calibrate a model on the images, quantise it, count its accuracy where the images have\n"
        "labels, profile it, and write a page. Without images it is calibrated on random data:\n"
        "cost and memory are right then, and nothing is said of accuracy. How images are\n"
        "prepared is read from preprocess.json near the model, else guessed, and said."
    )
    parser.add_argument("model", metavar="MODEL.onnx", type=Path)
    parser.add_argument(
        "images", metavar="IMAGES", type=Path, nargs="?", help="a folder, zip or tar of images"
    )
    parser.add_argument(
        "--labels", metavar="FILE", help="lines 'filename label' (default: label.txt inside)"
    )
    parser.add_argument(
        "--out", metavar="DIR", type=folder_to_write, default="r329fast-try", help="(r329fast-try)"
    )
    parser.add_argument("--open", action="store_true", help="show the page in a browser")
    parser.add_argument(
        "--save-cfg",
        metavar="RUN.cfg",
        type=file_to_write,
        help="keep the cfg that does the same, and its calibration set in a folder beside it",
    )
    parser.add_argument(
        "--limit", metavar="N", type=int, default=200, help="images evaluated (200; 0: all)"
    )
    parser.add_argument("--threads", metavar="N", type=int, help="all cores where absent")
    add_part(parser)
    add_classes(parser)
    add_quantization(parser)
    add_preprocess(parser)


def execute(args: argparse.Namespace, out: Console) -> int:
    from r329fast.deploy.from_model import is_model
    from r329fast.errors import UsageError
    from r329fast.trial.trial import try_model

    if not is_model(args.model):
        raise UsageError(
            f"{args.model}: found no MODEL.onnx; `profile` and `eval` take a cfg or a program"
        )
    part = part_of(args)
    names, folders = class_names(args.classes)
    with compile_progress(out):
        trial = try_model(
            args.model,
            args.images,
            args.out,
            labels=args.labels,
            numbers=folders,
            classes=names,
            split=args.split,
            preprocess=asked_of_model(args, args.model),
            scheme=args.scheme or "aqt2021",
            method=args.method,
            rounding=args.rounding,
            per_channel=args.per_channel,
            limit=args.limit,
            save_cfg=args.save_cfg,
            inputs=part.inputs,
            outputs=part.outputs,
            input_shapes=part.input_shapes,
            threads=args.threads,
            step=lambda sentence: out.print(f"{sentence} .."),
        )
    for line in trial.warnings:
        out.warn(line)
    _show(trial, out)
    out.result(_as_json(trial))
    if args.open and not webbrowser.open(trial.page.absolute().as_uri()):
        out.warn(f"no browser to open {trial.page} with")
    return 0


def _show(trial: Trial, out: Console) -> None:
    from r329fast.report.console import summary_lines
    from r329fast.report.findings import finding_lines, findings

    out.print()
    out.paragraphs(trial.notes)
    out.print("What to look at")
    out.paragraphs(finding_lines(findings(trial.record)))
    out.print()
    if trial.evaluation is not None:
        out.paragraphs([_accuracy(trial.evaluation)])
    out.paragraphs(summary_lines(trial.record))
    for kind, path in trial.files.items():
        out.print(f"{kind}: {path}")
    out.print(f"{trial.seconds:.1f} s")


def _accuracy(found: Evaluation) -> str:
    best, real = found.best, found.float_accuracy
    text = (
        f"accuracy on {best.accuracy.images} images: int8 top-1 {best.accuracy.top1:.1%}, "
        f"top-5 {best.accuracy.top5:.1%}"
    )
    if real is not None and best.against is not None:
        text += (
            f"; float {real.top1:.1%}, {real.top5:.1%}; they agree on {best.against.agreement:.1%}"
        )
    return f"{text}; {len(found.skipped)} unusable" if found.skipped else text


def _as_json(trial: Trial) -> dict[str, object]:
    from r329fast.report.findings import findings

    return {
        "evaluation": trial.evaluation.as_json() if trial.evaluation else None,
        "profile": {key: trial.record[key] for key in ("model", "scheme", "hash", "totals")},
        "findings": [item.as_json() for item in findings(trial.record)],
        "notes": trial.notes,
        "warnings": trial.warnings,
        "files": trial.files,
        "seconds": trial.seconds,
    }
