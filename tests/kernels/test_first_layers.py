"""3x3 on three channels by positions in the lanes: every rest of outputs, columns and padding."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import kernel_cases
from support.guard_pages import guarded_buffers
from support.kernel_cases_check import check, check_parts

from r329fast.kernels.conv import position_lanes
from r329fast.kernels.conv.layout import conv_layout
from r329fast.kernels.ir import position_lanes as positions_ir
from r329fast.kernels.runtime.isa import ISA, JIT
from r329fast.program.program import Program

PATH = f"{ISA.name}-positions"


def layer(
    rng: np.random.Generator,
    size: tuple[int, int],
    outs: int,
    strides: tuple[int, int],
    pads: tuple[int, int, int, int],
    act: str = "RELU",
    dtype: str = "uint8",
) -> Program:
    """One whose float32 epilogue is exact; a padding value for each channel."""
    program = kernel_cases.convolution(
        rng, (*size, 3), outs, (3, 3), strides, pads=pads, chosen=act, dtype=dtype
    )
    op = program.ops[0]
    op.attrs["rounding"] = "half_even"
    low = 0 if dtype == "uint8" else -128
    op.consts["pad_values"] = rng.integers(low, low + 256, 3).astype(np.int32)
    op.consts["bias"] = rng.integers(-9000, 9000, outs).astype(np.int32)
    op.consts["mult"] = rng.integers(16384, 32768, outs).astype(np.int32)
    op.consts["shift"] = rng.integers(22, 25, outs).astype(np.int32)
    return program


def taken(program: Program) -> bool:
    """Whether the path must take it, where the processor has it."""
    _, width, outs = program.tensors["y"].shape
    return (
        position_lanes.POSSIBLE
        and outs % 8 == 0
        and width >= positions_ir.LANES
        and program.ops[0].integers("stride")[1] <= 2
        and program.ops[0].integers("pads")[1] <= 2
    )


@st.composite
def layers(draw: st.DrawFn) -> tuple[Program, np.random.Generator]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    strides = draw(st.sampled_from(((2, 2), (1, 1), (2, 1), (1, 2), (3, 3))))
    pads = tuple(draw(st.integers(0, 3)) for _ in range(4))
    size = draw(st.integers(3, 9)), draw(st.integers(3, 100))
    outs = draw(st.one_of(st.integers(1, 10).map(lambda n: 8 * n), st.integers(1, 70)))
    act, dtype = (
        draw(st.sampled_from(names)) for names in (("NONE", "RELU", "CLIP"), ("int8", "uint8"))
    )
    return layer(rng, size, outs, strides, pads, act, dtype), rng  # type: ignore[arg-type]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(layers(), st.integers(1, 3))
def test_three_channels(case: tuple[Program, np.random.Generator], count: int) -> None:
    program, rng = case
    path = check(program, kernel_cases.feeds(rng, program, count))
    assert ("positions" in path or "winograd" in path) >= taken(program)


@pytest.mark.parametrize("outs", [8, 16, 24, 32, 40, 48, 56, 64, 72, 96])
@pytest.mark.parametrize("width", [31, 32, 33, 47, 64, 99])
@pytest.mark.parametrize("act", ["RELU", "CLIP"])
def test_every_rest_of_outputs_in_three_parts(outs: int, width: int, act: str) -> None:
    rng = np.random.default_rng(outs * width)
    program = layer(rng, (7, width), outs, (2, 2), (1, 1, 1, 1), act)
    path = check(program, kernel_cases.feeds(rng, program, 2))
    assert path == PATH or not taken(program)
    check_parts(program, kernel_cases.feeds(rng, program, 3))


@pytest.mark.skipif(
    not JIT or not sys.platform.startswith("linux"), reason="needs mprotect and compiled kernels"
)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("pad", [0, 1, 2])
@pytest.mark.parametrize("width", [34, 37, 60])
def test_nothing_outside_an_image_is_touched(stride: int, pad: int, width: int) -> None:
    with guarded_buffers():
        for outs in (8, 24, 32, 48):
            rng = np.random.default_rng(outs)
            program = layer(rng, (5, width), outs, (1, stride), (pad, pad, pad, pad))
            check(program, kernel_cases.feeds(rng, program, int(rng.integers(1, 4))))


def test_steps_take_every_byte_of_a_window_once() -> None:
    taken_bytes = [place for four in positions_ir.ORDER for place in four if place is not None]
    assert sorted(taken_bytes) == [(row, byte) for row in range(3) for byte in range(9)]
    assert len(positions_ir.ORDER) == positions_ir.STEPS


def test_other_forms_are_left_to_the_tile() -> None:
    rng = np.random.default_rng(5)
    for change in ({"dilation": (1, 2)}, {"group": 3}):
        program = layer(rng, (9, 60), 24, (2, 2), (1, 1, 1, 1))
        program.ops[0].attrs.update(change)
        if "group" in change:
            program.ops[0].consts["weights"] = program.ops[0].consts["weights"][..., :1].copy()
        layout = conv_layout(program.ops[0], program.tensors["x"], program.tensors["y"])
        assert position_lanes.prepare_positions(layout) is None
