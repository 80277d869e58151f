"""The recipe that goes with a calibration set: `preprocess.json` beside `dataset.npy`.

Images that are prepared in another way than the calibration set give wrong classes without any
error, so whoever prepares images for a network looks here first.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from r329fast.base.files import Writer, json_writer
from r329fast.base.reading import is_file, is_folder, read_json
from r329fast.errors import DataError, R329Error
from r329fast.images.preprocess import Floats, Preprocess

RECIPE_FILE = "preprocess.json"
# how `dataset` knows its own files
_TEXT = "how r329fast dataset made dataset.npy"


@dataclass(frozen=True)
class KnownRecipe:
    """The recipe of a calibration set, and the file that it stands in (for messages)."""

    recipe: Preprocess
    source: str


def recipe_writer(folder: Path, recipe: Preprocess) -> tuple[Path, Writer] | None:
    """What writes the recipe into the folder of a calibration set; None where it stands there.

    Raises DataError where a file of that name is somebody else's.
    """
    path = folder / RECIPE_FILE
    if is_file(path) and not _is_ours(path):
        if _same_file(path, recipe):
            return None
        raise DataError(
            f"{path} is another recipe, which would be lost: choose another --out", path=str(path)
        )
    return path, json_writer({**recipe.as_json(), "text": _TEXT})


def _is_ours(path: Path) -> bool:
    try:
        content = read_json(path)
    except R329Error:
        return False
    return isinstance(content, dict) and content.get("text") == _TEXT


def _same_file(path: Path, recipe: Preprocess) -> bool:
    try:
        return not differences(Preprocess.from_json(path), recipe)
    except R329Error:
        return False


def recipe_beside(data: str | Path) -> KnownRecipe | None:
    """The recipe in the folder of calibration data (the first of several files, or the folder).

    None where there is no such file. Raises FileError and DataError for one that is no recipe.
    """
    first = Path(str(data).split(",")[0].strip())
    path = (first if is_folder(first) else first.parent) / RECIPE_FILE
    if not is_file(path):
        return None
    return KnownRecipe(Preprocess.from_json(path), str(path))


def recipe_of_text(text: str, source: str) -> KnownRecipe:
    """The recipe in a JSON text, as cfg files and programs carry it; DataError for another text."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{source}: the recipe is no JSON ({error})") from error
    if not isinstance(values, dict):
        raise DataError(f"{source}: the recipe is no object")
    return KnownRecipe(Preprocess.from_values(values, source), source)


def recipe_text(recipe: Preprocess) -> str:
    """The recipe as JSON on one line, which `recipe_of_text` reads back."""
    return json.dumps(recipe.as_json())


def pixel_table(recipe: Preprocess) -> Floats:
    """What the recipe makes of the pixel values 0 to 255: float32 [256, 3] in its own order."""
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 3, axis=2)
    return replace(recipe, size=(1, 256), shorter=None).apply(ramp)[:, 0]


def differences(found: Preprocess, wanted: Preprocess) -> list[str]:
    """In what two recipes differ, a few words each; the size of the image does not count."""
    result = []
    if found.order != wanted.order:
        result.append(f"{found.order} instead of {wanted.order}")
    ours, theirs = pixel_table(found), pixel_table(wanted)
    if found.order != wanted.order:
        theirs = theirs[:, ::-1]
    if not np.allclose(ours, theirs, rtol=1e-4, atol=1e-4 * float(np.abs(theirs).max())):
        result.append(f"values {_span(ours)} instead of {_span(theirs)}")
    ways = [_way(item.with_size(*wanted.size)) for item in (found, wanted)]
    if ways[0] != ways[1]:
        result.append(f"{ways[0]} instead of {ways[1]}")
    return result


def _span(table: Floats) -> str:
    """The values of a recipe: one span, or one per channel where they differ."""
    spans = [f"{low:.4g} to {high:.4g}" for low, high in zip(table[0], table[255], strict=True)]
    return spans[0] if len(set(spans)) == 1 else " / ".join(spans)


def _way(recipe: Preprocess) -> str:
    words = recipe.as_json()
    shorter = f" from shorter side {recipe.shorter}" if recipe.shorter else ""
    return f"{words['resize']}{shorter} ({words['interpolation']})"
