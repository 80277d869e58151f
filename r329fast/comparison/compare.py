"""Results side by side: top classes, mismatches by size, the first layer that differs."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from r329fast.base.archives import close_zip, open_zip, read_entry
from r329fast.base.limits import TENSOR
from r329fast.base.npy import NpyError, parse_npy, read_npy
from r329fast.base.reading import check_size, read_bytes, read_text
from r329fast.errors import DataError, FileError, UsageError, nearest

DTYPES = ("int8", "uint8", "int16", "int32")
_CLASS = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True)
class Ranked:
    """One of the largest values of an output: its index, the integer, the class name or ''."""

    index: int
    value: int
    name: str = ""


@dataclass(frozen=True)
class Comparison:
    """How two integer arrays differ.

    `histogram` maps a distance |a - b| of at least 1 to how often it occurs, in rising order;
    `first` is the flat index of the first difference, or None.
    """

    total: int
    mismatches: int
    max_abs_diff: int
    histogram: dict[int, int]
    first: int | None

    @property
    def equal(self) -> bool:
        return self.mismatches == 0

    def beyond(self, max_off_by: int) -> int:
        """How many values differ by more than `max_off_by`."""
        return sum(count for size, count in self.histogram.items() if size > max_off_by)


@dataclass(frozen=True)
class TensorComparison:
    """Layer by layer, in the order of execution."""

    layers: dict[str, Comparison]
    first_diverging: str | None

    @property
    def mismatches(self) -> int:
        return sum(layer.mismatches for layer in self.layers.values())

    @property
    def max_abs_diff(self) -> int:
        return max((layer.max_abs_diff for layer in self.layers.values()), default=0)

    @property
    def histogram(self) -> dict[int, int]:
        """Distance -> how often, over all layers, in rising order."""
        total: dict[int, int] = {}
        for layer in self.layers.values():
            for size, count in layer.histogram.items():
                total[size] = total.get(size, 0) + count
        return dict(sorted(total.items()))

    def first_beyond(self, max_off_by: int) -> str | None:
        """The first layer in execution order with a difference above `max_off_by`, or None."""
        return next(
            (name for name, layer in self.layers.items() if layer.max_abs_diff > max_off_by), None
        )


@dataclass(frozen=True)
class FileComparison:
    """The top classes of one or two result files, and how the files differ (None with one)."""

    top: tuple[Ranked, ...]
    other_top: tuple[Ranked, ...]
    comparison: Comparison | None


def top_k(array: np.ndarray, k: int = 5, names: Mapping[int, str] | None = None) -> list[Ranked]:
    """The k largest values of an integer array, flattened; among equals the lower index first."""
    flat = np.asarray(array).reshape(-1)
    _check_integers(flat)
    if k < 1:
        raise DataError(f"top classes: found {k}, allowed at least 1")
    # stable, so that equal (for instance saturated) values keep their order
    order = np.argsort(-flat.astype(np.int64), kind="stable")[:k]
    return [Ranked(int(i), int(flat[i]), (names or {}).get(int(i), "")) for i in order]


def compare_arrays(a: np.ndarray, b: np.ndarray) -> Comparison:
    """Compare two integer arrays of one shape, value by value; raises DataError otherwise."""
    a, b = np.asarray(a), np.asarray(b)
    _check_integers(a)
    _check_integers(b)
    if a.shape != b.shape:
        raise DataError(
            f"found shapes {list(a.shape)} and {list(b.shape)}, allowed: equal ones"
            if a.size == b.size
            else f"found {a.size} and {b.size} values, allowed: equally many"
        )
    distance = np.abs(a.astype(np.int64) - b.astype(np.int64)).reshape(-1)
    sizes, counts = np.unique(distance[distance != 0], return_counts=True)
    histogram = {int(size): int(count) for size, count in zip(sizes, counts, strict=True)}
    return Comparison(
        total=distance.size,
        mismatches=int(counts.sum()),
        max_abs_diff=max(histogram, default=0),
        histogram=histogram,
        first=int((distance != 0).argmax()) if histogram else None,
    )


def compare_tensors(
    a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray], order: Sequence[str] | None = None
) -> TensorComparison:
    """Compare the tensors of two runs in the given order (default: that of `a`).

    Raises DataError for a name that one of the runs lacks, or a tensor of another size, by name.
    """
    layers: dict[str, Comparison] = {}
    for name in order if order is not None else a:
        for run, which in ((a, "first"), (b, "second")):
            if name not in run:
                raise DataError(
                    f"tensor {name!r} is not in the {which} run{nearest(name, run)}", layer=name
                )
        try:
            layers[name] = compare_arrays(a[name], b[name])
        except DataError as error:
            raise DataError(f"tensor {name!r}: {error.message}", layer=name) from error
    first = next((name for name, layer in layers.items() if not layer.equal), None)
    return TensorComparison(layers, first)


def compare_files(
    a: Path | str,
    b: Path | str | None = None,
    dtype: str = "int8",
    k: int = 5,
    names: Mapping[int, str] | None = None,
) -> FileComparison:
    """The top classes of a raw result file and, with `b`, how the two differ."""
    first = read_raw(a, dtype)
    if b is None:
        return FileComparison(tuple(top_k(first, k, names)), (), None)
    second = read_raw(b, dtype)
    if first.size != second.size:
        raise DataError(
            f"{a} holds {first.size} values and {b} holds {second.size}, allowed: equally many"
        )
    return FileComparison(
        tuple(top_k(first, k, names)),
        tuple(top_k(second, k, names)),
        compare_arrays(first, second),
    )


def read_raw(path: Path | str, dtype: str = "int8") -> np.ndarray:
    """A raw little-endian file as a flat array. Raises FileError, or DataError for its size."""
    if dtype not in DTYPES:
        raise UsageError(
            f"dtype: found {dtype!r}, allowed {', '.join(DTYPES)}{nearest(dtype, DTYPES)}"
        )
    data = read_bytes(path, TENSOR)
    width = np.dtype(dtype).itemsize
    if not data or len(data) % width:
        raise DataError(
            f"{path}: found {len(data)} bytes, allowed: a multiple of {width} ({dtype})",
            path=str(path),
        )
    return np.frombuffer(data, dtype=np.dtype(dtype).newbyteorder("<")).astype(dtype)


def read_tensors(path: Path | str) -> dict[str, np.ndarray]:
    """The tensors of a run: the arrays of a .npz in its order, or a folder's .npy by file name.

    Raises FileError where there are none.
    """
    path = Path(path)
    try:
        if path.is_dir():
            tensors = {file.stem: read_npy(file) for file in sorted(path.glob("*.npy"))}
        else:
            tensors = _npz(path)
    except FileError as error:
        text = error.message.removeprefix(f"cannot read {path}: ")
        raise FileError(f"cannot read tensors from {path}: {text}", path=str(path)) from error
    if not tensors:
        raise FileError(f"no tensors (.npy files) in {path}", path=str(path))
    return tensors


def _npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a .npz, no more of them than one array may hold."""
    archive = open_zip(path)
    try:
        entries = [entry for entry in archive.infolist() if entry.filename.endswith(".npy")]
        check_size(path, sum(entry.file_size for entry in entries), TENSOR)
        return {
            entry.filename.removesuffix(".npy"): parse_npy(read_entry(archive, entry, TENSOR, path))
            for entry in entries
        }
    except NpyError as error:
        raise FileError(f"cannot read {path}: {error}", path=str(path)) from error
    finally:
        close_zip(archive)


def read_classes(path: Path | str) -> dict[int, str]:
    """Class names by index, from any of three common forms.

    A Python dict or list (`{0: 'tench', ...}`), lines `wnid name` as in a synset file, or one
    name a line. Raises FileError and DataError.
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
            "{0: 'name', ...} or one name a line",
            path=str(path),
        ) from error
    pairs = dict(enumerate(value)) if isinstance(value, list) else value
    good = isinstance(pairs, dict) and all(
        _CLASS.fullmatch(str(key)) and isinstance(name, str) for key, name in pairs.items()
    )
    if not pairs or not good:
        raise DataError(f"{path}: found no class names, allowed {{0: 'name', ...}}", path=str(path))
    return {int(key): name for key, name in pairs.items()}


def _check_integers(array: np.ndarray) -> None:
    if array.dtype.kind not in "iu":
        raise DataError(f"found dtype {array.dtype}, allowed: integers")
    if not array.size:
        raise DataError("found no values, allowed: at least one")
