"""`r329fast tune`: accuracy that int8 took, given back."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r329fast.cli.options.classes import add_classes, class_names
from r329fast.cli.options.execution import add_quantization, add_threads
from r329fast.cli.options.part import add_part, part_of, refuse_part
from r329fast.cli.options.preprocess import add_preprocess, asked_for, asked_of_model
from r329fast.cli.options.targets import folder_to_write
from r329fast.cli.output import Console
from r329fast.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from r329fast.deploy.guess import Guess
    from r329fast.graph.ir import Graph
    from r329fast.images.preprocess import Preprocess

NAME = "tune"
HELP = "give back accuracy that int8 took: ranges, weights and biases"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Choose ranges, channel factors, biases and the rounding of weights against the\n"
        "NPU's exact integers, without labels. Leaves tuned.onnx, tuned_max.npy,\n"
        "tuned_min.npy, tuned.cfg, tune.json and tune.html in --out. A killed run goes on\n"
        "when it is started again.\n\n"
        "Kinds of change:\n"
        "  settings  calibration method, weight scales per channel, zero points\n"
        "  ranges    one (min, max) for each tensor\n"
        "  equalise  factors and constants of channels that later layers take out again\n"
        "  bias      biases for which each layer's sums are right on average\n"
        "  rounding  weights on the integer grid, fitted to the float sums"
    )
    parser.add_argument(
        "model",
        metavar="RUN.cfg|MODEL.onnx",
        type=Path,
        help="a cfg with its calibration data, or a network with --images",
    )
    parser.add_argument(
        "--out", metavar="DIR", type=folder_to_write, required=True, help="where the files go"
    )
    parser.add_argument(
        "--images",
        metavar="SET",
        type=Path,
        help="calibration images instead of the cfg's: dataset.npy, or a folder, zip or tar",
    )
    add_part(parser)
    parser.add_argument("--labels", metavar="FILE", help="which images of SET (label.txt)")
    parser.add_argument("--limit", metavar="N", type=int, default=0, help="images used (0: all)")
    parser.add_argument(
        "--allow",
        metavar="KINDS",
        default="settings,ranges,equalise,bias,rounding",
        help="kinds of change, with commas (all: settings,ranges,equalise,bias,rounding)",
    )
    parser.add_argument(
        "--budget",
        metavar="MINUTES",
        type=float,
        default=5.0,
        help="begin no further layer or step after this (5; 0: no end)",
    )
    parser.add_argument(
        "--seed", metavar="N", type=int, default=0, help="of the places sampled (0)"
    )
    add_threads(parser)
    add_quantization(parser)
    add_classes(parser, split="train")
    add_preprocess(parser)


def execute(args: argparse.Namespace, out: Console) -> int:
    from r329fast.base.files import write_text
    from r329fast.report.tuning_page import tuning_page
    from r329fast.tuning.options import TuneOptions
    from r329fast.tuning.tuner import tune

    if args.model.suffix != ".onnx":
        refuse_part(args, f"{args.model} is none")
    part = part_of(args)
    options = TuneOptions(  # refused before any image is read
        allow=args.allow,
        scheme=args.scheme,
        rounding=args.rounding,
        method=args.method,
        per_channel=args.per_channel,
        inputs=part.inputs,
        outputs=part.outputs,
        input_shapes=part.input_shapes,
        limit=args.limit,
        budget=args.budget,
        seed=args.seed,
        threads=args.threads,
    )
    if not options.allow:
        raise UsageError("--allow: found no kind of change", option="allow")
    dataset, recipe = _dataset(args, out)
    with out.progress(None, "layers") as advance:
        result = tune(
            args.model,
            args.out,
            options,
            dataset=dataset,
            recipe=recipe,
            told=out.wrapped,
            progress=lambda done, total: advance(1),
        )
    comparison = _comparison(args, result.files.get("cfg", ""))
    page = write_text(args.out / "tune.html", tuning_page(result.record, comparison))
    files = {**result.files, "html": str(page)}
    _show(result.record, files, out)
    if result.gained:
        out.wrapped(
            f"next: {comparison}, with labels, says what it is worth in "
            "accuracy beside the float network"
        )
    out.result({**result.record, "files": files})
    return 0


def _dataset(
    args: argparse.Namespace, out: Console
) -> tuple[np.ndarray | Path | None, Preprocess | None]:
    """(the images that --images names, as an array or a .npy file; None: the cfg's, their recipe).

    The recipe is None where the folder of the images or the cfg knows it.
    """
    if args.images is None or args.images.suffix == ".npy":
        return args.images, None
    import numpy as np

    from r329fast.images.class_folders import Naming
    from r329fast.images.sets import ImageSet

    recipe = _recipe(args, out)
    _, folders = class_names(args.classes)
    naming = Naming(folders, split=args.split, needed=False)
    with ImageSet(args.images, args.labels, args.limit or None, naming) as images:
        first = recipe.apply(images.image(0))
        x = np.empty((len(images), *first.shape), dtype=np.float32)
        x[0] = first
        for index in range(1, len(images)):
            x[index] = recipe.apply(images.image(index))
        if images.note:
            out.warn(images.note)
    return x, recipe


def _recipe(args: argparse.Namespace, out: Console) -> Preprocess:
    """How the images are prepared: as asked for, else as the cfg's calibration set was."""
    from r329fast.deploy.from_model import other_recipe
    from r329fast.deploy.pipeline import load_config, load_graph
    from r329fast.deploy.recipe import chosen_recipe, recipe_of_cfg

    if args.model.suffix == ".onnx":
        graph = part_of(args).load(args.model)
        height, width = graph.shapes[graph.inputs[0]][:2]
        wanted = asked_of_model(args, args.model)
        if wanted is not None:
            if not args.size and wanted.size != (width, height):
                wanted = wanted.with_size(width, height)
            out.paragraphs(other_recipe(args.model, wanted))
            return wanted
        guess = _guess(args, graph)
        out.print(guess.text)
        return guess.recipe
    config = load_config(args.model)
    graph = load_graph(config)
    height, width = graph.shapes[graph.inputs[0]][:2]
    known = recipe_of_cfg(config)
    wanted = asked_for(args, (width, height), known.recipe)
    recipe, warnings = chosen_recipe(known, wanted, size=(width, height))
    for line in warnings:
        out.warn(line)
    return recipe


def _guess(args: argparse.Namespace, graph: Graph) -> Guess:
    """The recipe of a model that comes alone; labels help to guess it, and are not needed."""
    from r329fast.deploy.from_model import ModelOptions, guessed_recipe
    from r329fast.deploy.guess import find_recipe
    from r329fast.errors import DataError, FileError

    _, folders = class_names(args.classes)
    options = ModelOptions(args.images, args.labels, folders, threads=args.threads)
    try:
        return guessed_recipe(args.model, graph, options)
    except (DataError, FileError):  # said where the images are read
        return find_recipe(args.model, graph, None, 0)


def _comparison(args: argparse.Namespace, cfg: str) -> str:
    """The command that compares the tuned network with the float network it was made of."""
    from r329fast.deploy.tuned import model_file

    words = ["r329fast", "eval", cfg, "--images", "SET", "--float-model", model_file(args.model)]
    for option, values in (
        ("--rounding", [args.rounding]),
        ("--input", [args.input]),
        ("--output", [args.output]),
        ("--input-shape", args.input_shape),
    ):
        words += [word for value in values if value for word in (option, value)]
    return shlex.join(words)


def _show(record: dict[str, Any], files: dict[str, str], out: Console) -> None:
    before, after = record["before"]["confirmed"], record["after"]["confirmed"]
    if record["gained"]:
        count, alone = record["images"]["confirming"], record["images"]["fitted"]
        those = "image" if count == 1 else "images"
        which = "that chose nothing" if count + alone <= record["images"]["all"] else "that chose"
        out.wrapped(
            f"output SNR {before['snr']:.2f} -> {after['snr']:.2f} dB, agreement with float "
            f"{before['agreement']:.1%} -> {after['agreement']:.1%}, on {count} {those} {which}"
        )
        wider = [step for step in record["steps"] if step["accepted"] and step.get("headroom")]
        if after["snr"] < before["snr"] and wider:
            out.wrapped(
                f"ranges that reach further cost the images that set them; on others they are "
                f"worth {wider[0]['gain_db']:+.2f} dB ({wider[0]['step']})"
            )
    elif any(step.get("begun", True) for step in record["steps"]):
        out.wrapped("nothing helped on images that did not choose it: the network stays as it is")
    else:
        out.wrapped("no step was begun: the network stays as it is")
    if record["settings"]:
        names = ", ".join(record["settings"])
        out.wrapped(
            f"settings changed: {names} (in tuned.cfg); what they cost on the chip in time is not "
            "known, --allow without settings leaves them"
        )
    time = record["time"]
    if time["seconds_to_most"] is not None:
        out.wrapped(
            f"{time['most']:.0%} of the gain after {time['seconds_to_most']:.0f} s, all steps "
            f"after {time['wall']:.0f} s"
        )
    for kind, path in files.items():
        out.print(f"{kind}: {path}")
    for note in record["notes"]:
        out.warn(note)
    cut = [step["step"] for step in record["steps"] if not step.get("begun", True)]
    if cut:
        out.warn(
            f"the budget of {record['budget']:g} min was over before {', '.join(cut)}; what was "
            f"kept by then is written. --budget {2 * record['budget']:g} goes on longer, 0 to the "
            "end"
        )
