"""Result files: raw integers, and the tensors of a run in a .npz or a folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from r329fast.base.archives import close_zip, open_zip, read_entry
from r329fast.base.limits import TENSOR
from r329fast.base.npy import NpyError, parse_npy, read_npy
from r329fast.base.reading import check_size, is_folder, read_bytes
from r329fast.comparison.classes import Ranked
from r329fast.comparison.differences import Comparison, compare_arrays
from r329fast.comparison.result_layout import (
    Output,
    TopOfOutput,
    layout_beside,
    split_outputs,
    tops,
)
from r329fast.errors import DataError, FileError, UsageError, nearest

DTYPES = ("int8", "uint8", "int16", "int32")


@dataclass(frozen=True)
class FileComparison:
    """The top classes of one or two result files, and how the files differ (None with one).

    top, other_top: of the first output of the first image; outputs, other_outputs: of all.
    recorded: whether dtype, shapes and names come from the record of the run.
    """

    top: tuple[Ranked, ...]
    other_top: tuple[Ranked, ...]
    comparison: Comparison | None
    outputs: tuple[TopOfOutput, ...]
    other_outputs: tuple[TopOfOutput, ...] = ()
    recorded: bool = False


def compare_files(
    a: Path | str,
    b: Path | str | None = None,
    dtype: str | None = None,
    k: int = 5,
    names: Mapping[int, str] | None = None,
) -> FileComparison:
    """The top classes of a raw result file and, with `b`, how the two differ.

    dtype: of all values, as one vector. Without it, what the `run.json` beside the file says:
    the outputs by name, each with its own dtype and shape; `b` without a record of its own is read
    as `a` is. Without any record: int8, one vector. Raises FileError, DataError, UsageError.
    """
    layout = None if dtype is not None else layout_beside(a)
    first = _arrays(a, layout, dtype or "int8")
    ranked = tops(first, k, names)
    recorded = layout is not None
    if b is None:
        return FileComparison(ranked[0].top, (), None, ranked, recorded=recorded)
    other = layout and (layout_beside(b) or layout)
    second = _arrays(b, other, dtype or "int8")
    ranked_b = tops(second, k, names)
    one, two = _flat(first), _flat(second)
    if one.size != two.size:
        raise DataError(
            f"{a} holds {one.size} values and {b} holds {two.size}, allowed: equally many"
        )
    return FileComparison(
        ranked[0].top, ranked_b[0].top, compare_arrays(one, two), ranked, ranked_b, recorded
    )


def _arrays(
    path: Path | str, layout: tuple[Output, ...] | None, dtype: str
) -> dict[str, np.ndarray]:
    if layout is None:
        return {"": read_raw(path, dtype)[np.newaxis]}
    return split_outputs(read_bytes(path, TENSOR), layout, path)


def _flat(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """All values in file order, in a dtype that holds those of every output."""
    kinds = {array.dtype for array in arrays.values()}
    kind = kinds.pop() if len(kinds) == 1 else np.dtype(np.int64)
    return np.concatenate([array.reshape(-1).astype(kind) for array in arrays.values()])


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
        if is_folder(path):
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
