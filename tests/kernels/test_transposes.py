"""Matrices turned by blocks of bytes: sizes around a block, several of them, axes that stay; and
the orders of axes that are copied run by run.
"""

from __future__ import annotations

import numpy as np
import pytest
from support import kernel_cases
from support.kernel_cases_check import check, check_parts
from support.kernel_cases_compute import build

from r329fast.program.program import Op, Program, TensorSpec


def transpose(
    rng: np.random.Generator, shape: tuple[int, ...], perm: tuple[int, ...], dtype: str = "int8"
) -> Program:
    x = TensorSpec("x", shape, dtype, 1.0, 0, -100, 127)
    y = TensorSpec("y", tuple(shape[axis] for axis in perm), dtype, 1.0, 0, -100, 127)
    return build(rng, Op("transpose", "layer", ("x",), ("y",), {"perm": perm}, {}), [x], y)


@pytest.mark.parametrize(
    ("shape", "perm"),
    [
        ((16, 16), (1, 0)),
        ((17, 31), (1, 0)),
        ((33, 16), (1, 0)),
        ((16, 100), (1, 0)),
        ((384, 196), (1, 0)),
        ((3, 20, 18), (0, 2, 1)),
        ((19, 3, 8), (1, 2, 0)),
        ((3, 8, 19), (2, 0, 1)),
        ((2, 3, 16, 23), (0, 1, 3, 2)),
        ((2, 5, 7, 19), (0, 3, 1, 2)),
    ],
)
def test_matrices_are_turned_by_blocks(shape: tuple[int, ...], perm: tuple[int, ...]) -> None:
    rng = np.random.default_rng([*shape])
    program = transpose(rng, shape, perm, "int8")
    feeds = kernel_cases.feeds(rng, program, 3)
    assert check(program, feeds) == "vector-transpose"
    check_parts(program, feeds)


@pytest.mark.parametrize(
    ("shape", "perm", "dtype"),
    [
        ((15, 40), (1, 0), "int8"),
        ((40, 15), (1, 0), "int8"),
        ((20, 20, 4), (1, 0, 2), "int8"),
        ((20, 3, 20), (2, 1, 0), "int8"),
        ((20, 20), (0, 1), "int8"),
        ((20, 20), (1, 0), "int16"),
    ],
)
def test_other_orders_are_copied_by_runs(
    shape: tuple[int, ...], perm: tuple[int, ...], dtype: str
) -> None:
    rng = np.random.default_rng([*shape])
    program = transpose(rng, shape, perm, dtype)
    assert check(program, kernel_cases.feeds(rng, program, 2)) == "runs"
