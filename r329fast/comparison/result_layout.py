"""What a raw result file holds: outputs with name, dtype and shape, as the run's record says."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from r329fast.base.reading import read_json
from r329fast.comparison.classes import Ranked, top_k
from r329fast.errors import DataError, FileError

RECORD = "run.json"
_LARGEST, _MOST_AXES = 1 << 31, 32  # what an array can be shaped to
_DTYPES = ("int8", "uint8", "int16", "uint16", "int32")


@dataclass(frozen=True)
class Output:
    """One output tensor of a result file; shape is per image."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    images: int

    @property
    def bytes(self) -> int:
        return self.images * math.prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class TopOfOutput:
    """The best classes of one output of one image.

    tied: indices of all values equal to the best one where that is more than one, else ().
    """

    output: str
    image: int
    dtype: str
    top: tuple[Ranked, ...]
    tied: tuple[int, ...]


def layout_beside(path: Path | str) -> tuple[Output, ...] | None:
    """The outputs that the record of the run (`run.json`) names for a result file, in file order.

    The record lies in the file's folder, or above it where the cfg's `outputs` has a folder of its
    own. None where there is no record. Raises FileError and DataError for a damaged one.
    """
    path = Path(path)
    beside = path.parent / RECORD
    if beside.is_file():
        return _outputs(beside, read_json(beside))
    for folder in list(path.absolute().parent.parents)[:3]:
        found = folder / RECORD
        if found.is_file():
            record = read_json(found)
            if _target(found, record) == path.absolute():
                return _outputs(found, record)
    return None


def _target(found: Path, record: Any) -> Path | None:
    """The result file that a record speaks of, also where the whole folder was moved since."""
    files = record.get("files") if isinstance(record, dict) else None
    if not isinstance(files, dict):
        return None
    outputs, own = files.get("outputs"), files.get("record")
    if not isinstance(outputs, str) or not isinstance(own, str):
        return None
    return Path(os.path.normpath(found.parent / os.path.relpath(outputs, os.path.dirname(own))))


def _outputs(found: Path, record: Any) -> tuple[Output, ...] | None:
    """The outputs of a record of mode run; None for a build, which leaves no results."""
    try:
        if record["mode"] != "run":
            return None
        outputs = tuple(
            Output(
                name,
                entry["dtype"],
                tuple(int(size) for size in entry["shape"]),
                int(record["images"]),
            )
            for name, entry in record["outputs"].items()
        )
        good = bool(outputs) and all(
            output.dtype in _DTYPES
            and all(0 < size < _LARGEST for size in output.shape)
            and 0 < output.images < _LARGEST
            and len(output.shape) < _MOST_AXES
            for output in outputs
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        good = False
    if not good:
        raise FileError(
            f"{found}: found no record of a run (images, and outputs with dtype and shape); "
            "give --dtype to read the file without it",
            path=str(found),
        )
    return outputs


def split_outputs(
    data: bytes, outputs: tuple[Output, ...], path: Path | str
) -> dict[str, np.ndarray]:
    """The arrays of a result file, [images, *shape] each. Raises DataError for another size."""
    wanted = sum(output.bytes for output in outputs)
    if len(data) != wanted:
        made_of = ", ".join(
            f"{output.name} {output.dtype} {[output.images, *output.shape]}" for output in outputs
        )
        raise DataError(
            f"{path}: found {len(data)} bytes, the {RECORD} beside it says {wanted} ({made_of}); "
            "give --dtype to read the file without it",
            path=str(path),
        )
    arrays, start = {}, 0
    for output in outputs:
        part = np.frombuffer(data[start : start + output.bytes], np.dtype(output.dtype))
        arrays[output.name] = part.reshape(output.images, *output.shape)
        start += output.bytes
    return arrays


def tops(
    arrays: Mapping[str, np.ndarray], k: int, names: Mapping[int, str] | None = None
) -> tuple[TopOfOutput, ...]:
    """The k best classes of every output of every image, arrays [images, ...], and their ties."""
    found = []
    for output, array in arrays.items():
        for image, values in enumerate(array):
            flat = values.reshape(-1)
            best = np.flatnonzero(flat == flat.max())
            tied = tuple(int(index) for index in best) if len(best) > 1 else ()
            ranked = tuple(top_k(flat, k, names))
            found.append(TopOfOutput(output, image, str(array.dtype), ranked, tied))
    return tuple(found)
