"""Label files in the forms that people have them, one image per line.

- `filename label`, the label being the last word: a class number, a class name or a WordNet id;
- the same as CSV with `,` `;` or tabs, with a header (a column of files, one of classes) or two
  columns without one; names may lack their ending, and of `n01440764 13 27 ..` (boxes behind the
  class, as in a solution file of ImageNet) the first word counts;
- bare class numbers: for the images in the order of their names.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from r329fast.errors import DataError
from r329fast.images.class_folders import Naming, folder_numbers

LABEL_FILE = "label.txt"
_FILES = ("file", "filename", "file_name", "image", "imageid", "image_id", "image_name", "img",
          "path", "filepath", "file_path", "name", "id", "fname")  # fmt: skip
_CLASSES = ("label", "labels", "class", "class_id", "classid", "class_name", "target", "category",
            "category_id", "wnid", "synset", "predictionstring", "y", "breed", "species",
            "label_group", "label_id")  # fmt: skip
_NUMBER = re.compile(r"\d{1,18}", re.ASCII)


class Entry(NamedTuple):
    """A line of a label file. name: empty where a line holds the class alone."""

    line: int
    name: str
    label: str


class Labels(NamedTuple):
    """name: as the label file gives it; label: the class number."""

    line: int
    name: str
    label: int


def parse_labels(where: str, text: str) -> list[Entry]:
    """The lines of a label file that are not blank; DataError for what has none of the forms."""
    # not splitlines: a file name may hold the odd characters at which that splits
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    filled = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    if not filled:
        raise DataError(f"{where}: found no image, allowed: lines 'filename label'")
    if all(_NUMBER.fullmatch(line) for _, line in filled):
        return [Entry(number, "", line) for number, line in filled]
    delimiter = _delimiter(filled[0][1])
    if delimiter:
        return _sheet(where, text, delimiter)
    if _is_header(filled[0][1].split()):
        filled = filled[1:]
    return [_words(where, number, line) for number, line in filled]


def _words(where: str, number: int, line: str) -> Entry:
    words = line.rsplit(maxsplit=1)
    if len(words) != 2:
        raise DataError(
            f"{where}, line {number}: found {line!r}, allowed 'filename label'", line=number
        )
    return Entry(number, words[0].rstrip(), words[1])


def _delimiter(first: str) -> str:
    """What separates the columns of a sheet whose first line this is; "" for words."""
    for mark in ",;\t":
        cells = [cell.strip() for cell in first.split(mark)]
        if len(cells) > 1 and _is_header(cells):
            return mark
    words = first.rsplit(maxsplit=1)
    if len(words) == 2 and not any(mark in words[1] for mark in ",;"):
        return ""
    return next((mark for mark in ",;" if mark in first), "")


def _is_header(cells: Sequence[str]) -> bool:
    names = [cell.strip(' "').lower() for cell in cells]
    return any(name in _FILES for name in names) and any(name in _CLASSES for name in names)


def _sheet(where: str, text: str, delimiter: str) -> list[Entry]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    rows: list[tuple[int, list[str]]] = []
    try:
        rows += [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        line = reader.line_num
        raise DataError(f"{where}, line {line}: not CSV ({error})", line=line) from error
    if not rows:
        raise DataError(f"{where}: found no image, allowed: lines 'filename label'")
    file, label = 0, 1
    named = _is_header(rows[0][1])
    if named:
        names = [cell.strip().lower() for cell in rows.pop(0)[1]]
        file = next(place for place, name in enumerate(names) if name in _FILES)
        label = next(place for place, name in enumerate(names) if name in _CLASSES)
        if not rows:
            raise DataError(f"{where}: found no image below its header")
    entries = []
    for number, row in rows:
        if len(row) <= max(file, label) or (not named and len(row) != 2):
            raise DataError(
                f"{where}, line {number}: found {delimiter.join(row)[:80]!r}, allowed a file and "
                "its class, or columns that a first line names (filename, label)",
                line=number,
            )
        words = row[label].split()
        if not words or not row[file].strip():
            raise DataError(
                f"{where}, line {number}: found no {'file' if words else 'class'}", line=number
            )
        name = words[0] if _has_boxes(words) else row[label].strip()
        entries.append(Entry(number, row[file].strip(), name))
    return entries


def _has_boxes(words: Sequence[str]) -> bool:
    """Whether words are classes with the four sides of a box behind each."""
    sides = [word for place, word in enumerate(words) if place % 5]
    return len(words) % 5 == 0 and all(_NUMBER.fullmatch(side.lstrip("-")) for side in sides)


def number_labels(where: str, entries: Sequence[Entry], naming: Naming) -> list[Labels]:
    """Class numbers of the lines: as they stand, or of names as those of class folders.

    Raises DataError for classes of which some are numbers and some are not.
    """
    numbers = [bool(_NUMBER.fullmatch(entry.label)) for entry in entries]
    if all(numbers):
        return [Labels(entry.line, entry.name, int(entry.label)) for entry in entries]
    odd = entries[numbers.index(False)]
    unknown = naming.needed and naming.numbers is None and naming.classes is None
    if any(numbers) or unknown or not re.search(r"[^\W\d_]", odd.label):
        raise DataError(
            f"{where}, line {odd.line}: found label {odd.label!r}, allowed: a class number from 0"
            f"{'' if any(numbers) else ', or with --classes FILE a name in it'}",
            line=odd.line,
        )
    tree: dict[str, list[str]] = {}
    for entry in entries:
        tree.setdefault(entry.label, []).append(entry.name)
    found = folder_numbers(tree, naming, Path(where), "class")
    return [Labels(entry.line, entry.name, found[entry.label]) for entry in entries]
