"""Forms that only some layers take: bytes of four columns, rows in place, sums in float32.

Each is met on purpose here; test_registry.py meets them by chance.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import kernel_cases
from support.kernel_cases_check import check

from r329fast.kernels import prepare
from r329fast.kernels.conv import block_rows
from r329fast.kernels.conv.depthwise_quads import kind_of
from r329fast.kernels.conv.direct import joins_rows
from r329fast.kernels.conv.layout import conv_layout
from r329fast.kernels.conv.tiles import tiled_positions
from r329fast.kernels.epilogue import prepare_epilogue
from r329fast.kernels.ir.channel_blocks import blocks
from r329fast.kernels.ir.depthwise_quads import block_starts
from r329fast.kernels.ir.epilogue import LOW, MAGIC
from r329fast.kernels.ir.quad_forms import FORMS, Kind, first_column, form, is_flat, repeat
from r329fast.kernels.leaves.gemm_tile import HALF
from r329fast.kernels.runtime.isa import ISA, JIT, STORED
from r329fast.program.program import Op, Program, TensorSpec
from r329fast.program.uniform_dtype import offset, uniform_program
from r329fast.quantization.fixed_point import requantize
from r329fast.reference import compute

QUADS = f"{ISA.name}-quads"


@st.composite
def depthwise(draw: st.DrawFn) -> tuple[Program, np.random.Generator]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    channels, stride = draw(st.integers(2, 200)), draw(st.integers(1, 2))
    kernel = draw(st.sampled_from((3, 3, 5, 7)))
    shape = (draw(st.integers(kernel, 12)), draw(st.integers(kernel, 40)), channels)
    pads = tuple(draw(st.integers(0, 2)) for _ in range(4))
    outs = channels * draw(st.sampled_from((1, 1, 1, 2)))
    act = draw(st.sampled_from(("NONE", "RELU", "CLIP")))
    program = kernel_cases.convolution(
        rng, shape, outs, (kernel, kernel), (stride, stride), pads=pads, group=channels,  # type: ignore[arg-type]
        chosen=act, kind="depthwise_conv2d",
    )  # fmt: skip
    op = program.ops[0]
    op.attrs["rounding"] = "half_even"
    op.attrs["pad_value"] = int(rng.integers(0, 128))
    op.consts["bias"] = rng.integers(-9000, 9000, outs).astype(np.int32)
    sums = 9000 + kernel**2 * 128 * 255
    op.consts["mult"] = rng.integers(1, 32768, outs).astype(np.int32)
    least = np.ceil(np.log2(op.consts["mult"] * float(sums) * 256 / 2**21))
    shift = np.maximum(np.log2(op.consts["mult"] * float(sums) / 300), least)
    op.consts["shift"] = np.ceil(shift).astype(np.int32)
    return program, rng


def by_quads(program: Program) -> bool:
    """Whether the form takes it: not where it rounds twice, from an odd lowest result on."""
    op, output = program.ops[0], program.tensors["y"]
    constants = prepare_epilogue(op, output, output.shape[2], 1 << 20).constants
    odd = op.attrs["act"] == "CLIP" and constants[LOW] % 2 == 1
    height, width, _ = output.shape
    known = Kind(op.integers("kernel")[0], op.integers("stride")[0]) in FORMS
    return known and height >= 2 and width >= 4 and not odd


@pytest.mark.skipif(not block_rows.POSSIBLE, reason="a path of x86 with byte dot products")
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(depthwise(), st.integers(1, 3))
def test_depthwise_by_quads(case: tuple[Program, np.random.Generator], count: int) -> None:
    program, rng = case
    path = check(program, kernel_cases.feeds(rng, program, count))
    wide = program.tensors["y"].shape[1] >= 4
    several = program.tensors["y"].shape[2] > program.tensors["x"].shape[2]
    other = None if several else f"{ISA.name}-depthwise"
    expected = QUADS if by_quads(program) else f"{ISA.name}-taps" if wide else other
    assert expected in (path, None)


@pytest.mark.skipif(not block_rows.POSSIBLE, reason="a path of x86 with byte dot products")
@pytest.mark.parametrize(
    ("channels", "stride"),
    [(c, 1) for c in (2, 4, 6, 8, 12, 15, 16, 20, 24, 25, 32)] + [(8, 2), (16, 2)],
)
@pytest.mark.parametrize("pads", [(1, 1, 1, 1), (0, 0, 1, 1), (2, 2, 0, 0), (1, 0, 1, 0)])
@pytest.mark.parametrize("width", [6, 8, 17, 34, 48, 91, 140])
def test_rows_of_few_channels_as_bytes(
    channels: int, stride: int, pads: tuple[int, int, int, int], width: int
) -> None:
    """Runs of columns whose channels fill vectors, at both ends and between, or too few of them."""
    rng = np.random.default_rng(width)
    for act in ("RELU", "CLIP"):
        program = kernel_cases.convolution(
            rng, (width // 4 + 3, width, channels), channels, (3, 3), (stride, stride),
            pads=pads, group=channels, chosen=act, kind="depthwise_conv2d",
        )  # fmt: skip
        op = program.ops[0]
        op.attrs["rounding"] = "half_even"
        op.attrs["clip_min"], op.attrs["pad_value"] = 0, int(rng.integers(0, 128))
        op.consts["bias"] = rng.integers(-9000, 9000, channels).astype(np.int32)
        op.consts["mult"] = rng.integers(8192, 32768, channels).astype(np.int32)
        op.consts["shift"] = np.full(channels, 25, dtype=np.int32)
        path = check(program, kernel_cases.feeds(rng, program, 2))
        narrow = program.tensors["y"].shape[1] < 4
        assert path in ((f"{ISA.name}-depthwise",) if narrow else (QUADS, f"{ISA.name}-taps"))
        layout = conv_layout(op, program.tensors["x"], program.tensors["y"])
        runs = layout.out_width // repeat(channels)
        assert kind_of(layout, channels).flat == (is_flat(channels, stride) and runs >= 2)
        assert not kind_of(layout, channels + 1).flat  # a view of some channels is not one run


@pytest.mark.skipif(not block_rows.POSSIBLE, reason="a path of x86 with byte dot products")
def test_quads_leave_results_of_more_than_15_bits() -> None:
    """Their low half is taken for the result: where a layer could make more, another form is."""
    for shift, expected in ((9, QUADS), (3, f"{ISA.name}-taps")):
        rng = np.random.default_rng(shift)
        program = kernel_cases.convolution(
            rng, (6, 8, 64), 64, (3, 3), pads=(1, 1, 1, 1), group=64, chosen="NONE",
            kind="depthwise_conv2d",
        )  # fmt: skip
        op = program.ops[0]
        op.attrs["rounding"] = "half_even"
        op.consts["bias"][:] = 0
        op.consts["weights"][:] = 127
        op.consts["mult"][:], op.consts["shift"][:] = 16, shift  # sums to 291465
        feeds = kernel_cases.feeds(rng, program, 2)
        assert check(program, feeds) == expected


@pytest.mark.parametrize("lanes", [(16, 8), (16,)])
@pytest.mark.parametrize("channels", [*range(1, 140), 728, 960])
def test_blocks_of_quads_cover_all_channels(channels: int, lanes: tuple[int, ...]) -> None:
    starts = block_starts(channels, lanes)
    assert [size for _, size in starts] == sorted((size for _, size in starts), reverse=True)
    covered = {first + i for first, size in starts for i in range(4 * size)}
    assert covered >= set(range(channels))
    if channels >= 4 * lanes[-1]:  # they may overlap, but no block reaches past the channels
        assert covered == set(range(channels))
        assert sum(4 * size for _, size in starts) < channels + 4 * lanes[-1]


@pytest.mark.parametrize("kind", FORMS, ids=str)
def test_forms_of_quads_take_every_tap_once(kind: Kind) -> None:
    """And what lies beside the map, where a form makes whole rows, is all that is left."""
    chosen, kernel = form(kind), kind.kernel
    found: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for quad in chosen.quads:
        for dot in quad.dots:
            for place, tap in zip(quad.places, chosen.weights[dot.weight], strict=True):
                assert 0 <= place[0] < chosen.rows
                assert 0 <= place[1] < chosen.columns
                if tap is not None:
                    across = first_column(kind, dot.column)
                    assert place == (dot.row * kind.stride + tap[0], across + tap[1])
                    found.setdefault((dot.row, dot.column), []).append(tap)
    assert found.keys() == {(row, column) for row in range(2) for column in range(chosen.outputs)}
    for (_, column), taps in found.items():
        beside = chosen.outside[column] if chosen.at_edge else []
        columns = [x for x in range(kernel) if x not in beside]
        assert sorted(taps) == [(y, x) for y in range(kernel) for x in columns]


@pytest.mark.skipif(not block_rows.POSSIBLE, reason="a path of x86 with byte dot products")
@pytest.mark.parametrize("pads", [(1, 1, 1, 1), (0, 1, 2, 1), (2, 1, 0, 1)])
@pytest.mark.parametrize("channels", [64, 72, 200])
@pytest.mark.parametrize(
    ("kind", "width"),
    [(kind, kind.whole) for kind in FORMS if kind.whole]
    + [(kind, width) for kind in FORMS if kind.left for width in (11, 12, 13, 14)],
    ids=str,
)
def test_columns_at_the_edge_of_narrow_maps(
    kind: Kind, width: int, channels: int, pads: tuple[int, int, int, int]
) -> None:
    """Padding beside the map is in the biases, with a value of each channel; above it is read."""
    sides = kind.kernel // 2
    for height in (kind.kernel, 6, 25, 140):
        rng = np.random.default_rng(height)
        program = kernel_cases.convolution(
            rng, (height, width, channels), channels, (kind.kernel, kind.kernel),
            (kind.stride, kind.stride), pads=(pads[0], sides, pads[2], sides), group=channels,
            chosen="RELU", kind="depthwise_conv2d",
        )  # fmt: skip
        op = program.ops[0]
        op.attrs["rounding"] = "half_even"
        op.consts["pad_values"] = rng.integers(0, 128, channels).astype(np.int32)
        op.consts["bias"] = rng.integers(-9000, 9000, channels).astype(np.int32)
        op.consts["mult"] = rng.integers(8192, 32768, channels).astype(np.int32)
        op.consts["shift"] = np.full(channels, 25, dtype=np.int32)
        assert check(program, kernel_cases.feeds(rng, program, 3)) == QUADS
        layout = conv_layout(op, program.tensors["x"], program.tensors["y"])
        assert kind_of(layout, channels) == kind


@pytest.mark.parametrize("channels", range(1, 140))
def test_blocks_of_channels_follow_each_other(channels: int) -> None:
    end = 0
    for first, lanes in blocks(16, channels):
        assert first == end
        assert lanes in (16, 8, 4)
        end = first + 4 * lanes
    assert channels <= end < channels + 16


@pytest.mark.parametrize("shape", [(5, 9, 24), (14, 14, 64), (1, 1, 100), (3, 7, 33)])
@pytest.mark.parametrize("out", [1, 16, 40, 64])
@pytest.mark.parametrize("act", ["NONE", "CLIP"])
def test_one_by_one_at_full_and_broken_tiles(
    shape: tuple[int, int, int], out: int, act: str
) -> None:
    rng = np.random.default_rng(out + shape[2])
    for dtype in ("int8", "uint8"):
        program = kernel_cases.convolution(rng, shape, out, (1, 1), chosen=act, dtype=dtype)
        program.ops[0].attrs["rounding"] = "half_even"
        for count in (1, 4):
            check(program, kernel_cases.feeds(rng, program, count))


@pytest.mark.parametrize("size", [(7, 7), (14, 28), (13, 15), (30, 21), (17, 17), (8, 8), (23, 3)])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [(3, 3), (7, 7), (2, 5), (1, 1)])
def test_bands(size: tuple[int, int], stride: int, kernel: tuple[int, int]) -> None:
    rng = np.random.default_rng(size[0] * stride)
    pads = (kernel[0] // 2, kernel[1] // 2, kernel[0] // 2, kernel[1] // 2)
    program = kernel_cases.convolution(
        rng, (*size, 3), 40, kernel, (stride, stride), pads=pads, chosen="RELU"
    )
    check(program, kernel_cases.feeds(rng, program, 3))


@pytest.mark.parametrize(("columns", "channels"), [(3, 3), (2, 5), (5, 1), (3, 2), (1, 9), (2, 3)])
@pytest.mark.parametrize("stride", [1, 2])
def test_windows_made_of_three_rows(columns: int, channels: int, stride: int) -> None:
    rng = np.random.default_rng(columns * channels)
    program = kernel_cases.convolution(
        rng, (40, 15, channels), 33, (3, columns), (stride, 1), pads=(1, 1, 1, 1), chosen="RELU"
    )
    joins = 3 * columns * channels <= 32 and ISA.name in ("vnni512", "avxvnni")
    x, y = program.tensors["x"], program.tensors["y"]
    assert joins_rows(conv_layout(program.ops[0], x, y)) == joins
    check(program, kernel_cases.feeds(rng, program, 2))


@pytest.mark.parametrize("lines", [1, 7, 8, 17, 24])
@pytest.mark.parametrize("width", [1, 3, 7, 8, 10, 13, 17, 21, 35])
def test_runs_cover_all_positions(lines: int, width: int) -> None:
    tiled = tiled_positions(lines, width)
    assert tiled >= lines * width
    assert tiled <= lines * -(-width // HALF) * HALF  # never more than runs along lines alone
    assert tiled % HALF == 0


def epilogue_op(mult: int, shift: int, act: str = "NONE", clip: int = 0) -> Op:
    consts = {"mult": np.array([mult], np.int32), "shift": np.array([shift], np.int32)}
    attrs = {"rounding": "half_even", "act": act, "clip_min": 0, "clip_max": clip}
    return Op("conv2d", "l", ("x",), ("y",), attrs, consts)


@pytest.mark.parametrize(
    ("bound", "mult", "shift", "once"),
    [
        (1 << 20, 200, 15, True),  # as the 2021 tool's multipliers are
        (1 << 24, 32767, 24, True),
        (1 << 24, 32767, 8, False),  # results pass 2**22
        ((1 << 24) + 1, 1, 17, False),  # sums beyond 2**24 are not clamped
        (1 << 30, 32767, 27, True),  # they are
        (1 << 31, 1, 31, False),
    ],
)
def test_when_float32_is_exact(bound: int, mult: int, shift: int, once: bool) -> None:
    output = TensorSpec("y", (1, 1, 1), "int8", 1.0)
    assert prepare_epilogue(epilogue_op(mult, shift), output, 1, bound).rounds_once == once


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("shift", [1, 5, 12, 15])
def test_ties_and_ends_of_a_line(dtype: str, shift: int) -> None:
    """Every integer of a range around zero, so every tie; and the ends of what float32 holds."""
    ends = np.array([2**24, 2**24 - 1, -(2**24), 2**22 + 1, -(2**22)])
    x = np.concatenate([np.arange(-40_000, 40_000), ends])
    for mult in (1, 2, 3, 77, 128, 255, 32767):
        output = TensorSpec("y", (1, 1, 16), dtype, 1.0, 3, -128, 127)
        if dtype == "uint8":
            output = TensorSpec("y", (1, 1, 16), dtype, 1.0, -5, 0, 255)
        op = epilogue_op(mult, shift)
        epilogue = prepare_epilogue(op, output, 16, 2**24)
        if not epilogue.rounds_once:
            continue
        count = len(x) // 16 * 16
        sums = x[-count:].astype(np.int32)
        found = finish(sums.reshape(-1, 16), epilogue.constants, epilogue.pitch)
        wanted = requantize(
            sums.astype(np.int64), np.array(mult), np.array(shift), output.zero_point,
            output.qmin, output.qmax, "half_even",
        )  # fmt: skip
        assert np.array_equal(found.view(dtype).reshape(-1), wanted.astype(dtype)), mult


@pytest.mark.parametrize("shift", [8, 10, 15])
def test_ties_of_the_second_rounding(shift: int) -> None:
    """Every integer of a range, so every tie of both roundings of a clip."""
    x = np.arange(-60_000, 60_000)
    count = len(x) // 16 * 16
    sums = x[:count].astype(np.int32)
    output = TensorSpec("y", (1, 1, 16), "uint8", 1.0, -3, 0, 255)
    for mult in (1, 3, 77, 128, 255):
        op = epilogue_op(mult, shift, "CLIP", 200 * 256 + 128)
        epilogue = prepare_epilogue(op, output, 16, 60_000)
        if not epilogue.rounds_once:
            continue
        found = finish(sums.reshape(-1, 16), epilogue.constants, epilogue.pitch)
        wanted = compute.finish(op, sums.astype(np.int64), output)
        assert np.array_equal(found.reshape(-1), wanted.astype(np.uint8)), mult


def finish(sums: np.ndarray, constants: np.ndarray, pitch: int) -> np.ndarray:
    from numba import njit

    from r329fast.kernels.leaves.rows import epilogue_rows

    def run(acc, constants, pitch, rows, out):  # type: ignore[no-untyped-def]
        epilogue_rows(
            acc.ctypes.data, 64, constants.ctypes.data, 0, pitch, 16, rows, out.ctypes.data, 16
        )

    out = np.zeros(sums.shape, dtype=np.uint8)
    (njit(run) if JIT else run)(sums, constants, pitch, len(sums), out)
    return out


def moved(values: np.ndarray, spec: TensorSpec, stored: TensorSpec) -> np.ndarray:
    """Integers of `spec` in the dtype of `stored`; wider ones stay as they are."""
    return (values.astype(np.int64) + offset(spec, stored.dtype)).astype(stored.dtype)


def test_programs_keep_their_meaning_in_another_dtype() -> None:
    """The reference on a stored program gives the same integers, moved."""
    from r329fast.reference.interpreter import run_op

    for kind in kernel_cases.CASES:
        for seed in range(12):
            rng = np.random.default_rng(seed)
            program = kernel_cases.CASES[kind](rng)
            feeds = kernel_cases.feeds(rng, program, 2)
            op = program.ops[0]
            expected = run_op(program, op, [feeds[name] for name in op.inputs])
            for dtype in ("uint8", "int8"):
                stored = uniform_program(program, dtype)
                if stored is None:
                    assert kind in ("softmax_fast_exp", "resize_bilinear") or len(op.inputs) == 1
                    continue
                inputs = [
                    moved(feeds[name], program.tensors[name], stored.tensors[name])
                    for name in op.inputs
                ]
                found = run_op(stored, stored.ops[0], inputs)
                name = op.outputs[0]
                wanted = moved(expected, program.tensors[name], stored.tensors[name])
                assert np.array_equal(found, wanted), (kind, seed)


def test_simulators_keep_one_dtype_where_the_tile_wants_it() -> None:
    rng = np.random.default_rng(0)
    program = kernel_cases.convolution(rng, (4, 4, 8), 8, (1, 1), dtype="int8")
    prepared = prepare(program.ops[0], [program.tensors["x"]], program.tensors["y"])
    assert prepared.path.startswith(ISA.name)
    assert ("" if ISA.element == 2 else "int8" if ISA.signed else "uint8") == STORED
    assert MAGIC == 12582912.0


@pytest.mark.skipif(not JIT, reason="nothing is compiled")
def test_threads_that_compile_at_once_get_one_address() -> None:
    from concurrent.futures import ThreadPoolExecutor

    from r329fast.kernels.runtime.kernel import Kernel
    from r329fast.kernels.table import table_rows

    fresh = Kernel(table_rows.function)
    with ThreadPoolExecutor(8) as pool:
        addresses = set(pool.map(lambda _: fresh.compile(), range(8)))
    assert addresses == {fresh.compile()}
