"""`r329fast tune`: accuracy that int8 took, given back."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r329fast.cli.options.execution import add_quantization, add_threads
from r329fast.cli.options.preprocess import add_preprocess, preprocess_from
from r329fast.cli.output import Console

if TYPE_CHECKING:
    import numpy as np

NAME = "tune"
HELP = "give back accuracy that int8 took: ranges, weights and biases"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Choose ranges, channel factors, biases and the rounding of weights against the NPU's\n"
        "exact integers, without labels. Leaves tuned.onnx, tuned_max.npy, tuned_min.npy,\n"
        "tuned.cfg, tune.json and tune.html in --out; a killed run goes on when started again."
    )
    parser.add_argument("model", metavar="RUN.cfg|MODEL.onnx", type=Path)
    parser.add_argument("--out", metavar="DIR", type=Path, required=True)
    parser.add_argument(
        "--images",
        metavar="SET",
        type=Path,
        help="calibration images instead of the cfg's: dataset.npy, or a folder, zip or tar",
    )
    parser.add_argument("--labels", metavar="FILE", help="which images of SET (label.txt)")
    parser.add_argument("--limit", metavar="N", type=int, default=0, help="images used (0: all)")
    parser.add_argument(
        "--allow",
        metavar="KINDS",
        default="settings,ranges,equalise,bias,rounding",
        help="kinds of change, with commas (all: settings,ranges,equalise,bias,rounding)",
    )
    parser.add_argument(
        "--budget", metavar="MINUTES", type=float, default=0.0, help="0: none (default)"
    )
    parser.add_argument("--seed", metavar="N", type=int, default=0)
    add_threads(parser)
    add_quantization(parser)
    add_preprocess(parser)


def execute(args: argparse.Namespace, out: Console) -> int:
    from r329fast.base.files import write_text
    from r329fast.report.tuning_page import tuning_page
    from r329fast.tuning.tuner import tune

    with contextlib.ExitStack() as stack:
        advance = stack.enter_context(out.progress(None, "layers"))
        result = tune(
            args.model,
            args.out,
            dataset=_dataset(args),
            told=out.print,
            allow=tuple(word.strip() for word in args.allow.split(",") if word.strip()),
            scheme=args.scheme,
            rounding=args.rounding,
            method=args.method,
            per_channel=args.per_channel,
            limit=args.limit,
            budget=args.budget,
            seed=args.seed,
            threads=args.threads,
            progress=lambda done, total: advance(1),
        )
    page = write_text(args.out / "tune.html", tuning_page(result.record))
    files = {**result.files, "html": str(page)}
    _show(result.record, files, out)
    out.result({**result.record, "files": files})
    return 0


def _dataset(args: argparse.Namespace) -> np.ndarray | Path | None:
    """The images that --images names, as an array or a .npy file; None: the cfg's."""
    if args.images is None or args.images.suffix == ".npy":
        return args.images
    import numpy as np

    from r329fast.deploy.pipeline import load_config, load_graph
    from r329fast.graph import load_model
    from r329fast.images.sets import ImageSet

    onnx = args.model.suffix == ".onnx"
    graph = load_model(str(args.model)) if onnx else load_graph(load_config(args.model))
    height, width = graph.shapes[graph.inputs[0]][:2]
    recipe = preprocess_from(args, (width, height))
    with ImageSet(args.images, args.labels, args.limit or None) as images:
        return np.stack([recipe.apply(images.image(index)) for index in range(len(images))])


def _show(record: dict[str, Any], files: dict[str, str], out: Console) -> None:
    before, after = record["before"]["confirmed"], record["after"]["confirmed"]
    if record["gained"]:
        out.print(
            f"output SNR {before['snr']:.2f} -> {after['snr']:.2f} dB, agreement with float "
            f"{before['agreement']:.1%} -> {after['agreement']:.1%}, on "
            f"{record['images']['confirming']} images that chose nothing"
        )
    else:
        out.print("nothing helped on images that did not choose it: the network stays as it is")
    for kind, path in files.items():
        out.print(f"{kind}: {path}")
