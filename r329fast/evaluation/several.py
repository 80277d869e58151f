"""Networks with several inputs: an item of every array becomes one row, cut again for the network.

Everything between (chunks, caches, other machines) sees one array of rows, as for one input.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from r329fast.errors import DataError
from r329fast.evaluation.encode import Encoder
from r329fast.evaluation.sources import BadImageError, Key, Source
from r329fast.images.dataset import load_labels
from r329fast.images.several import Arrays, load_datasets
from r329fast.program.program import Program

_LABELS = "label.npy"
Shapes = Mapping[str, tuple[int, ...]]


def cut(rows: np.ndarray, shapes: Shapes) -> dict[str, np.ndarray]:
    """float32 [N, values of all inputs] -> [N, *shape] for each input."""
    result, first = {}, 0
    for name, shape in shapes.items():
        size = int(np.prod(shape))
        part = rows[:, first : first + size]
        result[name] = np.ascontiguousarray(part).reshape(len(rows), *shape)
        first += size
    return result


@dataclass
class SeveralReader:
    """Reads one row: the values of one item of every input, float32, one after the other.

    text: files as `load_datasets` takes them; words: input -> its name in the files. A key is an
    index, or the bytes of a row.
    """

    text: str
    words: dict[str, str]
    shapes: dict[str, tuple[int, ...]]
    dtype = "float32"
    _arrays: Arrays | None = field(default=None, repr=False, compare=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """Values of all inputs."""
        return (sum(int(np.prod(shape)) for shape in self.shapes.values()),)

    @property
    def arrays(self) -> Arrays:
        """The arrays of the inputs; raises FileError and DataError where they do not fit."""
        if self._arrays is None:
            expected = {self.words[name]: (1, *shape) for name, shape in self.shapes.items()}
            self._arrays = load_datasets(self.text, expected)
        return self._arrays

    def ship(self, key: Key) -> bytes:
        return self._row(int(key)).tobytes()

    def load(self, key: Key) -> np.ndarray:
        """float32 [values of all inputs]; raises BadImageError for NaN and infinity."""
        row = np.frombuffer(key, np.float32) if isinstance(key, bytes) else self._row(int(key))
        if not np.isfinite(row).all():
            raise BadImageError("holds NaN or infinity")
        return row

    def _row(self, index: int) -> np.ndarray:
        parts = [np.asarray(self.arrays[self.words[name]][index]) for name in self.shapes]
        return np.concatenate([part.reshape(-1) for part in parts])

    def close(self) -> None:
        """The arrays are given back; the next row opens them again."""
        self._arrays = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_arrays": None}


def open_several(
    text: str,
    labels: str | Path | None,
    program: Program,
    words: Mapping[str, str],
    limit: int | None = None,
) -> Source:
    """The labelled items of a network with several inputs.

    text: one .npy for each input in their order, separated by commas, or one .npz with arrays of
    their names; labels: a .npy, by default label.npy beside the first file. words: input -> its
    name in the model. Raises FileError and DataError.
    """
    shapes = {name: program.tensors[name].shape for name in program.inputs}
    reader = SeveralReader(text, {name: words.get(name, name) for name in shapes}, shapes)
    count = len(next(iter(reader.arrays.values())))
    files = [Path(part.strip()) for part in text.split(",")]
    answer = Path(labels) if labels is not None else files[0].with_name(_LABELS)
    if answer.suffix != ".npy":
        raise DataError(f"{answer}: labels of arrays stand in a .npy file too")
    numbers = load_labels(answer, count)[:limit]
    changed = [file.stat().st_mtime_ns for file in files]
    stamp = hashlib.sha256(f"{shapes} {count} {changed}".encode()).hexdigest()
    names = tuple(f"{files[0].name}[{index}]" for index in range(len(numbers)))
    return Source(text, reader, names, tuple(range(len(names))), numbers, None, stamp)


class SeveralEncoder(Encoder):
    """Rows to the integers of all inputs of a program, one after the other, as bytes."""

    def __init__(self, program: Program) -> None:
        self.specs = [program.tensors[name] for name in program.inputs]
        self.shapes = {spec.name: spec.shape for spec in self.specs}
        self.program = program

    def buffer(self, count: int, shape: tuple[int, ...]) -> np.ndarray:
        size = sum(spec.elements * spec.itemsize for spec in self.specs)
        return np.empty((count, size), np.uint8)

    def into(self, image: np.ndarray, out: np.ndarray) -> int:
        first = saturated = 0
        for name, values in cut(image[None], self.shapes).items():
            q = self.program.quantize_input(values, name).view(np.uint8).reshape(-1)
            out[first : first + q.size] = q
            saturated += int(self.program.saturates_input(values, name).sum())
            first += q.size
        return saturated

    def feeds(self, stored: np.ndarray) -> dict[str, np.ndarray]:
        """The stored rows as the arrays of a simulator."""
        result, first = {}, 0
        for spec in self.specs:
            size = spec.elements * spec.itemsize
            part = np.ascontiguousarray(stored[:, first : first + size])
            result[spec.name] = part.view(spec.dtype).reshape(len(stored), *spec.shape)
            first += size
        return result


def encoder_key(program: Program) -> tuple[object, ...]:
    """Programs of equal keys take the same integers."""
    specs = [program.tensors[name] for name in program.inputs]
    return tuple((s.dtype, s.scale, s.zero_point, s.qmin, s.qmax) for s in specs)
