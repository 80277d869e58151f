"""`r329fast eval`: accuracy on a whole image set, int8 and float."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from r329fast.cli.options.classes import add_classes, class_names
from r329fast.cli.options.model import add_model, made_for
from r329fast.cli.options.part import part_of
from r329fast.cli.options.preprocess import add_preprocess, asked_for
from r329fast.cli.options.targets import folder_to_write
from r329fast.cli.output import Console

if TYPE_CHECKING:
    from r329fast.evaluation import (
        EvaluationOptions,
        Execution,
        Model,
        RecordOptions,
        Selection,
    )

NAME = "eval"
HELP = "accuracy on a whole image set, int8 and float"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Run every image of a labelled set through the simulated NPU and count: top-1, top-5,\n"
        "rank of the true class; with --float against the float network on the same pixels.\n"
        "Ends with 1 where images were skipped or a limit (--min-top1, --max-drop) is missed."
    )
    parser.add_argument("model", metavar="RUN.cfg|MODEL.onnx|MODEL.r329|aipu.bin", type=Path)
    parser.add_argument(
        "--images",
        metavar="PATH",
        required=True,
        help="a folder, zip or tar, a tree with one folder per class, shards, parquet, CIFAR, "
        "MNIST, .npz, or dataset.npy; of a network with several inputs one .npy for each, "
        "separated by commas, or one .npz",
    )
    parser.add_argument(
        "--labels",
        metavar="FILE",
        help="lines 'filename label' or CSV, on disk or inside the set (default: label.txt "
        "inside), ImageNet's development kit, or label.npy",
    )
    parser.add_argument("--limit", metavar="N", type=int, help="only the first N images")
    parser.add_argument(
        "--label-offset",
        metavar="N",
        type=int,
        help="added to every label (label_id_offset of the cfg, else 0)",
    )
    add_classes(parser)
    parser.add_argument("--skip-bad", action="store_true", help="leave out unusable images")
    _add_comparison(parser)
    _add_running(parser)
    add_model(parser, images=False)
    add_preprocess(parser)


def _add_comparison(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is compared")
    group.add_argument(
        "--float", action="store_true", help="run the float network too, by onnxruntime"
    )
    group.add_argument(
        "--float-model",
        metavar="MODEL.onnx",
        help="the float network of a program (.r329, aipu.bin)",
    )
    sweep = parser.add_argument_group(
        "sweeps", "Several values make a grid over the same decoded pixels (a cfg only)."
    )
    sweep.add_argument("--scheme", nargs="+", default=[], metavar="S", help="aqt2021, compass42")
    sweep.add_argument("--rounding", nargs="+", default=[], metavar="R", help="of the last shift")
    sweep.add_argument(
        "--method",
        nargs="+",
        default=[],
        metavar="M",
        help="calibration: MEAN, EXTREME (aqt2021); mean, extrema, 3std, 10kld, ... (compass42)",
    )
    sweep.add_argument(
        "--per-channel",
        nargs="*",
        choices=("no", "yes"),
        help="a weight scale for every output channel; alone it means yes",
    )
    metrics = parser.add_argument_group("what is measured beside top-k")
    metrics.add_argument(
        "--metric",
        metavar="NAME",
        help="per_class; or instead of top-k, with --targets: miou, regression, "
        "coco_map[:yolov5|yolov8|boxes]; or your own, module:name",
    )
    metrics.add_argument(
        "--targets",
        metavar="PATH",
        type=Path,
        help="masks (a folder), COCO's instances JSON, or CSV of numbers",
    )
    limits = parser.add_argument_group("limits, for use in CI")
    limits.add_argument("--min-top1", metavar="F", type=float, help="a fraction, such as 0.69")
    limits.add_argument(
        "--max-drop", metavar="F", type=float, help="float top-1 less int8 top-1 (runs --float)"
    )


def _add_running(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("running")
    group.add_argument(
        "--out",
        metavar="DIR",
        type=folder_to_write,
        help="keep results.parquet (or csv) and run.json here",
    )
    group.add_argument("--resume", action="store_true", help="continue where --out stopped")
    group.add_argument(
        "--overwrite", action="store_true", help="discard what --out holds and start again"
    )
    group.add_argument("--format", choices=("parquet", "csv"), help="of the results (parquet)")
    group.add_argument("--logits", action="store_true", help="keep every class's integer")
    group.add_argument(
        "--cache",
        metavar="DIR",
        type=folder_to_write,
        help="keep decoded pixels and float results here",
    )
    group.add_argument("--threads", metavar="N", type=int, help="all cores where absent")
    group.add_argument(
        "--chunk", metavar="N", type=int, help="images between two checkpoints (by image size)"
    )
    group.add_argument("--backend", choices=("numba", "reference"), default="numba")
    group.add_argument(
        "--shard",
        metavar="I/N",
        help="do only part I of N (1/N to N/N) into DIR/shard-I-of-N of --out DIR",
    )
    group.add_argument(
        "--merge",
        metavar="DIR",
        nargs="+",
        type=Path,
        default=(),
        help="the result from shards, in these folders or inside them: the same command without "
        "--shard",
    )
    group.add_argument("--scheduler", metavar="tcp://HOST:PORT", help="of a Dask cluster")
    group.add_argument(
        "--scheduler-file", metavar="FILE", type=Path, help="that `dask scheduler` wrote"
    )
    group.add_argument(
        "--ship-images", action="store_true", help="send the files to workers that lack them"
    )


def execute(args: argparse.Namespace, out: Console) -> int:
    from r329fast.base.machine import cores
    from r329fast.cli.eval_tables import show
    from r329fast.evaluation import EvaluationOptions, evaluate, prepare_model

    _check(args)
    wants_float = args.float or args.max_drop is not None or args.float_model is not None
    start = time.perf_counter()
    has_float = args.float_model is not None
    with (
        made_for(args.model, args, out, part_used=has_float) as made,
        out.progress(None, "calibrating"),
    ):
        model = prepare_model(
            made.config if made else args.model,
            schemes=args.scheme,
            roundings=args.rounding,
            methods=args.method,
            per_channel=_flags(args.per_channel),
            float_model=args.float_model,
            float_part=part_of(args),
            threads=args.threads or cores(),
        )
    model.seconds = time.perf_counter() - start
    names, folders = class_names(args.classes)
    with _progress(out) as progress:
        options = EvaluationOptions(
            selection=_selection(args, model, folders),
            record=_record(args),
            execution=_execution(args, progress),
            float_baseline=wants_float,
            metric=args.metric,
            targets=args.targets,
        )
        if args.targets is not None and args.shard is None:
            return _measure(args, model, options, out)
        if args.shard is not None:
            return _shard(args, model, options, out)
        result = evaluate(model, args.images, args.labels, options)
    for line in result.warnings:
        out.warn(line)
    missed = result.missed(args.min_top1, args.max_drop)
    show(result, out, names)
    for line in missed:
        out.print(f"missed: {line}")
    out.result({**result.as_json(), "missed": missed})
    return 1 if missed or result.skipped else 0


def _measure(
    args: argparse.Namespace, model: Model, options: EvaluationOptions, out: Console
) -> int:
    from r329fast.cli.eval_tables import show_measurement
    from r329fast.errors import UsageError
    from r329fast.evaluation import measure

    if args.metric is None:
        raise UsageError("--targets needs --metric: miou, coco_map, regression")
    if args.min_top1 is not None or args.max_drop is not None:
        raise UsageError("--min-top1 and --max-drop count classes, which this metric does not")
    result = measure(model, args.images, args.targets, args.metric, options)
    for line in result.warnings:
        out.warn(line)
    show_measurement(result, out)
    out.result(result.as_json())
    return 1 if result.skipped else 0


def _shard(args: argparse.Namespace, model: Model, options: EvaluationOptions, out: Console) -> int:
    from r329fast.evaluation import evaluate_shard

    found = evaluate_shard(model, args.images, args.labels, options, shard=args.shard)
    for line in found.warnings:
        out.warn(line)
    timing = found.timing
    out.print(
        f"shard {found.shard.number} of {found.shard.of}: {found.images} images in {found.chunks} "
        f"{'chunk' if found.chunks == 1 else 'chunks'}, {timing.images} of them now, "
        f"{timing.images_per_second:.1f} images per second"
    )
    out.print(f"wrote {found.folder}")
    out.print(f"when all are done: the same with --merge {args.out} instead of --shard")
    out.result(found.as_json())
    return 0


def _selection(args: argparse.Namespace, model: Model, folders: dict[str, int] | None) -> Selection:
    from r329fast.evaluation import Selection

    return Selection(
        preprocess=asked_for(args, _input_size(model), model.known.recipe),
        limit=args.limit,
        label_offset=args.label_offset,
        class_folders=folders,
        split=args.split,
        skip_bad=args.skip_bad,
    )


def _record(args: argparse.Namespace) -> RecordOptions:
    from r329fast.evaluation import RecordOptions

    return RecordOptions(
        out=args.out,
        resume=args.resume,
        overwrite=args.overwrite,
        file_format=args.format,
        logits=args.logits,
        chunk=args.chunk,
        merge=tuple(args.merge),
    )


def _execution(args: argparse.Namespace, progress: Callable[[int, int], None] | None) -> Execution:
    from r329fast.evaluation import Execution

    return Execution(
        threads=args.threads,
        backend=args.backend,
        cache=args.cache,
        scheduler=args.scheduler,
        scheduler_file=args.scheduler_file,
        ship_images=args.ship_images,
        progress=progress,
    )


def _check(args: argparse.Namespace) -> None:
    from r329fast.errors import UsageError

    for name in ("limit", "threads", "chunk"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name}: found {value}, allowed at least 1")
    for name in ("min_top1", "max_drop"):
        value = getattr(args, name)
        if value is not None and not -1 <= value <= 1:
            raise UsageError(f"--{name.replace('_', '-')}: found {value:g}, allowed a fraction")
    if args.out is None and (args.resume or args.overwrite or args.format or args.logits):
        raise UsageError("--resume, --overwrite, --format and --logits go with --out DIR")
    if args.resume and args.overwrite:
        raise UsageError("--resume and --overwrite exclude each other")
    if args.scheduler and args.scheduler_file:
        raise UsageError("--scheduler and --scheduler-file exclude each other")
    if args.ship_images and not (args.scheduler or args.scheduler_file):
        raise UsageError("--ship-images goes with --scheduler")
    if args.shard is not None:
        if args.out is None:
            raise UsageError("--shard goes with --out DIR, in which the shard gets its folder")
        if args.merge or args.resume or args.min_top1 is not None or args.max_drop is not None:
            raise UsageError(
                "--shard does not go with --merge, --resume (a shard always goes on) and limits"
            )
    if args.cache is not None and (args.scheduler or args.scheduler_file):
        raise UsageError("--cache is for one machine, leave it out with --scheduler")


def _flags(words: list[str] | None) -> list[bool]:
    if words is None:
        return []
    return [word == "yes" for word in words] or [True]


def _input_size(model: Model) -> tuple[int, int] | None:
    """Width and height that the network takes."""
    program = model.variants[0].program
    shape = program.tensors[program.inputs[0]].shape
    return (shape[1], shape[0]) if len(shape) == 3 else None


@contextmanager
def _progress(out: Console) -> Iterator[Callable[[int, int], None] | None]:
    """A bar with images per second and time left; only where stderr is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console as RichConsole
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        Remaining(),
    )
    with Progress(*columns, console=RichConsole(file=sys.stderr), transient=True) as bar:
        task = bar.add_task("images", total=None, speed="")
        first: list[tuple[float, int]] = []

        def advance(done: int, total: int) -> None:
            now = time.perf_counter()
            first.append((now, done)) if not first else None
            begun, before = first[0]
            rate = (done - before) / (now - begun) if now > begun else 0.0
            speed = f"{rate:.1f}/s" if rate else ""
            bar.update(task, completed=done, total=total, speed=speed)

        yield advance
