"""What a small program can ask for: limits that are told before memory is taken."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from support.programs import small_program

from r329fast.base.limits import ACTIVATION, MEMORY
from r329fast.errors import FileError, MachineError, ProgramError, UnsupportedModelError
from r329fast.program import Op, Program, TensorSpec
from r329fast.program.storage import load_program
from r329fast.simulator import Simulator

BIG = (16, 1024, 1024)  # 16 MB


def relus(count: int, shape: tuple[int, ...], **kept: object) -> Program:
    """A chain of tables on tensors of a shape."""
    names = [f"t{i}" for i in range(count + 1)]
    tensors = {name: TensorSpec(name, shape, "int8", 1.0) for name in names}
    table = np.arange(-128, 128, dtype=np.int16)
    ops = [
        Op("lut", names[i + 1], (names[i],), (names[i + 1],), {}, {"table": table})
        for i in range(count)
    ]
    return Program("chain", "test", tensors, ops, [], (names[0],), (names[-1],))


def moved(kind: str, attrs: dict[str, object], out: tuple[int, ...]) -> Program:
    tensors = {
        "x": TensorSpec("x", BIG, "int8", 1.0), "y": TensorSpec("y", out, "int8", 1.0),
    }  # fmt: skip
    op = Op(kind, "y", ("x",), ("y",), attrs)  # type: ignore[arg-type]
    return Program("moved", "test", tensors, [op], [], ("x",), ("y",))


MOVES = [
    ("transpose", {"perm": (2, 1, 0)}, BIG[::-1]),
    ("transpose", {"perm": (0, 2, 1)}, BIG),
    ("slice", {"begin": (0, 0, 0), "end": BIG, "strides": (1, 1, 2)}, (16, 1024, 512)),
    ("tile", {"repeats": (1, 1, 2)}, (16, 1024, 2048)),
    ("channel_shuffle", {"group": 512}, BIG),
    ("depth_to_space", {"block": 2, "mode": "DCR", "inverse": 0}, (32, 2048, 256)),
    (
        "pad",
        {"before": (0, 1, 1), "after": (0, 0, 1), "mode": "REFLECT", "value": 0},
        (16, 1025, 1026),
    ),
]


@pytest.mark.parametrize(("kind", "attrs", "out"), MOVES)
def test_a_move_needs_no_index_per_element(
    kind: str, attrs: dict[str, object], out: tuple[int, ...]
) -> None:
    program = moved(kind, attrs, out)
    tracemalloc.start()
    try:
        Simulator(program)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20  # 8 bytes for each would be 128 MB
    finally:
        tracemalloc.stop()


def test_an_image_that_needs_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MEMORY.variable, "31")
    fits = relus(5, (8, 1024, 1024))
    for backend in ("numba", "reference"):
        with pytest.raises(MachineError, match=f"allowed 31 MB .{MEMORY.variable} raises it"):
            Simulator(relus(5, BIG), backend)  # two of 16 MB, and slack
    assert Simulator(fits).paths()
    with pytest.raises(MachineError, match=MEMORY.variable):  # all of six tensors
        Simulator(fits).run(np.zeros((1, 8, 1024, 1024), np.int8), keep=list(fits.tensors))


def test_less_memory_means_smaller_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    program = relus(4, (64, 64, 32))
    x = np.random.default_rng(1).integers(-128, 128, (9, 64, 64, 32)).astype(np.int8)
    monkeypatch.setenv(MEMORY.variable, "1")  # an image has two tensors of 128 kB
    for threads in (1, 3):
        simulator = Simulator(program, threads=threads)
        assert np.array_equal(simulator.run(x, keep="t2")["t2"], x)
        assert np.array_equal(simulator.submit(x).result()["t4"], x)


def test_tables_of_many_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    channels = 1 << 16
    tensors = {name: TensorSpec(name, (channels,), "int8", 1.0) for name in ("x", "y")}
    consts = {
        "mult": np.full(channels, 3, np.int32),
        "shift": np.resize(np.array([1, 2], np.int32), channels),
    }
    attrs = {
        "act": "NONE", "rounding": "floor", "clip_min": 0, "clip_max": 0, "slope_shift": 0,
    }  # fmt: skip
    op = Op("requantize", "y", ("x",), ("y",), attrs, consts)  # type: ignore[arg-type]
    program = Program("tables", "test", tensors, [op], [], ("x",), ("y",))
    tracemalloc.start()
    try:
        simulator = Simulator(program)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20  # 16 MB of tables
    finally:
        tracemalloc.stop()
    x = np.random.default_rng(2).integers(-128, 128, (2, channels)).astype(np.int8)
    expected = Simulator(program, "reference").run(x)["y"]
    assert np.array_equal(simulator.run(x)["y"], expected)
    monkeypatch.setenv(MEMORY.variable, "32")
    with pytest.raises(MachineError, match="65,536 channels"):
        Simulator(program)


def test_number_of_ops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("R329FAST_MAX_OPS", "5")
    relus(5, (3,)).verify()
    with pytest.raises(ProgramError, match=r"has 6 ops, allowed 5 ops .R329FAST_MAX_OPS"):
        relus(6, (3,)).verify()
    joined = relus(1, (3,))
    names = ("t0",) * 8
    attrs = {"axis": 0, "rounding": "floor"}
    consts = {"mult": np.ones(8, np.int32), "shift": np.zeros(8, np.int32)}
    joined.ops[0] = Op("concat", "t1", names, ("t1",), attrs, consts)  # type: ignore[arg-type]
    joined.tensors["t1"] = TensorSpec("t1", (24,), "int8", 1.0)
    with pytest.raises(ProgramError, match="has 7 ops"):
        joined.verify()


def test_length_of_an_axis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("R329FAST_MAX_AXIS", "100")
    relus(1, (100, 2)).verify()
    with pytest.raises(ProgramError, match="an axis of 101, allowed 100 elements"):
        relus(1, (2, 101)).verify()


def test_constants_that_are_nothing_but_zeros(tmp_path: Path) -> None:
    """A file of some kB whose constants have a hundred MB."""
    tensors = {name: TensorSpec(name, (4, 1 << 20), "int8", 1.0) for name in ("x", "y")}
    ops = []
    for i in range(25):
        tensors[f"c{i}"] = tensors["x"]
        tensors[f"c{i}"] = TensorSpec(f"c{i}", (4, 1 << 20), "int8", 1.0)
        value = np.full((4, 1 << 20), i, np.int8)
        ops.append(Op("constant", f"c{i}", (), (f"c{i}",), {}, {"value": value}))
    del tensors["y"]
    program = Program("zeros", "test", tensors, ops, [], ("x",), ("c1",))
    program.save(str(tmp_path / "z.r329"))
    with pytest.raises(FileError, match=r"allowed 50 times its size .R329FAST_MAX_RATIO"):
        load_program(tmp_path / "z.r329")


def test_the_largest_tensors_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits do not forbid each other: what one tensor may have, an op on it can use."""
    monkeypatch.setenv(ACTIVATION.variable, "8")
    monkeypatch.setenv(MEMORY.variable, "32")
    program = relus(3, (8, 1024, 1024))
    x = np.zeros((2, 8, 1024, 1024), np.int8)
    assert not Simulator(program, threads=2).run(x)["t3"].any()


def test_a_model_over_a_limit_is_not_supported(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a model asks for is no defect of ours: exit 3, and the limit is named."""
    monkeypatch.setenv("R329FAST_MAX_OPS", "3")
    with pytest.raises(UnsupportedModelError, match=r"allowed 3 ops .R329FAST_MAX_OPS") as caught:
        small_program()
    assert caught.value.exit_code == 3
