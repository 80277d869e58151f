"""Forms that the smaller networks take: windows of any size by dot products, parts of groups,
products, copies. Each is met on purpose here; test_registry.py meets them by chance.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import kernel_cases
from support.kernel_cases_check import check
from support.kernel_cases_compute import act as attributes
from support.kernel_cases_compute import build, spec

from r329fast.kernels.conv import block_rows
from r329fast.kernels.conv.direct import PACKED, PARTS, choose_mode
from r329fast.kernels.conv.layout import conv_layout, merged_groups, panels
from r329fast.kernels.runtime.isa import ISA
from r329fast.program.program import Op, Program

TAPS = f"{ISA.name}-taps"


def bounded(program: Program, rng: np.random.Generator, outs: int) -> Program:
    """The same with factors for which the float32 epilogue is exact, as calibrated layers have."""
    op = program.ops[0]
    op.attrs["rounding"] = "half_even"
    op.attrs["pad_value"] = int(rng.integers(0, 128))
    op.consts["bias"] = rng.integers(-9000, 9000, outs).astype(np.int32)
    sums = 9000 + op.consts["weights"][0].size * 128 * 255
    op.consts["mult"] = rng.integers(1, 32768, outs).astype(np.int32)
    least = np.ceil(np.log2(op.consts["mult"] * float(sums) * 256 / 2**21))
    shift = np.maximum(np.log2(op.consts["mult"] * float(sums) / 300), least)
    op.consts["shift"] = np.ceil(shift).astype(np.int32)
    return program


@st.composite
def windows(draw: st.DrawFn) -> tuple[Program, np.random.Generator, int]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    channels, multiplier = draw(st.integers(2, 150)), draw(st.sampled_from((1, 1, 2, 3)))
    kernel = draw(st.sampled_from(((5, 5), (7, 7), (1, 5), (5, 1), (3, 3), (2, 4), (9, 11))))
    stride, dilation = draw(st.integers(1, 3)), draw(st.sampled_from(((1, 1), (1, 1), (2, 1))))
    least = [(kernel[i] - 1) * dilation[i] + 1 for i in (0, 1)]
    height, width = (draw(st.integers(0, 12)) + side for side in least)
    pads = tuple(draw(st.integers(0, 3)) for _ in range(4))
    outs = channels * multiplier
    program = kernel_cases.convolution(
        rng, (height, width, channels), outs, kernel, (stride, stride), dilation, pads, channels,  # type: ignore[arg-type]
        draw(st.sampled_from(("NONE", "RELU", "CLIP"))), kind="depthwise_conv2d",
    )  # fmt: skip
    return bounded(program, rng, outs), rng, multiplier


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(windows(), st.integers(1, 3))
def test_depthwise_of_any_window(
    case: tuple[Program, np.random.Generator, int], count: int
) -> None:
    program, rng, multiplier = case
    path = check(program, kernel_cases.feeds(rng, program, count))
    if block_rows.POSSIBLE and program.tensors["y"].shape[1] >= 4:
        op, output = program.ops[0], program.tensors["y"]
        kernel, strides = op.attrs["kernel"], op.attrs["stride"]
        square = kernel in ((3, 3), (5, 5), (7, 7)) and strides in ((1, 1), (2, 2))
        simple = multiplier <= 2 and op.attrs["dilation"] == (1, 1) and output.shape[0] >= 2
        if square and simple:  # where their conditions hold: test_forms.py
            assert path in (f"{ISA.name}-quads", TAPS)
        else:
            assert path == TAPS


# groups, inputs and outputs of each: several in a tile, a last part of fewer, one alone
GROUPS = [(32, 4, 2), (13, 8, 4), (10, 16, 8), (3, 24, 24), (2, 40, 48), (5, 3, 7), (7, 64, 1)]


@pytest.mark.parametrize(("groups", "inputs", "outs"), GROUPS)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(7, 7), (9, 17)])
def test_groups_side_by_side(
    size: tuple[int, int], stride: int, groups: int, inputs: int, outs: int
) -> None:
    rng = np.random.default_rng(groups * inputs + stride)
    for dilation in ((1, 1), (2, 2)):
        program = kernel_cases.convolution(
            rng, (*size, groups * inputs), groups * outs, (3, 3), (stride, stride), dilation,
            (1, 1, 1, 1), groups, "RELU",
        )  # fmt: skip
        program = bounded(program, rng, groups * outs)
        check(program, kernel_cases.feeds(rng, program, 2))
        layout = conv_layout(program.ops[0], program.tensors["x"], program.tensors["y"])
        banded = ISA.element == 1 and dilation == (1, 1)
        assert choose_mode(layout) == (PARTS if banded else PACKED)
        parts = merged_groups(layout)
        assert sum(map(len, parts.weights)) == groups * outs
        assert parts.outs <= max(ISA.width // 2, outs)


@st.composite
def small_groups(draw: st.DrawFn) -> tuple[Program, np.random.Generator]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = draw(st.sampled_from((4, 8, 16)))
    groups = draw(st.integers(2, 200 // size))
    kernel = draw(st.sampled_from(((3, 3), (3, 3), (1, 1), (5, 2), (1, 4))))
    strides, dilation = (tuple(draw(st.integers(1, 3)) for _ in range(2)) for _ in range(2))
    least = [(kernel[i] - 1) * dilation[i] + 1 for i in (0, 1)]
    height, width = (draw(st.integers(0, 12)) + side for side in least)
    pads = tuple(draw(st.integers(0, 3)) for _ in range(4))
    outs = groups * size
    program = kernel_cases.convolution(
        rng, (height, width, outs), outs, kernel, strides, dilation, pads, groups,  # type: ignore[arg-type]
        draw(st.sampled_from(("NONE", "RELU", "CLIP"))),
        dtype=draw(st.sampled_from(("int8", "uint8"))),
    )  # fmt: skip
    return bounded(program, rng, outs), rng


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(small_groups(), st.integers(1, 3))
def test_groups_of_few_channels(case: tuple[Program, np.random.Generator], count: int) -> None:
    program, rng = case
    path = check(program, kernel_cases.feeds(rng, program, count))
    if block_rows.POSSIBLE:
        wide = program.tensors["y"].shape[1] >= 4
        assert path == f"{ISA.name}-{'lanes' if wide else 'groups'}"


@pytest.mark.parametrize("shape", [(5, 9, 24), (4, 4, 100), (3, 7, 33), (1, 1, 7), (2, 3, 1)])
@pytest.mark.parametrize("act", ["NONE", "RELU", "CLIP"])
@pytest.mark.parametrize("alike", [True, False])
def test_products(shape: tuple[int, int, int], act: str, alike: bool) -> None:
    rng = np.random.default_rng(sum(shape))
    second = shape if alike else (1, 1, shape[2])
    for types in (("int8", "int8"), ("uint8", "int8"), ("uint8", "uint8")):
        a, b = spec(rng, "a", shape, types[0]), spec(rng, "b", second, types[1])
        y = spec(rng, "y", shape)
        consts = {
            "scales": np.ones(2, np.int32),
            "mult": np.array([rng.integers(1, 32768)], np.int32),
            "shift": np.array([22], np.int32),
        }
        attrs = attributes(rng, shape[2], consts, act) | {"method": "MUL"}
        attrs["rounding"] = "half_even"
        program = build(rng, Op("eltwise", "l", ("a", "b"), ("y",), attrs, consts), [a, b], y)
        path = check(program, kernel_cases.feeds(rng, program, 3))
        assert path in ("vector-multiply", "vector-scale", "vector-eltwise")
        assert path == ("vector-multiply" if shape == second else "vector-scale")


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 58, 64, 65, 130, 200])
def test_copies_of_any_length(channels: int) -> None:
    rng = np.random.default_rng(channels)
    x = spec(rng, "x", (3, 5, channels + 5), "int8")
    y = replace(x, name="y", shape=(3, 5, channels))
    attrs = {"begin": (0, 0, 3), "end": (3, 5, channels + 3), "strides": (1, 1, 1)}
    program = build(rng, Op("slice", "l", ("x",), ("y",), dict(attrs)), [x], y)
    assert check(program, kernel_cases.feeds(rng, program, 2)) == "runs"
    pairs = replace(x, shape=(3, 5, 2 * channels))
    shuffle = Op("channel_shuffle", "l", ("x",), ("y",), {"group": 2})
    program = build(rng, shuffle, [pairs], replace(pairs, name="y"))
    assert check(program, kernel_cases.feeds(rng, program, 2)) == "vector-shuffle"


@pytest.mark.parametrize("outs", range(1, 3 * ISA.width + 2))
def test_panels_cover_all_columns_by_full_tiles(outs: int) -> None:
    made = panels(outs)
    covered = {column for first, columns in made for column in range(first, first + columns)}
    assert covered >= set(range(outs))
    full = outs >= ISA.width // 2
    assert all(first >= 0 and (not full or first + columns <= outs) for first, columns in made)
    unit = ISA.slim or ISA.width // 2
    least = -(-outs // unit) * unit
    assert sum(columns for _, columns in made) == least  # no products more than padding costs


@pytest.mark.parametrize("outs", [1, 5, 8, 10, 16, 17, 24, 25, 31, 33, 40, 52, 58, 63, 80])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3)])
def test_columns_of_every_rest(outs: int, kernel: tuple[int, int]) -> None:
    rng = np.random.default_rng(outs)
    pads = (kernel[0] // 2,) * 4
    program = kernel_cases.convolution(rng, (7, 15, 19), outs, kernel, pads=pads, chosen="RELU")
    check(bounded(program, rng, outs), kernel_cases.feeds(rng, program, 3))
