"""Errors of numbers: mean absolute and squared error per output value."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from r329fast.base.npy import read_npy
from r329fast.base.reading import read_text
from r329fast.errors import DataError, UsageError
from r329fast.evaluation.metrics.metric import Metric, Outputs, State, joined, only


class Regression(Metric):
    """Mean absolute error, root of the mean squared error, and bias, per value and over all."""

    name, headline, better, own_targets = "regression", "mae", "lower", True

    def load(self, path: Path, names: Sequence[str], size: tuple[int, int]) -> list[Any]:
        """path: CSV of `filename,value,..`, perhaps below a header, or `.npy` [N, values]."""
        if path.suffix == ".npy":
            values = read_npy(path)
            if (
                values.ndim not in (1, 2)
                or values.dtype.kind not in "fiu"
                or len(values) < len(names)
            ):
                raise DataError(f"{path}: found {values.dtype} {list(values.shape)}, allowed a row "
                                f"of numbers for each of the {len(names)} images")  # fmt: skip
            rows = [np.atleast_1d(row).astype(np.float64) for row in values[: len(names)]]
            _check_rows(path, dict(zip(names, rows, strict=False)))
            return rows
        known = self._rows(path)
        _check_rows(path, known)
        return [known.get(name, known.get(PurePosixPath(name).name)) for name in names]

    def _rows(self, path: Path) -> dict[str, np.ndarray]:
        known: dict[str, np.ndarray] = {}
        try:
            for number, row in enumerate(csv.reader(io.StringIO(read_text(path))), 1):
                if not row:
                    continue
                try:
                    known[row[0]] = np.array([float(cell) for cell in row[1:]])
                except ValueError:
                    if number > 1:
                        text = (
                            f"{path}, line {number}: found {','.join(row)[:60]!r}, allowed numbers"
                        )
                        raise DataError(text, line=number) from None
        except csv.Error as error:
            raise DataError(f"{path}: not CSV ({error})") from error
        return known

    def measure(self, outputs: Outputs, targets: Sequence[Any]) -> State:
        values = only(outputs, self.name)
        flat = values.reshape(len(values), -1).astype(np.float64)
        wanted = np.array(list(targets), dtype=np.float64).reshape(len(flat), -1)
        if wanted.shape[1] != flat.shape[1] and len(flat):
            raise UsageError(
                f"regression: found {wanted.shape[1]} values for each image, the network gives "
                f"{flat.shape[1]}"
            )
        return {"errors": (flat - wanted).reshape(len(flat), values[0].size if len(flat) else 0)}

    def merge(self, states: Sequence[State]) -> dict[str, Any]:
        errors = joined([state for state in states if len(state["errors"])], "errors")
        return {
            "mae": float(np.abs(errors).mean()),
            "rmse": float(np.sqrt((errors**2).mean())),
            "bias": float(errors.mean()),
            "mae_per_value": np.abs(errors).mean(axis=0).tolist(),
            "rmse_per_value": np.sqrt((errors**2).mean(axis=0)).tolist(),
        }


def _check_rows(path: Path, rows: Mapping[str, np.ndarray]) -> None:
    """Raise DataError where rows differ in length, or hold what is no number."""
    first = next(iter(rows), "")
    for name, row in rows.items():
        if len(row) != len(rows[first]):
            raise DataError(
                f"{path}: found {len(row)} values for {name!r} and {len(rows[first])} for "
                f"{first!r}, allowed: equally many for every image"
            )
        if not np.isfinite(row).all():
            raise DataError(f"{path}: found NaN or infinity for {name!r}, allowed numbers")
