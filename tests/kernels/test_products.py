"""Products of two tensors through the tile, and softmax in float64: shapes around a tile's runs and
panels, every zero point and order of axes, extreme integers. test_registry.py meets them by chance.
"""

from __future__ import annotations

import numpy as np
import pytest
from support import kernel_cases
from support.kernel_cases_check import check, check_parts
from support.kernel_cases_compute import build, spec

from r329fast.kernels.runtime.isa import ISA
from r329fast.program.program import Op, Program, TensorSpec

SHAPES = [(1, 1, 1), (7, 64, 33), (13, 3, 70), (14, 4, 32), (30, 65, 16), (29, 12, 15), (3, 40, 49)]


def product(
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    trans: tuple[int, int],
    zeros: tuple[int, int],
    dtypes: tuple[str, str] = ("int8", "int8"),
    rounding: str = "half_even",
) -> Program:
    """Three pairs; zeros: the zero points of both sides."""
    rows, inner, columns = shape
    sides = [(inner, rows) if trans[0] else (rows, inner)]
    sides.append((columns, inner) if trans[1] else (inner, columns))
    inputs = []
    for name, side, dtype, zero in zip("ab", sides, dtypes, zeros, strict=True):
        low = -128 if dtype == "int8" else 0
        inputs.append(TensorSpec(name, (3, *side), dtype, 1.0, zero, low, low + 255))
    y = spec(rng, "y", (3, rows, columns))
    shift = round(np.log2(np.sqrt(inner) * 75 * 75 / 60)) + 8
    consts = {
        "mult": rng.integers(128, 256, 1).astype(np.int32),
        "shift": np.array([shift], dtype=np.int32),
    }
    attrs = {"rounding": rounding, "trans_a": trans[0], "trans_b": trans[1]}
    return build(rng, Op("matmul", "layer", ("a", "b"), ("y",), attrs, consts), inputs, y)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("trans", [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("zeros", [(0, 0), (37, 0), (-5, 91)])
def test_products_of_any_form(
    shape: tuple[int, int, int], trans: tuple[int, int], zeros: tuple[int, int]
) -> None:
    rng = np.random.default_rng([*shape, *trans, zeros[1]])
    for dtypes in (("int8", "int8"), ("uint8", "int8"), ("int8", "uint8")):
        program = product(rng, shape, trans, zeros, dtypes)
        feeds = kernel_cases.feeds(rng, program, 2)
        assert check(program, feeds) == f"{ISA.name}-matmul"
        check_parts(program, kernel_cases.feeds(rng, program, 3))


@pytest.mark.parametrize("rounding", ["half_up", "floor"])
@pytest.mark.parametrize("zero", [0, 3])
def test_products_with_other_roundings(rounding: str, zero: int) -> None:
    rng = np.random.default_rng([len(rounding), zero])
    program = product(rng, (17, 30, 50), (0, 0), (2, zero), rounding=rounding)
    assert check(program, kernel_cases.feeds(rng, program, 2)) == f"{ISA.name}-matmul"


@pytest.mark.parametrize("dtypes", [("int8", "int8"), ("uint8", "uint8")])
@pytest.mark.parametrize("zeros", [(0, 0), (128, -128)])
def test_products_of_extremes(dtypes: tuple[str, str], zeros: tuple[int, int]) -> None:
    """All operands are the lowest, or the highest: sums as large as they can be."""
    rng = np.random.default_rng(3)
    program = product(rng, (15, 1000, 33), (0, 1), zeros, dtypes)
    for ends in ((0, 0), (0, 1), (1, 1)):
        feeds = kernel_cases.feeds(rng, program, 1)
        for (name, array), end in zip(feeds.items(), ends, strict=True):
            tensor = program.tensors[name]
            array[...] = tensor.qmax if end else tensor.qmin
        assert check(program, feeds) == f"{ISA.name}-matmul"


def test_zero_points_that_no_operand_holds_take_the_wide_path() -> None:
    rng = np.random.default_rng(0)
    program = product(rng, (9, 20, 40), (0, 0), (1 << 16, 1 << 16))
    assert check(program, kernel_cases.feeds(rng, program, 2)) == "words-matmul"


def softmax(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    axis: int,
    form: int,
    bits: int,
    largest: int,
    rounding: str = "half_even",
) -> Program:
    """Powers up to `largest`; multipliers of 8 bits, so that a whole line gives 255."""
    steps = np.arange(-255, 1) * rng.uniform(0.005, 0.2)
    consts = {
        "table": np.rint(np.exp(steps) * largest).astype(np.int32),
        "mult": np.array([255], dtype=np.int32),
        "shift": np.array([0], dtype=np.int32),
    }
    attrs = {"rounding": rounding, "form": form, "bits": bits, "axis": axis}
    x, y = spec(rng, "x", shape), spec(rng, "y", shape)
    return build(rng, Op("softmax_lut", "layer", ("x",), ("y",), attrs, consts), [x], y)


@pytest.mark.parametrize("shape", [(3, 5, 197), (2, 49), (1000,), (6, 4, 21), (1,)])
@pytest.mark.parametrize("form", [0, 1])
@pytest.mark.parametrize("rounding", ["half_even", "half_up", "floor"])
def test_softmax(shape: tuple[int, ...], form: int, rounding: str) -> None:
    rng = np.random.default_rng([len(shape), form, len(rounding)])
    for axis in range(len(shape)):
        for bits in (1, 8, 15):
            program = softmax(rng, shape, axis, form, bits, 1 << 15, rounding)
            feeds = kernel_cases.feeds(rng, program, 3)
            assert check(program, feeds) == "vector-softmax"
            check_parts(program, feeds)


def test_softmax_of_equal_values_divides_without_a_rest() -> None:
    rng = np.random.default_rng(5)
    for length in range(1, 300, 7):
        program = softmax(rng, (length,), 0, length % 2, 15, 1 << 20)
        feeds = kernel_cases.feeds(rng, program, 4)
        for index, row in enumerate(feeds["x"]):
            row[...] = -100 + 50 * index if program.tensors["x"].dtype == "int8" else 50 * index
        assert check(program, feeds) == "vector-softmax"


def test_softmax_past_float64_takes_the_wide_path() -> None:
    rng = np.random.default_rng(6)
    program = softmax(rng, (4, 100), 1, 0, 29, 1 << 30)
    assert check(program, kernel_cases.feeds(rng, program, 2)) == "int64-softmax"
