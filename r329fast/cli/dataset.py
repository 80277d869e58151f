"""`r329fast dataset`: a calibration set from images."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from r329fast.cli.options.classes import add_classes, class_names
from r329fast.cli.options.preprocess import add_preprocess, preprocess_from
from r329fast.cli.options.targets import folder_to_write
from r329fast.cli.output import Console

NAME = "dataset"
HELP = "a calibration set (dataset.npy, label.npy) from images"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Write dataset.npy (float32, images x height x width x channels, normalised) and\n"
        "label.npy (int64) for a network's calibration, and preprocess.json: how the images were\n"
        "prepared, which input, eval and profile then do alike."
    )
    parser.add_argument(
        "images",
        metavar="IMG_DIR",
        type=Path,
        help="a folder, zip or tar, with a label file or one folder per class",
    )
    parser.add_argument(
        "labels",
        metavar="LABEL_FILE",
        nargs="?",
        help="lines 'filename label', on disk or inside the set (default: label.txt inside)",
    )
    parser.add_argument(
        "--labels", dest="other_labels", metavar="FILE", help="the same as LABEL_FILE"
    )
    parser.add_argument(
        "--out", metavar="DIR", type=folder_to_write, required=True, help="where to write"
    )
    parser.add_argument("--limit", metavar="N", type=int, help="only the first N images")
    add_classes(parser, split="train")
    add_preprocess(parser)


def execute(args: argparse.Namespace, out: Console) -> int:
    # imported late: cv2 takes its time
    from r329fast.errors import UsageError
    from r329fast.images.class_folders import Naming
    from r329fast.images.dataset import write_dataset
    from r329fast.images.preprocess import Floats
    from r329fast.images.sets import ImageSet

    if args.limit is not None and args.limit < 1:
        raise UsageError(f"--limit: found {args.limit}, allowed at least 1")
    if args.labels is not None and args.other_labels is not None:
        raise UsageError("LABEL_FILE and --labels are the same, give one of them")
    recipe = preprocess_from(args)
    _, folders = class_names(args.classes)
    naming = Naming(folders, split=args.split)
    start = time.perf_counter()
    low, high = float("inf"), float("-inf")
    with (
        ImageSet(args.images, args.labels or args.other_labels, args.limit, naming) as images,
        out.progress(len(images), "images") as advance,
    ):

        def note(array: Floats) -> None:
            nonlocal low, high
            low, high = min(low, float(array.min())), max(high, float(array.max()))
            advance()

        dataset, labels = write_dataset(args.out, images, recipe, note)
        count = len(images)
        if images.note:
            out.warn(images.note)
    seconds = time.perf_counter() - start
    width, height = recipe.size
    shape = [count, height, width, 3]
    out.print(f"{dataset}: float32 {shape}, values {low:.6g} to {high:.6g}")
    out.print(f"{labels}: int64 [{count}]")
    out.result(
        {
            "dataset": str(dataset),
            "labels": str(labels),
            "images": count,
            "shape": shape,
            "min": low,
            "max": high,
            "preprocess": recipe.as_json(),
            "seconds": seconds,
        }
    )
    return 0
