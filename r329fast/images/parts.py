"""Image sets that know their labels: parts (train, val, test) of named images."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from r329fast.errors import DataError
from r329fast.images.class_folders import SPLITS, Naming
from r329fast.images.stores import Store

_ROW = re.compile(r"(.*)\[(\d{1,18})\]", re.ASCII | re.DOTALL)


class Part(NamedTuple):
    """names: what the store reads; labels: class numbers or names, None where there are none."""

    names: Sequence[str]
    labels: Sequence[str] | None


@runtime_checkable
class LabelledStore(Store, Protocol):
    """A store whose images come with labels.

    kinds: of its parts, keys of SPLITS or "". `part` may read files, and raises FileError and
    DataError.
    """

    kinds: Sequence[str]

    def part(self, kind: str) -> Part: ...


def row_names(file: str, count: int) -> list[str]:
    """Names of the images that are rows of one file: the file's, with the place in brackets."""
    return [f"{file}[{index}]" for index in range(count)]


def file_and_row(name: str) -> tuple[str, int]:
    """What a name of `row_names` means; ("", 0) for another name."""
    found = _ROW.fullmatch(name)
    return (found[1], int(found[2])) if found else ("", 0)


def joined_part(files: Iterable[Part]) -> Part:
    """One part from those of its files; without labels where one of them has none."""
    names: list[str] = []
    labels: list[str] | None = []
    for part in files:
        names += part.names
        labels = None if labels is None or part.labels is None else [*labels, *part.labels]
    return Part(names, labels)


def part_kind(name: str) -> str:
    """The kind of part that a word of a file's name speaks of: a key of SPLITS, or ""."""
    kinds = {word: kind for kind, words in SPLITS.items() for word in words} | {"t10k": "test"}
    words = re.split(r"[^a-z0-9]+", name.lower())
    return next((kinds[word] for word in words if word in kinds), "")


def choose_part(store: LabelledStore, naming: Naming, where: Path) -> tuple[Part, str]:
    """(The part that is asked for, a word on it where there was a choice).

    Validation images are taken where nobody asks, test images where there are none. Raises
    DataError for a part that is not there, and where it has no labels although they are needed.
    """
    kinds = store.kinds
    kind, note = kinds[0], ""
    if len(kinds) > 1:
        wanted = [naming.split, *(("test", "") if naming.split == "val" else ())]
        found = next((kind for kind in wanted if kind in kinds), None)
        names = ", ".join(sorted(name or "other" for name in kinds))
        if found is None:
            raise DataError(f"{where}: found the parts {names}, none is for {naming.split}")
        kind = found
        note = f"{where} has the parts {names}: {kind or 'other'} is used (--split chooses)"
    elif kind == "train" and naming.split != "train" and naming.needed:
        note = f"{where} has training images only: they are used"
    part = store.part(kind)
    if part.labels is None and naming.needed:
        raise DataError(f"{where}: found images without labels; name a label file (--labels)")
    return part, note
