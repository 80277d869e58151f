"""Average pools, sums over axes, norms and responses, on purpose: words that are full, windows of
more than a word holds, every class of vectors, places outside the image. test_registry.py meets
them by chance.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import kernel_cases
from support.kernel_cases_check import check
from support.kernel_cases_compute import build, spec

from r329fast.kernels.ir.mean import MOST
from r329fast.program.program import Op, Program
from r329fast.quantization.tables import inverse_root_table

CHANNELS = (1, 3, 4, 7, 8, 13, 16, 31, 32, 33, 63, 64, 65, 150)


def mean_consts(
    rng: np.random.Generator, counts: np.ndarray, ratio: float
) -> dict[str, np.ndarray]:
    """Multipliers of 8 bits that divide by the counts, and scale."""
    shift = np.floor(np.log2(255 * np.maximum(counts, 1) / ratio)).astype(np.int32)
    mult = np.rint(ratio * 2.0**shift / np.maximum(counts, 1)).astype(np.int32)
    return {"mult": mult, "shift": shift}


def average(
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    pads: tuple[int, int, int, int],
    everywhere: bool,
    rounding: str = "half_even",
) -> Program:
    """everywhere: whether each position has its own count, as without the padding."""
    out = tuple(
        (shape[i] + pads[i] + pads[i + 2] - (kernel[i] - 1) * dilation[i] - 1) // stride[i] + 1
        for i in (0, 1)
    )
    counts = np.full((1, 1), kernel[0] * kernel[1])
    if everywhere:
        counts = rng.integers(1, kernel[0] * kernel[1] + 1, out)
    x, y = spec(rng, "x", shape), spec(rng, "y", (*out, shape[2]))
    consts = mean_consts(rng, counts, float(rng.choice([1.0, 1.0, 0.8, 2.3])))
    attrs = {
        "kernel": kernel, "stride": stride, "dilation": dilation, "pads": pads,
        "rounding": rounding,
    }  # fmt: skip
    return build(rng, Op("avgpool", "layer", ("x",), ("y",), attrs, consts), [x], y)  # type: ignore[arg-type]


@st.composite
def averages(draw: st.DrawFn) -> tuple[Program, np.random.Generator]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kernel = (draw(st.integers(1, 9)), draw(st.integers(1, 9)))
    dilation = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    least = [(kernel[i] - 1) * dilation[i] + 1 for i in (0, 1)]
    size = [draw(st.integers(0, 9)) + side for side in least]
    shape = (size[0], size[1], draw(st.sampled_from(CHANNELS)))
    stride = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    pads = tuple(draw(st.integers(0, 11)) for _ in range(4))
    program = average(rng, shape, kernel, stride, dilation, pads, draw(st.booleans()))  # type: ignore[arg-type]
    return program, rng


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(averages(), st.integers(1, 3))
def test_averages_of_any_window(case: tuple[Program, np.random.Generator], count: int) -> None:
    program, rng = case
    assert check(program, kernel_cases.feeds(rng, program, count)) == "vector-avgpool"


@pytest.mark.parametrize("rounding", ["half_up", "floor"])
@pytest.mark.parametrize("everywhere", [False, True])
def test_averages_of_other_roundings(rounding: str, everywhere: bool) -> None:
    rng = np.random.default_rng(7)
    sizes = ((9, 8, 70), (3, 3), (2, 1), (1, 2), (1, 2, 0, 1))
    program = average(rng, *sizes, everywhere=everywhere, rounding=rounding)
    assert check(program, kernel_cases.feeds(rng, program, 2)) == "int32-avgpool"


# as large as words hold, one more, and more rows than are summed at once
@pytest.mark.parametrize("kernel", [(MOST, 1), (1, MOST), (MOST + 1, 1), (2, 129), (600, 2)])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_averages_of_full_words(kernel: tuple[int, int], dtype: str) -> None:
    rng = np.random.default_rng(kernel[0])
    shape = (kernel[0] + 1, kernel[1] + 2, 37)
    program = average(rng, shape, kernel, (1, 1), (1, 1), (2, 1, 0, 0), False)
    x = program.tensors["x"] = spec(rng, "x", shape, dtype)
    largest = np.full((2, *shape), x.qmax, dtype=dtype)
    path = check(program, {"x": largest})
    assert path == ("vector-avgpool" if np.prod(kernel) <= MOST else "int32-avgpool")
    check(program, kernel_cases.feeds(rng, program, 2))


@pytest.mark.parametrize("axes", [(0, 1), (0,), (1,)])
@pytest.mark.parametrize("channels", [2, 37, 511, 513, 1030])
@pytest.mark.parametrize("side", [1, 5, 15, 23])
def test_sums_in_parts(axes: tuple[int, ...], channels: int, side: int) -> None:
    """Parts of 512 neighbours, small maps as windows; more rows than a word holds."""
    rng = np.random.default_rng(channels + side)
    shape = (side, side + 1, channels)
    kept = tuple(n for axis, n in enumerate(shape) if axis not in axes)
    counts = np.array([np.prod([shape[axis] for axis in axes])])
    consts = mean_consts(rng, counts, 1.1)
    attrs = {"rounding": "half_even", "axes": axes}
    op = Op("reduce_sum", "layer", ("x",), ("y",), attrs, consts)  # type: ignore[arg-type]
    program = build(rng, op, [spec(rng, "x", shape)], spec(rng, "y", kept))
    path = check(program, kernel_cases.feeds(rng, program, 2))
    small = counts[0] <= MOST and np.prod(shape) <= 1 << 17
    assert path == ("vector-avgpool" if small else "vector-reduce")
    info = np.iinfo(program.tensors["x"].dtype)
    largest = np.full((2, *shape), info.max, dtype=program.tensors["x"].dtype)
    check(program, {"x": largest})


@pytest.mark.parametrize("axes", [(2,), (1, 2), (0, 1, 2)])
@pytest.mark.parametrize("channels", [1, 16, 37, 700])
def test_sums_of_neighbours(axes: tuple[int, ...], channels: int) -> None:
    """Lines of any length; more of them than are finished at once."""
    rng = np.random.default_rng(channels)
    shape = (25, 27, channels)
    kept = tuple(n for axis, n in enumerate(shape) if axis not in axes) or (1,)
    consts = mean_consts(rng, np.array([np.prod([shape[axis] for axis in axes])]), 0.9)
    attrs = {"rounding": "half_even", "axes": axes}
    op = Op("reduce_sum", "layer", ("x",), ("y",), attrs, consts)  # type: ignore[arg-type]
    program = build(rng, op, [spec(rng, "x", shape)], spec(rng, "y", kept))
    assert check(program, kernel_cases.feeds(rng, program, 2)) == "vector-lines"


@pytest.mark.parametrize("rounding", ["half_even", "half_up", "floor"])
@pytest.mark.parametrize("size", [1, 2, 5, 9])
@pytest.mark.parametrize("channels", [1, 4, 33, 64])
@pytest.mark.parametrize("sum_shift", [0, 1, 9, 14])
def test_responses(rounding: str, size: int, channels: int, sum_shift: int) -> None:
    """Every part of the table, and sums beyond it."""
    rng = np.random.default_rng([size, channels, sum_shift])
    consts = {
        "table": np.sort(rng.integers(0, 65536, 256))[::-1].astype(np.int32),
        "mult": rng.integers(1, 256, 1).astype(np.int32),
        "shift": np.array([23], dtype=np.int32),
    }
    sum_mult = int(rng.integers(1, 2 << sum_shift))
    attrs = {"rounding": rounding, "size": size, "sum_mult": sum_mult, "sum_shift": sum_shift}
    op = Op("lrn", "layer", ("x",), ("y",), attrs, consts)  # type: ignore[arg-type]
    shape = (3, 5, channels)
    program = build(rng, op, [spec(rng, "x", shape)], spec(rng, "y", shape))
    assert check(program, kernel_cases.feeds(rng, program, 2)) == "vector-lrn"


@pytest.mark.parametrize("groups", [1, 3])
def test_norms_of_more_rows_than_int32_holds(groups: int) -> None:
    """255 squared in 182 x 182 rows."""
    rng = np.random.default_rng(groups)
    shape = (182, 182, 3)
    consts = {
        "weights": rng.integers(-100, 100, 3).astype(np.int16),
        "bias": rng.integers(-1000, 1000, 3).astype(np.int32),
        "table": inverse_root_table().astype(np.int32),
        "mult": np.array([90], dtype=np.int32),
        "shift": np.array([13], dtype=np.int32),
    }
    attrs = {"rounding": "half_even", "axis": 0, "groups": groups, "var_shift": 15}
    op = Op("standardize", "layer", ("x",), ("y",), attrs | {"norm_shift": 0}, consts)  # type: ignore[arg-type]
    program = build(rng, op, [spec(rng, "x", shape)], spec(rng, "y", shape))
    info = np.iinfo(program.tensors["x"].dtype)
    ends = rng.choice([info.max, info.max - 1], (1, *shape), p=[0.9, 0.1])
    assert check(program, {"x": ends.astype(info.dtype)}) == "vector-norm"
    assert check(program, kernel_cases.feeds(rng, program, 1)) == "vector-norm"
