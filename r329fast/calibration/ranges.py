"""Calibrated ranges: what a tensor's real values were seen to span."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from r329fast.base.files import Writer, npy_writer, write_all
from r329fast.base.tabular import html_table
from r329fast.calibration.max_min_file import read_max_min
from r329fast.errors import DataError, FileError, nearest

_HIDDEN = (":mean_square", ":softmax", ":sum_square")


def mean_square_key(layer: str) -> str:
    """Name under which an LRN layer's calibrated mean square stands (spec B.11)."""
    return f"{layer}:mean_square"


def softmax_key(layer: str) -> str:
    """Name under which a LogSoftmax layer's calibrated softmax stands (spec B.11)."""
    return f"{layer}:softmax"


def sum_square_key(layer: str) -> str:
    """Name under which a Reduce L2 layer's calibrated sum of squares stands (spec B.18)."""
    return f"{layer}:sum_square"


@dataclass
class Ranges:
    """Tensor name -> (min, max), real values (float32): what `calibrate` finds.

    `ranges["conv1"]` is one of them, `values` has all. seen: smallest and largest value over the
    whole calibration set, where known. It decides whether an input is unsigned (spec A and B.2),
    and shows what a range cuts off.
    """

    values: dict[str, tuple[float, float]]
    seen: dict[str, tuple[float, float]] = field(default_factory=dict)

    def __getitem__(self, tensor: str) -> tuple[float, float]:
        try:
            return self.values[tensor]
        except KeyError:
            raise DataError(
                f"ranges: no entry for tensor {tensor!r}{nearest(tensor, self.values)}",
                tensor=tensor,
            ) from None

    def __repr__(self) -> str:
        widest = max(self.values, key=lambda name: max(map(abs, self.values[name])), default="")
        if not widest:
            return "<Ranges of no tensors>"
        low, high = self.values[widest]
        return f"<Ranges of {len(self.values)} tensors, widest {widest!r} {low:.6g} to {high:.6g}>"

    def _repr_html_(self) -> str:
        rows = [[name, f"{low:.6g}", f"{high:.6g}"] for name, (low, high) in self.values.items()]
        return html_table(repr(self)[1:-1], ["tensor", "min", "max"], rows)

    def __contains__(self, tensor: str) -> bool:
        return tensor in self.values

    def smallest(self, tensor: str) -> float:
        """The smallest value seen: the extremum where known, else the range's minimum."""
        return self.seen.get(tensor, self[tensor])[0]

    @property
    def at_extremes(self) -> bool:
        """Whether every range reaches all that calibration saw, and that is known."""
        return bool(self.seen) and all(
            low <= self.seen[name][0] and high >= self.seen[name][1]
            for name, (low, high) in self.values.items()
            if name in self.seen
        )

    def coverage(self, tensor: str) -> float:
        """The range's largest magnitude as a fraction of the largest one seen (1 if unknown)."""
        low, high = self.seen.get(tensor, self[tensor])
        seen = max(abs(low), abs(high))
        return max(map(abs, self[tensor])) / seen if seen > 0 else 1.0

    def save_max_min(self, folder: Path, model_name: str) -> tuple[Path, Path]:
        """Write `<model>_max.npy` and `<model>_min.npy` into `folder`; returns their paths."""
        first, second = write_all(self.max_min_files(folder, model_name))
        return first, second

    def max_min_files(self, folder: Path, model_name: str) -> list[tuple[Path, Writer]]:
        """The two files in the vendor's form, to be written (formats.md, 2).

        Each is a 0-d object array holding a dict {layer top name: float32 array of shape (1,)} in
        IR order; what LRN, LogSoftmax and Reduce L2 calibrate beyond their output stands behind it.
        """
        ordered = sorted(self.values, key=lambda name: name.endswith(_HIDDEN))
        files = []
        for index, word in ((1, "max"), (0, "min")):
            table = {name: np.array([self.values[name][index]], np.float32) for name in ordered}
            boxed = np.empty((), dtype=object)
            boxed[()] = table
            path = folder / f"{model_name.replace('/', '_')}_{word}.npy"
            files.append((path, npy_writer(boxed, allow_pickle=True)))
        return files

    @staticmethod
    def load_max_min(max_file: Path, min_file: Path) -> Ranges:
        """Read the vendor's max_min dicts (`ts_max_file`, `ts_min_file`); raises FileError."""
        high, low = read_max_min(max_file), read_max_min(min_file)
        if set(high) != set(low):
            odd = sorted(set(high) ^ set(low))[0]
            raise FileError(f"{max_file} and {min_file}: entry {odd!r} is in only one of them")
        for name in high:
            if not (np.isfinite(low[name]) and np.isfinite(high[name]) and low[name] <= high[name]):
                raise FileError(
                    f"{max_file} and {min_file}: entry {name!r} is {low[name]} to {high[name]}, "
                    "allowed finite numbers, min not above max"
                )
        return Ranges({name: (low[name], high[name]) for name in high})

    def restricted_to(self, tensors: Iterable[str]) -> Ranges:
        """Only the named entries, in that order; DataError where one is missing."""
        return Ranges({name: self[name] for name in tensors}, dict(self.seen))
