"""The options for how an image becomes an array, shared by several commands."""

from __future__ import annotations

import argparse
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r329fast.errors import UsageError

if TYPE_CHECKING:
    from r329fast.images.preprocess import Preprocess

_OPTIONS = ("size", "sub", "div", "order", "resize", "preprocess")


def add_size(parser: argparse._ActionsContainer) -> None:
    """--size; `joined_sizes` has made one word of `224 192` before argparse sees it."""
    parser.add_argument(
        "--size",
        type=_size,
        metavar="SIZE",
        help="width and height: 224, 224x192, 224,192 or 224 192 (224)",
    )


def _size(text: str) -> list[int]:
    found = re.fullmatch(r"(\d{1,9})(?:\s*[x,*\s]\s*(\d{1,9}))?", text.strip(), re.IGNORECASE)
    if found is None:
        raise argparse.ArgumentTypeError(
            f"found {text!r}, allowed: 224, 224x192, 224,192 or 224 192 (width, height)"
        )
    return [int(found[1]), int(found[2] or found[1])]


def joined_sizes(argv: list[str]) -> list[str]:
    """The same words with `--size 224 192` as `--size 224x192`; one number alone stays."""
    words: list[str] = []
    for word in argv:
        if len(words) > 1 and words[-2] == "--size" and words[-1].isdigit() and word.isdigit():
            words[-1] += f"x{word}"
        else:
            words.append(word)
    return words


def add_preprocess(parser: argparse.ArgumentParser) -> None:
    """Add --size, --sub, --div, --order, --resize and --preprocess."""
    group = parser.add_argument_group(
        "preprocessing",
        "Without these, as the network's calibration set was prepared (preprocess.json\n"
        "beside dataset.npy); where that is not known, as in the vendor's tutorial:\n"
        "stretch to 224x224, RGB, (x/255 - ImageNet mean) / std.",
    )
    add_size(group)
    group.add_argument(
        "--sub",
        nargs=3,
        type=float,
        metavar=("R", "G", "B"),
        help="subtract these from the pixel values 0..255, in the order of --order",
    )
    group.add_argument(
        "--div",
        nargs=3,
        type=float,
        metavar=("R", "G", "B"),
        help="then divide by these (1 1 1 where only --sub is given)",
    )
    group.add_argument("--order", choices=("RGB", "BGR"), help="channel order (RGB)")
    group.add_argument(
        "--resize",
        choices=("stretch", "crop"),
        help="both sides to the size, or the shorter one and then the centre (stretch)",
    )
    group.add_argument(
        "--preprocess",
        metavar="FILE.json",
        help="read all of this from a file; FILE.json:MODEL where it holds several recipes",
    )


def preprocess_from(
    args: argparse.Namespace,
    size: tuple[int, int] | None = None,
    known: Preprocess | None = None,
) -> Preprocess:
    """The recipe that the options ask for; `size` is what the model needs, if that is known.

    Single options win over the file, and that over `known`, the recipe of the calibration set.
    Raises UsageError, FileError and DataError.
    """
    # imported late: cv2 takes its time
    from r329fast.images.preprocess import Preprocess

    recipe = known or Preprocess()
    if args.preprocess:
        path, colon, model = args.preprocess.rpartition(":")
        named = bool(colon) and path.endswith(".json")
        recipe = (
            Preprocess.from_json(path, model) if named else Preprocess.from_json(args.preprocess)
        )
    changes: dict[str, Any] = {}
    if args.sub or args.div:
        changes.update(
            sub=tuple(args.sub or (0.0, 0.0, 0.0)),
            div=tuple(args.div or (1.0, 1.0, 1.0)),
            scale=1.0,
        )
        if args.preprocess:
            # one of the two may come from the file, but only in the units of pixels
            if recipe.scale != 1.0:
                raise UsageError("--sub and --div do not go with a --preprocess file with a scale")
            changes["sub"] = tuple(args.sub) if args.sub else recipe.sub
            changes["div"] = tuple(args.div) if args.div else recipe.div
    if args.order:
        changes["order"] = args.order
    if args.resize and args.resize != recipe.resize:
        changes.update(resize=args.resize, shorter=None)
    recipe = replace(recipe, **changes)
    if args.size:
        return recipe.with_size(*args.size)
    if size is not None and size != recipe.size:
        if args.preprocess:
            raise UsageError(
                f"the recipe makes {recipe.size[0]}x{recipe.size[1]}, the network takes "
                f"{size[0]}x{size[1]}: give --size {size[0]} {size[1]} or another recipe"
            )
        return recipe.with_size(*size)
    return recipe


def asked_for(
    args: argparse.Namespace, size: tuple[int, int] | None, known: Preprocess | None
) -> Preprocess | None:
    """The recipe that the options ask for; None where they ask for none but the network's size."""
    options = given(args)
    if not options or (options == ["--size"] and tuple(args.size) == size):
        return None
    return preprocess_from(args, size, known)


def asked_of_model(args: argparse.Namespace, model: Path) -> Preprocess | None:
    """The recipe that the options make of the one near a model that comes alone, which has no
    calibration set yet; None where they ask for none."""
    if not given(args):
        return None
    from r329fast.cfg import read_model_names
    from r329fast.deploy.guess import recipe_near

    names = read_model_names(model)
    shape = next(iter(names.inputs.values()), ())[-3:]
    nhwc = bool(shape) and shape[-1] in (1, 3, 4)
    rows, columns = (shape[:2] if nhwc else shape[1:]) if len(shape) == 3 else (0, 0)
    size = (columns, rows) if isinstance(columns, int) and isinstance(rows, int) else (0, 0)
    near = recipe_near(model, size)
    return preprocess_from(args, None, near.recipe if near else None)


def given(args: argparse.Namespace) -> list[str]:
    """The options of this group that the user gave, as they are written."""
    return [f"--{name}" for name in _OPTIONS if getattr(args, name) is not None]
