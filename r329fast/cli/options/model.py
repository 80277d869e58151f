"""The options for a model that comes alone, where other commands want a cfg."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r329fast.cli.options.classes import class_names
from r329fast.cli.options.part import add_part, part_of, refuse_part
from r329fast.cli.options.preprocess import asked_of_model
from r329fast.cli.options.targets import file_to_write
from r329fast.cli.output import Console
from r329fast.errors import UsageError

if TYPE_CHECKING:
    from r329fast.deploy.from_model import ModelRun
    from r329fast.deploy.settings import Settings


def add_model(parser: argparse.ArgumentParser, images: bool = True) -> None:
    """--save-cfg and the part; --images and --labels where the command has none of its own."""
    group = parser.add_argument_group(
        "a model instead of a cfg",
        "MODEL.onnx runs with a cfg made in memory, calibrated on at most 64 of the images\n"
        "(on random data without any: then only cost and memory mean something). How they\n"
        "are prepared is read from preprocess.json near the model, else guessed, and said.",
    )
    if images:
        group.add_argument(
            "--images", metavar="SET", type=Path, help="a folder, zip or tar of images"
        )
        group.add_argument("--labels", metavar="FILE", help="lines 'filename label' (label.txt)")
    group.add_argument(
        "--save-cfg",
        metavar="RUN.cfg",
        type=file_to_write,
        help="keep the cfg, and its calibration set in a folder beside it",
    )
    add_part(group)


def refuse_model_options(args: argparse.Namespace, what: str, part_used: bool = False) -> None:
    """UsageError for options that go with a model, where a cfg or a program was given."""
    if args.save_cfg is not None:
        raise UsageError(f"--save-cfg goes with a MODEL.onnx, {what}")
    if not part_used:
        refuse_part(args, what)


@contextmanager
def made_for(
    model: Path,
    args: argparse.Namespace,
    out: Console,
    mode: str = "build",
    part_used: bool = False,
) -> Iterator[ModelRun | None]:
    """What is made for a model that comes alone, while its files are there; None for a cfg.

    part_used: the options for a part of a model are meant for another file of the command.
    """
    from r329fast.deploy.from_model import (
        ModelOptions,
        calibration_folder,
        config_of_model,
        is_model,
        save_cfg,
    )

    if not is_model(model):
        refuse_model_options(args, f"{model} is none", part_used)
        yield None
        return
    scheme = getattr(args, "scheme", None)
    if isinstance(scheme, list):  # of a sweep; the cfg's own when there is one
        scheme = scheme[0] if len(scheme) == 1 else None
    with calibration_folder(args.save_cfg) as folder:
        made = config_of_model(
            model,
            folder,
            ModelOptions(
                images=args.images,
                labels=args.labels,
                numbers=class_names(getattr(args, "classes", None))[1],
                preprocess=asked_of_model(args, model) if hasattr(args, "preprocess") else None,
                scheme=scheme or "aqt2021",
                mode="run" if args.save_cfg is not None else mode,
                part=part_of(args),
            ),
        )
        out.paragraphs(made.notes)
        if args.save_cfg is not None:
            out.print(f"cfg: {save_cfg(made, args.save_cfg, _settings(args))}")
        yield made


def _settings(args: argparse.Namespace) -> Settings:
    """What the command was asked for that a cfg can hold; UsageError for a sweep."""
    from r329fast.deploy.settings import Settings

    found: dict[str, Any] = {}
    for name in ("method", "rounding", "per_channel"):
        value = getattr(args, name, None)
        if isinstance(value, list):
            if len(value) > 1:
                raise UsageError(f"--save-cfg: one cfg, found {len(value)} values of --{name}")
            value = value[0] if value else None
        found[name] = value == "yes" if isinstance(value, str) and name == "per_channel" else value
    return Settings(**found)
