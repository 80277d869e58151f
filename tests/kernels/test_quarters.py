"""Sums, products and lines of channels by whole vectors: every rest of a vector, several rows as
one, every zero point and clamp, threads that begin anywhere. test_registry.py meets them by chance.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support import kernel_cases
from support.kernel_cases_check import check, check_parts
from support.kernel_cases_compute import build, spec

from r329fast.kernels.ir.quarters import quarter_order, quarter_step
from r329fast.kernels.leaves.vector import row_width
from r329fast.kernels.runtime.isa import EMULATED, ISA, ISAS
from r329fast.program.program import Op, Program

SHAPES = [(1, 1, 5), (3, 7, 16), (5, 3, 33), (2, 9, 64), (4, 4, 72), (1, 3, 240), (2, 2, 2100)]


def one(
    rng: np.random.Generator,
    kind: str,
    shape: tuple[int, int, int],
    act: str,
    reach: float,
    consts: dict[str, np.ndarray],
    other: tuple[int, int, int] | None = None,
    **attrs: Any,
) -> Program:
    """One op whose results spread over the output's range, by multipliers near 2**14."""
    count = shape[-1] if kind == "batchnorm" else 1
    mult = rng.integers(1 << 13, 1 << 14, count).astype(np.int32)
    shift = np.full(count, round(np.log2(reach * 2.0**14 / 150)), dtype=np.int32)
    limits = {"clip_min": 0, "clip_max": int(rng.integers(10, 200)) * 256, "slope_shift": 0}
    names, tensors = ("x",), [spec(rng, "x", shape)]
    if other:
        names, tensors = ("x", "b"), [*tensors, spec(rng, "b", other)]
    op = Op(
        kind, "layer", names, ("y",), {"act": act, "rounding": "half_even", **limits, **attrs},
        {**consts, "mult": mult, "shift": shift},
    )  # fmt: skip
    return build(rng, op, tensors, spec(rng, "y", shape))


def agrees(rng: np.random.Generator, program: Program, path: str) -> None:
    assert check(program, kernel_cases.feeds(rng, program, 3)) == path
    check_parts(program, kernel_cases.feeds(rng, program, 3))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("act", ["NONE", "RELU", "CLIP"])
@pytest.mark.parametrize("method", ["ADD", "SUB"])
def test_sums(shape: tuple[int, int, int], act: str, method: str) -> None:
    rng = np.random.default_rng([shape[2], len(act), len(method)])
    consts = {"scales": rng.integers(1, 256, 2).astype(np.int32)}
    program = one(rng, "eltwise", shape, act, 128 * 256, consts, shape, method=method)
    agrees(rng, program, "vector-add")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("act", ["NONE", "RELU", "CLIP"])
@pytest.mark.parametrize("alike", [True, False])
def test_products(shape: tuple[int, int, int], act: str, alike: bool) -> None:
    rng = np.random.default_rng([shape[2], len(act), alike])
    consts = {"scales": np.ones(2, dtype=np.int32)}
    other = shape if alike else (1, 1, shape[2])
    program = one(rng, "eltwise", shape, act, 128 * 128, consts, other, method="MUL")
    agrees(rng, program, "vector-multiply" if alike or shape[:2] == (1, 1) else "vector-scale")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("act", ["NONE", "RELU", "CLIP"])
def test_lines_of_channels(shape: tuple[int, int, int], act: str) -> None:
    rng = np.random.default_rng([shape[2], len(act)])
    consts = {
        "weights": rng.integers(-9000, 9000, shape[2]).astype(np.int32),
        "bias": rng.integers(-(1 << 20), 1 << 20, shape[2]).astype(np.int32),
    }
    agrees(rng, one(rng, "batchnorm", shape, act, 1 << 20, consts), "vector-affine")


@pytest.mark.parametrize("isa", [*ISAS, *EMULATED], ids=lambda isa: isa.name)
def test_quarters_cover_a_vector(isa: Any) -> None:
    assert sorted(quarter_order(isa)) == list(range(quarter_step(isa)))


@pytest.mark.parametrize("channels", [*range(1, 300), 1000, 2047, 2048, 2049, 5000])
def test_rows_as_one_begin_with_the_first_channel(channels: int) -> None:
    width = row_width(channels)
    assert width % channels == 0
    assert width % quarter_step(ISA) == 0 or width > 1024
