"""The options for class names and class folders, shared by several commands."""

from __future__ import annotations

import argparse
from pathlib import Path

SPLITS = ("train", "val", "test")


def add_classes(parser: argparse.ArgumentParser, split: str = "val") -> None:
    """--classes and --split; `split` is the part used where nothing is said."""
    parser.add_argument(
        "--classes",
        metavar="FILE",
        type=Path,
        help="class names, one per line or 'wnid name', in the order of the network's classes; "
        "also gives the numbers of class folders",
    )
    parser.add_argument(
        "--split",
        choices=SPLITS,
        default=split,
        help=f"part of a set with folders train, val, test ({split})",
    )


def class_names(path: Path | None) -> tuple[dict[int, str], dict[str, int] | None]:
    """Names by class, and class by folder name: the first word of a line, or all of it."""
    if path is None:
        return {}, None
    from r329fast.base.reading import read_text
    from r329fast.comparison.classes import read_classes

    names = read_classes(path)
    folders = {name: index for index, name in names.items()}
    text = read_text(path)
    if not text.lstrip().startswith(("{", "[")):
        for index, line in enumerate(text.split("\n")):
            if line.strip():
                folders.setdefault(line.split()[0], index)
                folders.setdefault(line.strip(), index)
    return names, folders
