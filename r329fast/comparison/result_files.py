"""Result files: raw integers, and the tensors of a run in a .npz or a folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from r329fast.base.files import UNREADABLE_NPY
from r329fast.comparison.classes import Ranked, top_k
from r329fast.comparison.differences import Comparison, compare_arrays
from r329fast.errors import DataError, FileError, UsageError, nearest

DTYPES = ("int8", "uint8", "int16", "int32")


@dataclass(frozen=True)
class FileComparison:
    """The top classes of one or two result files, and how the files differ (None with one)."""

    top: tuple[Ranked, ...]
    other_top: tuple[Ranked, ...]
    comparison: Comparison | None


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
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror}", path=str(path)) from error
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
        # absurd dimensions overflow; the error that follows says it
        with np.errstate(all="ignore"):
            if path.is_dir():
                files = sorted(path.glob("*.npy"))
                tensors = {file.stem: np.load(file, allow_pickle=False) for file in files}
            else:
                # opened here, because np.load leaves a damaged zip open
                with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                    tensors = {name: archive[name] for name in archive.files}
    except UNREADABLE_NPY as error:
        raise FileError(f"cannot read tensors from {path}: {error}", path=str(path)) from error
    if not tensors:
        raise FileError(f"no tensors (.npy files) in {path}", path=str(path))
    return tensors
