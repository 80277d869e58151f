"""How a constant operand lies against a tensor."""

from __future__ import annotations

import numpy as np


def const_axis(const: np.ndarray, shape: tuple[int, ...]) -> tuple[int, bool]:
    """(axis of the full ONNX shape that a constant varies along, whether it is that simple).

    A scalar gives axis -1. `shape` has the batch axis; the constant is right-aligned to it.
    """
    if const.size == 1:
        return -1, const.ndim <= len(shape)
    if const.ndim > len(shape):
        return -1, False
    full = (1,) * (len(shape) - const.ndim) + const.shape
    axes = [axis for axis, size in enumerate(full) if size > 1]
    simple = len(axes) == 1 and axes[0] > 0 and full[axes[0]] == shape[axes[0]]
    return (axes[0] if simple else -1), simple
