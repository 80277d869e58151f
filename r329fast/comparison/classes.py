"""The best classes of a result, and files of class names."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from r329fast.base.reading import read_text
from r329fast.comparison.differences import check_integers
from r329fast.errors import DataError

_CLASS = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True)
class Ranked:
    """One of the largest values of an output: its index, the integer, the class name or ''."""

    index: int
    value: int
    name: str = ""


def top_k(array: np.ndarray, k: int = 5, names: Mapping[int, str] | None = None) -> list[Ranked]:
    """The k largest values of an integer array, flattened; among equals the lower index first."""
    flat = np.asarray(array).reshape(-1)
    check_integers(flat)
    if k < 1:
        raise DataError(f"top classes: found {k}, allowed at least 1")
    # stable, so that equal (for instance saturated) values keep their order
    order = np.argsort(-flat.astype(np.int64), kind="stable")[:k]
    return [Ranked(int(i), int(flat[i]), (names or {}).get(int(i), "")) for i in order]


def read_classes(path: Path | str) -> dict[int, str]:
    """Class names by index, from any of three common forms.

    A Python dict or list (`{0: 'tench', ...}`), lines `wnid name` as in a synset file, or one
    name per line. Raises FileError and DataError.
    """
    text = read_text(path)
    if text.lstrip().startswith(("{", "[")):
        return _literal_classes(path, text)
    lines = [line.strip() for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise DataError(f"{path}: found no class names", path=str(path))
    names = [re.sub(r"^n\d{8}\s+", "", line) for line in lines]
    return dict(enumerate(names))


def _literal_classes(path: Path | str, text: str) -> dict[int, str]:
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise DataError(
            f"{path}: found no Python dict or list that can be read, allowed "
            "{0: 'name', ...} or one name per line",
            path=str(path),
        ) from error
    pairs = dict(enumerate(value)) if isinstance(value, list) else value
    good = isinstance(pairs, dict) and all(
        _CLASS.fullmatch(str(key)) and isinstance(name, str) for key, name in pairs.items()
    )
    if not pairs or not good:
        raise DataError(f"{path}: found no class names, allowed {{0: 'name', ...}}", path=str(path))
    return {int(key): name for key, name in pairs.items()}
