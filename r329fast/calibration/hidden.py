"""What a layer calibrates beside its outputs (spec B.11): values that are no tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from r329fast.calibration.ranges import Ranges, mean_square_key, softmax_key, sum_square_key
from r329fast.graph.ir import Layer, LrnAttrs, ReduceAttrs, SoftmaxAttrs


@dataclass(frozen=True)
class Hidden:
    """key: layer name -> name among the ranges; values: (layer, its input, its output), float32
    [N, ...] -> the values; bound: a range that holds them, where they were not calibrated.
    """

    key: Callable[[str], str]
    values: Callable[[Layer, np.ndarray, np.ndarray], np.ndarray]
    bound: Callable[[Layer, Ranges], tuple[float, float]]
    when: Callable[[Layer], bool] = lambda layer: True  # whether this layer of the type does


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


def _sum_square(layer: Layer, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Sum of squares over the axes of a Reduce L2 (spec B.18)."""
    axes = tuple(axis + 1 for axis in layer.params(ReduceAttrs).axes)
    return np.asarray((x * x).sum(axis=axes))


def _square_of_output(layer: Layer, ranges: Ranges) -> tuple[float, float]:
    return 0.0, max(map(abs, ranges[layer.outputs[0]])) ** 2


def _is_l2(layer: Layer) -> bool:
    return layer.params(ReduceAttrs).method == "L2"


# Layer type -> what it calibrates beside its outputs.
HIDDEN: dict[str, Hidden] = {
    "LRN": Hidden(mean_square_key, _mean_square, _square_of_input),
    "Reduce": Hidden(sum_square_key, _sum_square, _square_of_output, _is_l2),
    "LogSoftmax": Hidden(softmax_key, _shares, lambda layer, ranges: (0.0, 1.0)),
}


def hidden_of(layer: Layer) -> Hidden | None:
    """What `layer` calibrates beside its outputs, None for most."""
    row = HIDDEN.get(layer.type)
    return row if row is not None and row.when(layer) else None
