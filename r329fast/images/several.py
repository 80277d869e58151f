"""Calibration data of networks with one or several inputs: .npy files, or one .npz."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from r329fast.base.archives import close_zip, open_zip, read_entry
from r329fast.base.limits import TENSOR
from r329fast.base.npy import NpyError, parse_npy
from r329fast.errors import DataError
from r329fast.images.dataset import checked_dataset, load_dataset

Arrays = dict[str, npt.NDArray[np.float32]]


def load_datasets(text: str, expected: Mapping[str, Sequence[int] | None]) -> Arrays:
    """The calibration array of every input: float32 [N, ...], feature maps channels last.

    text: one .npy for one input; a comma separated list of them, in the order of the inputs; or
    one .npz whose arrays bear the names of the inputs. expected: input name -> its shape with the
    batch (not compared), None where it is not known. Raises FileError and DataError.
    """
    names = list(expected)
    files = [text] if len(names) == 1 else [part.strip() for part in text.split(",")]
    if len(files) == 1 and Path(files[0]).suffix.lower() == ".npz":
        arrays = _of_npz(files[0], expected)
    elif len(files) == len(names):
        arrays = {
            name: load_dataset(file, expected[name])
            for name, file in zip(names, files, strict=True)
        }
    else:
        raise DataError(
            f"{text}: found {len(files)} file{'s' if len(files) != 1 else ''} for {len(names)} "
            f"inputs, allowed: one .npy per input, separated by commas, in the order "
            f"{', '.join(names)}; or one .npz with arrays of these names"
        )
    counts = {name: len(array) for name, array in arrays.items()}
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{count} of {name}" for name, count in counts.items())
        raise DataError(f"{text}: found {found}, allowed: the same number for every input")
    return arrays


def _of_npz(path: str, expected: Mapping[str, Sequence[int] | None]) -> Arrays:
    archive = open_zip(path)
    try:
        found = [name.removesuffix(".npy") for name in archive.namelist()]
        # the only array is that of the only input, whatever its name
        alone = len(expected) == 1 and len(found) == 1
        arrays: Arrays = {}
        for name, shape in expected.items():
            entry = found[0] if alone else name
            if entry not in found:
                raise DataError(
                    f"{path}: found the arrays {', '.join(found) or 'none'}, allowed: one by the "
                    f"name of every input ({', '.join(expected)})",
                    path=path,
                )
            where = f"{path} [{entry}]"
            try:
                array = parse_npy(read_entry(archive, f"{entry}.npy", TENSOR, path))
            except NpyError as error:
                raise DataError(f"{where}: {error}", path=path) from error
            arrays[name] = checked_dataset(array, where, shape)
        return arrays
    finally:
        close_zip(archive)
