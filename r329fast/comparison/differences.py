"""How integers differ: mismatches by size, the first layer that differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from r329fast.errors import DataError, nearest


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


def compare_arrays(a: np.ndarray, b: np.ndarray) -> Comparison:
    """Compare two integer arrays of one shape, value by value; raises DataError otherwise."""
    a, b = np.asarray(a), np.asarray(b)
    check_integers(a)
    check_integers(b)
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


def check_integers(array: np.ndarray) -> None:
    """Raise DataError for floats and for an empty array."""
    if array.dtype.kind not in "iu":
        raise DataError(f"found dtype {array.dtype}, allowed: integers")
    if not array.size:
        raise DataError("found no values, allowed: at least one")
