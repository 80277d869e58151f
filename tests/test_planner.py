"""The buffer plan never lets two live tensors overlap."""

from __future__ import annotations

import numpy as np
import pytest

from r329fast.errors import UsageError
from r329fast.program.planner import ALIGNMENT, BufferPlan, plan, roots
from r329fast.program.program import Op, Program, TensorSpec


def random_program(rng: np.random.Generator, ops: int = 30) -> Program:
    """Eltwise, reshape and lut ops on earlier tensors; shapes only matter by their size here."""
    tensors = {"x": TensorSpec("x", (int(rng.integers(1, 500)),), "int8", 1.0)}
    program = Program("random", "test", tensors, [], [], ("x",), ())
    for index in range(ops):
        kind = ("lut", "eltwise", "reshape")[int(rng.integers(3))]
        names = list(tensors)
        inputs = tuple(rng.choice(names, 2 if kind == "eltwise" else 1))
        size = tensors[inputs[0]].shape if kind == "reshape" else (int(rng.integers(1, 500)),)
        tensors[f"t{index}"] = TensorSpec(f"t{index}", size, "int8", 1.0)
        program.ops.append(Op(kind, f"l{index}", inputs, (f"t{index}",)))
    program.outputs = (f"t{ops - 1}", f"t{ops // 2}")
    return program


def check(program: Program, buffers: BufferPlan, keep: set[str]) -> None:
    """Walk the ops; every tensor that is still to be read must own its bytes alone."""
    root = roots(program)
    owner = np.full(buffers.size, -1)
    ids = {name: i for i, name in enumerate(program.tensors)}

    def write(name: str) -> None:
        start = buffers.offsets[name]
        assert start % ALIGNMENT == 0
        owner[start : start + program.tensors[name].elements] = ids[root[name]]

    def intact(name: str) -> None:
        start = buffers.offsets[name]
        assert (owner[start : start + program.tensors[name].elements] == ids[root[name]]).all()

    for name in program.inputs:
        write(name)
    for op in program.ops:
        for name in op.inputs:
            intact(name)
        write(op.outputs[0])
        for name in op.inputs:
            intact(name)  # the output must not overwrite an input either
    for name in (*program.outputs, *keep):
        intact(name)


@pytest.mark.parametrize("seed", range(20))
def test_live_tensors_do_not_overlap(seed: int) -> None:
    rng = np.random.default_rng(seed)
    program = random_program(rng)
    keep = set(rng.choice(list(program.tensors), 3))
    check(program, plan(program, keep), keep)


def test_dead_buffers_are_reused_and_reshape_is_free() -> None:
    tensors = {f"t{i}": TensorSpec(f"t{i}", (640,), "int8", 1.0) for i in range(10)}
    ops = [Op("lut", f"l{i}", (f"t{i}",), (f"t{i + 1}",)) for i in range(8)]
    ops.append(Op("reshape", "l8", ("t8",), ("t9",)))
    program = Program("chain", "test", tensors, ops, [], ("t0",), ("t9",))
    buffers = plan(program)
    assert buffers.size == 2 * 640
    assert buffers.offsets["t8"] == buffers.offsets["t9"]
    assert plan(program, tensors).size == 9 * 640


def test_unknown_tensor_is_named() -> None:
    tensors = {"x": TensorSpec("x", (4,), "int8", 1.0)}
    program = Program("none", "test", tensors, [], [], ("x",), ("x",))
    with pytest.raises(UsageError, match="did you mean 'x'"):
        plan(program, ["xx"])
