"""The options for the part of a model that is meant, and for sizes that its file leaves open."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING

from r329fast.errors import UsageError

if TYPE_CHECKING:
    from r329fast.graph.load import ModelPart

_OPTIONS = {"input": "--input", "output": "--output", "input_shape": "--input-shape"}
_WORDS = re.compile(r"\[[^\[\]]*\](?:\s*,\s*\[[^\[\]]*\])*|[^\[\]]+")
Shape = list[int]


def add_part(parser: argparse._ActionsContainer, plural: bool = False) -> None:
    """--input, --output, --input-shape; `plural` allows the first two with an s, too."""
    parser.add_argument(
        *("--input", "--inputs")[: 1 + plural],
        dest="input",
        metavar="NAME[,NAME]",
        help="tensors or nodes where the network begins (the file's inputs)",
    )
    parser.add_argument(
        *("--output", "--outputs")[: 1 + plural],
        dest="output",
        metavar="NAME[,NAME]",
        help="tensors or nodes where the network ends (the file's outputs)",
    )
    parser.add_argument(
        "--input-shape",
        metavar="[NAME=]1,3,224,224",
        action="append",
        default=[],
        help="shape of an input with the batch axis, where the file leaves axes free; "
        "once per input, by name or in order",
    )


def part_of(args: argparse.Namespace) -> ModelPart:
    """What `add_part` asked the user for. Raises UsageError for words that are no shape."""
    from r329fast.graph.load import ModelPart

    shapes = _shapes(args.input_shape)
    return ModelPart(names(args.input), names(args.output), shapes)


def refuse_part(args: argparse.Namespace, what: str) -> None:
    """UsageError where part of a model is asked for and `what` was given instead of one."""
    for name, option in _OPTIONS.items():
        if getattr(args, name):
            raise UsageError(
                f"{option} goes with a MODEL.onnx, {what}; a cfg has the key {name} in [Parser]"
            )


def names(text: str | None) -> list[str] | None:
    """Names separated by commas; None where nothing was given."""
    if text is None:
        return None
    return [name.strip() for name in text.split(",") if name.strip()]


def _shapes(words: list[str]) -> dict[str, Shape] | list[Shape] | None:
    """By name if one has a name, else in order; None where nothing was given."""
    named: dict[str, Shape] = {}
    plain: list[Shape] = []
    for word in words:
        name, _, text = word.rpartition("=")
        shapes = _read(text.strip(), word)
        if name:
            named[name.strip()] = shapes[0]
        else:
            plain += shapes
    if named and plain:
        raise UsageError("--input-shape: name all inputs or none")
    return named or plain or None


def _read(text: str, word: str) -> list[Shape]:
    """`1,3,224,224`, or shapes in brackets; at least one."""
    if not _WORDS.fullmatch(text) or ("=" in word and text.count("[") > 1):
        raise _no_shape(word)
    try:
        return [
            [int(size) for size in part.split(",")]
            for part in (re.findall(r"\[([^\]]*)\]", text) or [text])
        ]
    except ValueError:
        raise _no_shape(word) from None


def _no_shape(word: str) -> UsageError:
    return UsageError(f"--input-shape: found {word!r}, allowed [NAME=]1,3,224,224")
