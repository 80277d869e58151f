"""What a layer calibrates beside its outputs (spec B.11): values that are no tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from r329fast.calibration.ranges import Ranges, mean_square_key, softmax_key
from r329fast.graph.ir import Layer, LrnAttrs, SoftmaxAttrs


@dataclass(frozen=True)
class Hidden:
    """key: layer name -> name among the ranges; values: (layer, its input, its output), float32
    [N, ...] -> the values; bound: a range that holds them, where they were not calibrated.
    """

    key: Callable[[str], str]
    values: Callable[[Layer, np.ndarray, np.ndarray], np.ndarray]
    bound: Callable[[Layer, Ranges], tuple[float, float]]


def _mean_square(layer: Layer, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Mean of squares over the LRN window, the window's full size as divisor."""
    size, channels = layer.params(LrnAttrs).size, x.shape[-1]
    padding = [(0, 0)] * (x.ndim - 1) + [(size // 2, (size - 1) // 2)]
    squares = np.pad(x * x, padding)
    total = sum(squares[..., k : k + channels] for k in range(size))
    return np.asarray(total / np.float32(size), dtype=np.float32)


def _square_of_input(layer: Layer, ranges: Ranges) -> tuple[float, float]:
    return 0.0, max(map(abs, ranges[layer.inputs[0]])) ** 2


def _shares(layer: Layer, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The softmax whose logarithm the layer puts out."""
    powers = np.exp(y)
    axis = layer.params(SoftmaxAttrs).axis + 1
    return np.asarray(powers / powers.sum(axis=axis, keepdims=True))


# Layer type -> what it calibrates beside its outputs.
HIDDEN: dict[str, Hidden] = {
    "LRN": Hidden(mean_square_key, _mean_square, _square_of_input),
    "LogSoftmax": Hidden(softmax_key, _shares, lambda layer, ranges: (0.0, 1.0)),
}
