"""Slices that readers read in place: every reader, ranges anywhere, tensors that are kept."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from support.guard_pages import guarded_buffers

from r329fast.bench.random_programs import NetworkBuilder
from r329fast.kernels.conv.block_rows import POSSIBLE
from r329fast.kernels.runtime.isa import ISA, JIT
from r329fast.program.program import Program
from r329fast.reference import run_program
from r329fast.simulator.binding import PreparedProgram
from r329fast.simulator.simulator import Simulator

Reader = Callable[[NetworkBuilder, str], str]


def channels(b: NetworkBuilder, x: str, first: int, last: int) -> str:
    height, width, _ = b.shape(x)
    attrs = {"begin": (0, 0, first), "end": (height, width, last), "strides": (1, 1, 1)}
    return b.add("slice", (x,), (height, width, last - first), attrs, {})


READERS: dict[str, Reader] = {
    "1x1": lambda b, x: b.conv(x, 40, 1),
    "1x1 to few": lambda b, x: b.conv(x, 5, 1, act="CLIP"),
    "1x1/2": lambda b, x: b.conv(x, 24, 1, 2, pad=0),
    "3x3/2": lambda b, x: b.conv(x, 24, 3, 2),
    "5x5": lambda b, x: b.conv(x, 33, 5),
    "groups": lambda b, x: b.conv(x, b.shape(x)[2], 3, group=b.shape(x)[2] // 4),
    "depthwise 3x3": lambda b, x: b.conv(x, b.shape(x)[2], 3, group=b.shape(x)[2]),
    "depthwise 3x3/2": lambda b, x: b.conv(x, b.shape(x)[2], 3, 2, group=b.shape(x)[2]),
    "depthwise 5x5": lambda b, x: b.conv(x, b.shape(x)[2], 5, group=b.shape(x)[2]),
    "depthwise 7x7/2": lambda b, x: b.conv(x, b.shape(x)[2], 7, 2, group=b.shape(x)[2]),
    "two filters a channel": lambda b, x: b.conv(x, 2 * b.shape(x)[2], 3, group=b.shape(x)[2]),
}
RANGES = [(0, 16), (16, 40), (37, 65), (1, 5), (64, 72)]


def network(reader: Reader, part: tuple[int, int], size: int = 11) -> Program:
    b = NetworkBuilder((size, size, 3))
    x = b.conv("input", 72, 3)
    return b.done(reader(b, channels(b, x, *part)))


def images(program: Program, count: int) -> np.ndarray:
    shape = program.tensors["input"].shape
    return np.random.default_rng(count).integers(-128, 128, (count, *shape)).astype(np.int8)


def agrees(program: Program, threads: int = 1, count: int = 3) -> None:
    """Outputs alone, and every tensor."""
    x = images(program, count)
    expected = run_program(program, {"input": x})
    simulator = Simulator(program, threads=threads)
    for name, found in simulator.run(x).items():
        assert np.array_equal(found, expected[name]), name
    for name, found in simulator.run(x, keep="all").items():
        assert np.array_equal(found, expected[name]), name


@pytest.mark.parametrize("part", RANGES)
@pytest.mark.parametrize("reader", READERS)
def test_readers_of_a_range(reader: str, part: tuple[int, int]) -> None:
    agrees(network(READERS[reader], part))


@pytest.mark.parametrize("size", [1, 2, 5, 14, 30])
def test_maps_of_any_size(size: int) -> None:
    for reader in ("1x1", "5x5", "depthwise 3x3"):
        agrees(network(READERS[reader], (7, 40), size), count=2)


@pytest.mark.parametrize("reader", ["depthwise 3x3", "depthwise 3x3/2", "depthwise 5x5"])
def test_wide_maps_that_are_read_in_place(reader: str) -> None:
    agrees(network(READERS[reader], (3, 70), 41), count=2)


@pytest.mark.parametrize("reader", ["depthwise 3x3", "depthwise 3x3/2", "depthwise 5x5", "5x5"])
def test_ranges_of_many_channels_have_scratch_enough(reader: str) -> None:
    """What a reader needs may grow with the bytes from one position to the next."""
    b = NetworkBuilder((9, 41, 600))
    program = b.done(READERS[reader](b, channels(b, "input", 64, 128)))
    # the int16 form of depthwise convolution reads whole tensors
    assert len(views(program)) == int(POSSIBLE or reader == "5x5")
    with guarded_buffers():
        agrees(program, count=2)


def test_threads_share_readers_of_a_range() -> None:
    b = NetworkBuilder((56, 56, 3))
    x = b.conv("input", 96, 3)
    parts = [channels(b, x, first, first + 32) for first in (0, 32, 64)]
    made = [b.conv(part, 64, 1) for part in parts]
    program = b.done(b.concat(*made, *parts))
    agrees(program, threads=2, count=1)


def split(b: NetworkBuilder) -> tuple[str, str]:
    """As ShuffleNet has it: one half is computed, the other one goes by."""
    x = b.conv("input", 60, 3)
    left, right = channels(b, x, 0, 30), channels(b, x, 30, 60)
    return left, b.concat(left, b.conv(right, 30, 1))


def views(program: Program) -> list[str]:
    return sorted(PreparedProgram(program).views)


def test_slices_of_a_shuffle_network_are_not_computed() -> None:
    b = NetworkBuilder((9, 9, 3))
    _, y = split(b)
    program = b.done(y)
    assert len(views(program)) == 2
    agrees(program)
    binding = PreparedProgram(program).bind(2, frozenset(program.outputs), 1 << 30)
    made = {program.ops[index].kind for index, _ in binding.calls.stages}
    assert made == {"conv2d", "concat"}
    assert [path for name, path in Simulator(program).paths().items() if "slice" in name] == [
        "view"
    ] * 2


def test_what_another_op_or_the_outside_reads_is_computed() -> None:
    b = NetworkBuilder((9, 9, 3))
    left, y = split(b)
    program = b.done(y, left)  # an output
    assert len(views(program)) == 1
    agrees(program)
    b = NetworkBuilder((9, 9, 3))
    left, y = split(b)
    program = b.done(y, b.maxpool(left, 2, 2))  # a reader of whole tensors
    assert len(views(program)) == 1
    agrees(program)


def test_other_ranges_are_computed() -> None:
    b = NetworkBuilder((10, 10, 3))
    x = b.conv("input", 24, 3)
    attrs = {"begin": (2, 0, 0), "end": (10, 10, 24), "strides": (1, 1, 1)}
    rows = b.add("slice", (x,), (8, 10, 24), attrs, {})
    attrs = {"begin": (0, 0, 0), "end": (10, 10, 24), "strides": (1, 1, 2)}
    every = b.add("slice", (x,), (10, 10, 12), attrs, {})
    program = b.done(b.conv(rows, 16, 1), b.conv(every, 16, 1))
    assert views(program) == []
    agrees(program)


def test_a_range_of_a_range() -> None:
    b = NetworkBuilder((9, 9, 3))
    x = b.conv("input", 64, 3)
    inner = channels(b, channels(b, x, 8, 56), 4, 20)
    program = b.done(b.conv(inner, 16, 1))
    assert views(program) == [inner]
    agrees(program)


@pytest.mark.skipif(not (JIT and ISA.name == "vnni512"), reason="stretches are the same")
def test_ranges_across_stretches() -> None:
    """Early ops take fewer images at a time than the readers of what they make."""
    b = NetworkBuilder((32, 32, 3))
    x = b.conv("input", 64, 3)
    x = b.conv(x, 64, 3, 2)
    left, right = channels(b, x, 0, 32), channels(b, x, 32, 64)
    y = b.conv(b.concat(b.conv(left, 32, 1), b.conv(right, 32, 3, 1, group=32)), 16, 3, 2)
    program = b.done(y, b.concat(right, b.conv(right, 8, 1)))
    x_in = images(program, 13)
    expected = run_program(program, {"input": x_in})
    prepared = PreparedProgram(program)
    for budget in (1 << 16, 1 << 18, 1 << 20):
        bound = prepared.bind(13, frozenset(program.outputs) | {"input"}, budget)
        flat = x_in.reshape(-1).view(np.uint8)
        np.bitwise_xor(flat, prepared.flips["input"], out=bound.views["input"])
        bound.calls.run()
        for name in program.outputs:
            found = bound.views[name] ^ prepared.flips[name]
            assert np.array_equal(found.view(np.int8), expected[name].reshape(-1)), budget
