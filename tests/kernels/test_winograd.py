"""Exact Winograd: the integers of the reference for any shape, weights and inputs, and the choice.

test_isa.py runs this file on the other paths; NUMBA_DISABLE_JIT=1 with -k small runs the
un-jitted twins.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import kernel_cases
from support.kernel_cases_check import check

from r329fast.bench import random_programs
from r329fast.errors import UsageError
from r329fast.kernels import prepare
from r329fast.kernels.conv import choice as conv_choice
from r329fast.kernels.conv import winograd_tiling, winograd_weights
from r329fast.kernels.conv.layout import ConvLayout, conv_layout
from r329fast.kernels.conv.winograd import group_panels
from r329fast.kernels.leaves.winograd import WORDS
from r329fast.kernels.runtime.isa import ISA
from r329fast.program.program import Program
from r329fast.simulator.simulator import Simulator

WINOGRAD = f"winograd4 {ISA.name}"


@pytest.fixture(autouse=True)
def _forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(conv_choice.VARIABLE, "1")


def three_by_three(
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    out: int,
    pads: tuple[int, int, int, int] = (1, 1, 1, 1),
    chosen: str = "NONE",
    dtype: str | None = None,
    wide: bool = False,
) -> Program:
    return kernel_cases.convolution(
        rng, shape, out, (3, 3), pads=pads, chosen=chosen, dtype=dtype, wide=wide
    )


@st.composite
def cases(draw: st.DrawFn) -> tuple[Program, np.random.Generator]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pads = tuple(draw(st.integers(0, 2)) for _ in range(4))
    sizes = [draw(st.integers(max(1, 3 - pads[i] - pads[i + 2]), 30)) for i in (0, 1)]
    shape = (sizes[0], sizes[1], draw(st.integers(1, 70)))
    act = draw(st.sampled_from(kernel_cases.ACTS))
    return three_by_three(rng, shape, draw(st.integers(1, 70)), pads, act), rng  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases(), st.integers(1, 3))
def test_any_shape(case: tuple[Program, np.random.Generator], count: int) -> None:
    program, rng = case
    check(program, kernel_cases.feeds(rng, program, count))


@pytest.mark.parametrize("shape", [(1, 1, 1), (4, 5, 3), (6, 6, 35)])
def test_small(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(shape[2])
    for dtype in ("int8", "uint8"):
        program = three_by_three(rng, shape, 19, dtype=dtype)
        assert check(program, kernel_cases.feeds(rng, program, 2)) == WINOGRAD


@pytest.mark.parametrize(("inner", "out"), [(16, 63), (31, 129), (64, 64), (640, 8), (1283, 17)])
def test_panels_and_chunks(inner: int, out: int) -> None:
    """Groups of panels with a narrow last one; sums cut by the tile's chunk."""
    rng = np.random.default_rng(inner)
    program = three_by_three(rng, (9, 6, inner), out, (1, 0, 2, 1))
    assert check(program, kernel_cases.feeds(rng, program, 5)) == WINOGRAD


@pytest.mark.parametrize("outs", [1, 64, 96, 128, 192, 256, 384, 512])
def test_groups_of_panels_are_shared_evenly(outs: int) -> None:
    """Two threads get the same number of columns wherever a group may hold them."""
    panels = group_panels(outs)
    groups = -(-outs // (panels * WORDS.width))
    assert 64 <= panels * WORDS.width <= 96
    assert groups == 1 or groups % 2 == 0


def extreme(channels: int, weight: int, value: int, dtype: str) -> tuple[Program, np.ndarray]:
    """All weights and inputs alike; the bias brings whole windows' sums near zero, unscaled."""
    rng = np.random.default_rng(0)
    program = three_by_three(rng, (6, 5, channels), 9, (0, 0, 0, 0), dtype=dtype)
    op = program.ops[0]
    op.consts["weights"][...] = weight
    total = 9 * channels * weight * value
    op.consts["bias"] = (np.arange(9, dtype=np.int64) * 7 - total - 20).astype(np.int32)
    op.consts["mult"], op.consts["shift"] = np.array([1], np.int32), np.array([0], np.int32)
    x = np.full((2, 6, 5, channels), value, dtype=dtype)
    return program, x


# The most channels for which one sum passes the certificate, 2**25: 127 * 128 * 9 per channel and
# so on. One more channel makes two sums of it.
@pytest.mark.parametrize(
    ("dtype", "weight", "value", "most"),
    [
        ("int8", 127, -128, 229),
        ("int8", -128, -128, 227),
        ("int8", -128, 127, 227),
        ("uint8", 127, 255, 229),  # uint8 counts as -128..127, less work for the certificate
        ("uint8", -128, 255, 227),
        ("uint8", 127, 0, 229),
    ],
)
def test_extremes_at_the_certificate(dtype: str, weight: int, value: int, most: int) -> None:
    signed = dtype == "int8"
    for channels, sums in ((most, 1), (most + 1, 2), (3 * most, 4)):
        program, x = extreme(channels, weight, value, dtype)
        weights = program.ops[0].consts["weights"]
        chunk = winograd_weights.channel_chunk(weights)
        assert -(-channels // chunk) == sums
        assert check(program, {"x": x}) == WINOGRAD
        # mixed signs: every position of the transforms near its end
        x[:, ::2, ::2], x[:, 1::2] = (127, -128) if signed else (255, 0)
        check(program, {"x": x})


def test_largest_sum_is_reached() -> None:
    rng = np.random.default_rng(5)
    weights = rng.integers(-128, 128, (4, 3, 3, 7)).astype(np.int8)
    sums = []
    for row in weights.reshape(4, -1).astype(int):
        sums += [np.where(row > 0, 127, -128) @ row, np.where(row > 0, -128, 127) @ row]
    assert winograd_weights.largest_sum(weights) == np.abs(sums).max()


@pytest.mark.parametrize(
    ("length", "expected"),
    [(1, (0, 1)), (4, (1, 0)), (5, (0, 2)), (7, (1, 1)), (9, (0, 3)), (13, (1, 3)), (14, (2, 2)),
     (16, (4, 0)), (27, (6, 1)), (56, (14, 0))],
)  # fmt: skip
def test_maps_are_cut_with_the_fewest_points(length: int, expected: tuple[int, int]) -> None:
    assert winograd_tiling.cut(length) == expected


@pytest.mark.parametrize("size", [(7, 7), (14, 14), (13, 9), (3, 14), (27, 22), (2, 7)])
def test_mixed_tiles(size: tuple[int, int]) -> None:
    """Tiles of all four sizes in one block, several blocks, and a last one that is not full."""
    rng = np.random.default_rng(size[0])
    program = three_by_three(rng, (*size, 33), 40, (1, 1, 1, 1))
    tiles = -(-size[0] // 4) * -(-size[1] // 4)
    count = 2 * -(-winograd_tiling.MIXED_BLOCK // tiles) + 1
    assert winograd_tiling.choose_tiling(*size, count)[1] == (
        winograd_tiling.mixed(*size) is not None
    )
    assert check(program, kernel_cases.feeds(rng, program, count)) == WINOGRAD


def test_int16_weights_only_where_the_transform_fits() -> None:
    rng = np.random.default_rng(1)
    program = three_by_three(rng, (8, 8, 5), 4, wide=True)
    weights = program.ops[0].consts["weights"]
    weights[...] = rng.integers(-220, 221, weights.shape)
    expected = WINOGRAD if ISA.element == 2 else "int64-conv"
    assert check(program, kernel_cases.feeds(rng, program, 2)) == expected
    weights[...] = 300
    assert not check(program, kernel_cases.feeds(rng, program, 2)).startswith("winograd")
    assert winograd_weights.channel_chunk(np.full((1, 3, 3, 64), 30000, np.int16)) == 0


def test_transformed_weights_fit_for_every_int8() -> None:
    for seed in range(50):
        rng = np.random.default_rng(seed)
        weights = rng.choice(np.array([-128, 127]), (8, 3, 3, 4)).astype(np.int16)
        assert winograd_weights.transformed_fit(weights)


def path_of(size: int, channels: int, out: int, stride: int = 1) -> str:
    builder = random_programs.NetworkBuilder((size, size, channels))
    name = builder.conv("input", out, 3, stride)
    program = builder.done(name)
    specs = program.tensors
    return prepare(program.ops[0], [specs["input"]], specs[name]).path


def test_the_variable_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    assert path_of(1, 64, 64) == path_of(56, 64, 64) == WINOGRAD
    assert path_of(56, 64, 64, stride=2) == f"{ISA.name}-conv"
    monkeypatch.setenv(conv_choice.VARIABLE, "0")
    assert path_of(56, 64, 64) == f"{ISA.name}-conv"
    monkeypatch.setenv(conv_choice.VARIABLE, "auto")
    assert path_of(1, 64, 64) == f"{ISA.name}-conv"
    monkeypatch.setenv(conv_choice.VARIABLE, "yes")
    with pytest.raises(UsageError, match="R329FAST_WINOGRAD=yes: allowed auto, 0, 1"):
        path_of(56, 64, 64)


@pytest.mark.skipif(ISA.name not in ("avx2", "vnni512"), reason="a model of another path's rates")
def test_the_model_takes_winograd_for_the_layers_of_networks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(conv_choice.VARIABLE)
    for size, channels in ((56, 64), (28, 128), (32, 16), (8, 64)):
        assert path_of(size, channels, channels) == WINOGRAD
    assert path_of(224, 3, 64) == f"{ISA.name}-conv"
    # the faster the direct path, the more images it takes to pay for reading larger weights
    least = [conv_choice.winograd_batch(layout_of(*of), None) for of in ((14, 256), (7, 512))]
    assert least == {"avx2": [1, 1], "vnni512": [1, 4]}[ISA.name]


def layout_of(size: int, channels: int) -> ConvLayout:
    rng = np.random.default_rng(0)
    program = three_by_three(rng, (size, size, channels), channels)
    return conv_layout(program.ops[0], program.tensors["x"], program.tensors["y"])


def test_few_images_take_the_direct_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conv_choice, "winograd_batch", lambda layout, known: 4)
    monkeypatch.setenv(conv_choice.VARIABLE, "auto")
    rng = np.random.default_rng(0)
    program = three_by_three(rng, (7, 7, 12), 20)
    for count in (1, 3, 4, 9):
        path = check(program, kernel_cases.feeds(rng, program, count))
        assert path == f"{WINOGRAD}, {ISA.name}-conv below 4 images"


def test_layout_of_other_geometries_is_left_alone() -> None:
    rng = np.random.default_rng(0)
    for dilation, stride, group in (((2, 1), (1, 1), 1), ((1, 1), (1, 2), 1), ((1, 1), (1, 1), 2)):
        program = kernel_cases.convolution(
            rng, (9, 9, 6), 4, (3, 3), stride, dilation, group=group, dtype="int8"
        )
        layout = conv_layout(program.ops[0], program.tensors["x"], program.tensors["y"])
        assert layout.group == group
        assert "winograd" not in check(program, kernel_cases.feeds(rng, program, 1))


@pytest.mark.parametrize("threads", [1, 3])
def test_whole_network(threads: int) -> None:
    builder = random_programs.NetworkBuilder((13, 10, 3))
    first = builder.conv("input", 20)
    program = builder.done(builder.eltwise(first, builder.conv(first, 20, act="NONE")))
    x = np.random.default_rng(1).integers(-128, 128, (5, 13, 10, 3)).astype(np.int8)
    simulator = Simulator(program, threads=threads)
    assert WINOGRAD in simulator.paths().values()
    for count in (2, 5):
        found = simulator.run(x[:count])
        expected = Simulator(program, backend="reference").run(x[:count])
        for name, array in expected.items():
            assert np.array_equal(found[name], array)
    simulator.close()
