"""Kernels stay inside their memory: arena and scratch end at pages that nobody may touch.

Compiled code that goes past the slack behind a buffer kills the process, and with it the run.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import pytest
from support import kernel_cases
from support.guard_pages import guarded_buffers

from r329fast.bench import random_programs
from r329fast.kernels.runtime.isa import JIT
from r329fast.program.blocks import stretches
from r329fast.program.program import Program
from r329fast.reference.interpreter import run_program
from r329fast.simulator import workers
from r329fast.simulator.simulator import Simulator

pytestmark = pytest.mark.skipif(
    not JIT or not sys.platform.startswith("linux"), reason="needs mprotect and compiled kernels"
)


@pytest.fixture
def _guarded_buffers() -> Iterator[None]:
    with guarded_buffers():
        yield


def check(program: Program, rng: np.random.Generator) -> None:
    feeds = kernel_cases.feeds(rng, program, int(rng.integers(1, 9)))
    found = Simulator(program).run(feeds)
    expected = run_program(program, feeds)
    for name in program.outputs:
        assert np.array_equal(found[name], expected[name])


@pytest.mark.usefixtures("_guarded_buffers")
@pytest.mark.parametrize("images", [3, 8, 16])
@pytest.mark.parametrize("mode", ["auto", "1"])
def test_stretches(monkeypatch: pytest.MonkeyPatch, images: int, mode: str) -> None:
    """An op that runs with fewer images than a later one may need more scratch than with many."""
    monkeypatch.setenv("R329FAST_WINOGRAD", mode)
    monkeypatch.setattr(workers, "_BUDGET", 40_000)
    builder = random_programs.NetworkBuilder((7, 8, 96))
    name = builder.conv("input", 320, 3, 1, "RELU")
    program = builder.done(builder.conv(builder.conv(name, 64, 3, 1, "RELU"), 8, 1, 1, "NONE"))
    assert len(stretches(program, images, 40_000)) > 1
    rng = np.random.default_rng(images)
    x = rng.integers(-128, 128, (images, 7, 8, 96)).astype(np.int8)
    found = Simulator(program).run(x)
    expected = run_program(program, {"input": x})
    for name in program.outputs:
        assert np.array_equal(found[name], expected[name])


@pytest.mark.usefixtures("_guarded_buffers")
@pytest.mark.parametrize("kind", kernel_cases.CASES)
def test_every_kind(kind: str) -> None:
    for seed in range(15):
        rng = np.random.default_rng(seed)
        check(kernel_cases.CASES[kind](rng), rng)


@pytest.mark.usefixtures("_guarded_buffers")
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (5, 5), (2, 7)])
@pytest.mark.parametrize("depthwise", [False, True])
def test_convolutions(kernel: tuple[int, int], depthwise: bool) -> None:
    for seed in range(12):
        rng = np.random.default_rng(seed)
        channels, out = (int(v) for v in rng.integers(2, 150, 2))
        shape = (int(rng.integers(kernel[0], 30)), int(rng.integers(kernel[1], 30)), channels)
        stride = int(rng.integers(1, 4))
        program = kernel_cases.convolution(
            rng,
            shape,
            channels if depthwise else out,
            kernel,
            (stride, stride),
            pads=tuple(int(rng.integers(0, side)) for side in (*kernel, *kernel)),  # type: ignore[arg-type]
            group=channels if depthwise else 1,
            chosen=("NONE", "RELU", "CLIP", "LEAKY")[seed % 4],
            kind="depthwise_conv2d" if depthwise else "conv2d",
        )
        program.ops[0].attrs["rounding"] = ("half_even", "half_up")[seed % 2]
        check(program, rng)
