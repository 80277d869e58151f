"""Texts in CSV files that spreadsheets open: none is taken for a formula."""

from __future__ import annotations

import re
from typing import TypeVar

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_MARKED = re.compile(r"'+[=+\-@\t\r]")
ValueT = TypeVar("ValueT")


def as_cell(value: ValueT) -> ValueT | str:
    """A text that a spreadsheet would compute gets an apostrophe in front; the rest is as it is."""
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def from_cell(text: str) -> str:
    """The text that `as_cell` wrote."""
    return text[1:] if _MARKED.match(text) else text
