"""Shapes that kernels would follow out of their buffers are refused by `verify`."""

from __future__ import annotations

import numpy as np
import pytest

from r329fast.errors import ProgramError
from r329fast.program import Op, Program, TensorSpec

REQUANT = {"mult": np.ones(2, np.int32), "shift": np.zeros(2, np.int32)}
PLACES = {"rows": np.zeros(2, np.int32), "columns": np.zeros(2, np.int32)}


def one_op(op: Op, *shapes: tuple[int, ...]) -> Program:
    """A program of one op; the last shape is the output's."""
    names = (*op.inputs, *op.outputs)
    tensors = {
        name: TensorSpec(name, shape, "int8", 1.0, 0, -128, 127)
        for name, shape in zip(names, shapes, strict=True)
    }
    return Program("odd", "test", tensors, [op], [], op.inputs, op.outputs)


def concat(axis: int) -> Op:
    return Op("concat", "c", ("a", "b"), ("y",), {"axis": axis, "rounding": "floor"}, REQUANT)


def nearest() -> Op:
    return Op("resize_nearest", "r", ("a",), ("y",), {}, PLACES)


@pytest.mark.parametrize(
    ("op", "shapes", "message"),
    [
        (concat(2), ((2, 2, 3), (9, 9, 1), (2, 2, 4)), "differ outside axis 2"),
        (concat(0), ((2, 2), (2, 2, 1), (4, 2)), "differ outside axis 0"),
        (concat(3), ((2, 2, 3), (2, 2, 1), (2, 2, 4)), "axis 3 outside"),
        (concat(-1), ((2, 2, 3), (2, 2, 1), (2, 2, 4)), "axis is -1"),
        (nearest(), ((4, 4, 2, 3), (2, 2, 2)), r"must be \(H, W, C\)"),
        (nearest(), ((4, 4), (2, 2)), r"must be \(H, W, C\)"),
    ],
)
def test_odd_shapes_are_refused(op: Op, shapes: tuple[tuple[int, ...], ...], message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        one_op(op, *shapes).verify()


def test_right_shapes_are_accepted() -> None:
    one_op(concat(2), (2, 2, 3), (2, 2, 1), (2, 2, 4)).verify()
    one_op(nearest(), (4, 4, 2), (2, 2, 2)).verify()
