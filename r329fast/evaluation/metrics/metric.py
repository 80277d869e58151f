"""The form of a metric: a chunk of images gives arrays, all chunks together give the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Outputs = Mapping[str, np.ndarray]
State = Mapping[str, np.ndarray]


class Metric:
    """A metric; instances are small and can be pickled, since they go to other machines.

    name: as tables and records show it. own_targets: what is right comes from `load` rather than
    from the labels of the image set; then no classes are counted. headline: the figure that tables
    show first; better: "higher" or "lower". stretched: images must be resized without a crop.
    """

    name = ""
    own_targets = False
    stretched = False
    headline = ""
    better = "higher"

    def identity(self) -> str:
        """What decides the figures; a resumed run must have the same."""
        return self.name

    def load(self, path: Path, names: Sequence[str], size: tuple[int, int]) -> list[Any]:
        """What is right for each image; None for one that `path` does not know.

        names: of the images, as the set gives them. size: height and width of the network's input.
        Raises FileError and DataError.
        """
        raise NotImplementedError

    def measure(self, outputs: Outputs, targets: Sequence[Any]) -> State:
        """The state of a chunk: arrays of any shapes.

        outputs: name -> float32 [n, ...], feature maps NHWC. targets: of the n images: what `load`
        gave, or class numbers.
        """
        raise NotImplementedError

    def merge(self, states: Sequence[State]) -> dict[str, Any]:
        """The figures of all chunks, plain numbers and lists, `headline` among them."""
        raise NotImplementedError


def only(outputs: Outputs, name: str) -> np.ndarray:
    """The output of a network that has one; DataError for another number."""
    from r329fast.errors import UsageError

    if len(outputs) != 1:
        raise UsageError(f"{name} needs one output, found {', '.join(outputs)} (cut with --output)")
    return next(iter(outputs.values()))


def joined(states: Sequence[State], key: str) -> np.ndarray:
    """The arrays of all chunks behind one another."""
    return np.concatenate([state[key] for state in states])
