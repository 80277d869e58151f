"""The kinds of value that a vendor cfg holds: text to Python value and back."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

from r329fast.errors import nearest
from r329fast.graph.onnx.foreign import CONVERTERS

Shape = tuple[int, ...]

_SHAPE = r"\[\s*\d{1,18}\s*(?:,\s*\d{1,18}\s*)*\]"
_SHAPES = re.compile(rf"{_SHAPE}(?:\s*,\s*{_SHAPE})*")
_INTEGER = re.compile(r"[+-]?\d{1,18}")


class BadValueError(ValueError):
    """A value of the wrong form. The text names what was found and what is allowed."""


@dataclasses.dataclass(frozen=True)
class ValueKind:
    """How a value is read from the text of a cfg and written back to it.

    `parse` takes stripped, non-empty text and raises BadValueError; `format` is its inverse, so
    that `format(parse(format(v))) == format(v)`.
    """

    parse: Callable[[str], Any]
    format: Callable[[Any], str] = str


def _parse_list(text: str) -> tuple[str, ...]:
    return tuple(part for part in (part.strip() for part in text.split(",")) if part)


def _parse_bool(text: str) -> bool:
    word = text.lower()
    if word not in ("true", "false"):
        raise BadValueError(
            f"found {text!r}, allowed True, False{nearest(word, ('true', 'false'))}"
        )
    return word == "true"


def _parse_integer(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise BadValueError(f"found {text!r}, allowed: a whole number or nothing")
    return int(text)


def parse_shapes(text: str) -> tuple[Shape, ...]:
    """Read `[1, 3, 224, 224],[1, 8]`; every dimension a positive whole number."""
    if not _SHAPES.fullmatch(text.strip()):
        raise BadValueError(
            f"found {text!r}, allowed: bracketed lists of whole numbers such as [1, 3, 224, 224]"
        )
    shapes = tuple(
        tuple(int(number) for number in re.findall(r"\d+", part))
        for part in re.findall(_SHAPE, text)
    )
    if any(size < 1 for shape in shapes for size in shape):
        raise BadValueError(f"found {text!r}, allowed: dimensions of at least 1")
    return shapes


def format_shapes(shapes: tuple[Shape, ...]) -> str:
    return ",".join(f"[{', '.join(str(size) for size in shape)}]" for shape in shapes)


def choice(*allowed: str) -> ValueKind:
    """One of the given words, in any case; kept in the case given here."""

    def parse(text: str) -> str:
        for word in allowed:
            if word.lower() == text.lower():
                return word
        # the hint must not depend on the case that the user typed
        words = {word.lower(): word for word in allowed}
        hint = nearest(text.lower(), words)
        for lower, word in words.items():
            hint = hint.replace(repr(lower), repr(word))
        raise BadValueError(f"found {text!r}, allowed {', '.join(allowed)}{hint}")

    return ValueKind(parse)


def choices(*allowed: str) -> ValueKind:
    """A list of the given words, each in any case; kept in the case given here."""
    one = choice(*allowed)
    return ValueKind(lambda text: tuple(one.parse(word) for word in _parse_list(text)), ",".join)


def _parse_model_type(text: str) -> str:
    kind = text.lower()
    if kind == "onnx":
        return "onnx"
    if kind in CONVERTERS:
        raise BadValueError(
            f"found {text!r}, allowed onnx: only ONNX models are read, convert the model with "
            f"{CONVERTERS[kind]}"
        )
    raise BadValueError(f"found {text!r}, allowed onnx{nearest(text.lower(), ('onnx',))}")


TEXT = ValueKind(str)
WORDS = ValueKind(_parse_list, ",".join)
BOOL = ValueKind(_parse_bool)
INTEGER = ValueKind(_parse_integer, lambda value: "" if value is None else str(value))
SHAPES = ValueKind(parse_shapes, format_shapes)
MODEL_TYPE = ValueKind(_parse_model_type)
