"""The buffer plan never lets two live tensors overlap."""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import pytest

from r329fast.errors import UsageError
from r329fast.program.blocks import Stretch, largest_op, stretches
from r329fast.program.planner import ALIGNMENT, BufferPlan, Lifetime, lifetimes, plan, roots
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


def check(
    program: Program, buffers: BufferPlan, keep: set[str], images: int, cut: list[Stretch]
) -> None:
    """Walk the ops as a batch does; whatever is still to be read must own its bytes alone."""
    root = roots(program)
    ids = {name: i for i, name in enumerate(program.tensors)}
    owner = np.full(buffers.size, -1)

    def cells(name: str, start: int, count: int) -> np.ndarray:
        size, begin = program.tensors[name].elements, buffers.offsets[name]
        assert begin % ALIGNMENT == 0
        held = buffers.images[name]
        assert held in (images, count) or held > count
        begin += start * size if held == images else 0
        return owner[begin : begin + count * size]

    def mark(name: str, start: int) -> int:
        return ids[root[name]] * images + start

    for name in program.inputs:
        for image in range(images):
            cells(name, image, 1)[:] = mark(name, image)
    for stretch in cut:
        for start in range(0, images, stretch.images):
            count = min(stretch.images, images - start)
            for op in program.ops[stretch.first : stretch.last]:
                output = op.outputs[0]
                for name in op.inputs:
                    size = program.tensors[name].elements
                    found = cells(name, start, count).reshape(count, size)
                    wanted = mark(name, start) + np.arange(count)
                    assert (found == wanted[:, None]).all(), (op.layer, name)
                before = [cells(name, start, count).copy() for name in op.inputs]
                size = program.tensors[output].elements
                cells(output, start, count)[:] = mark(output, start) + np.repeat(
                    np.arange(count), size
                )
                if op.kind != "reshape":  # the output must not overwrite an input either
                    for name, cell in zip(op.inputs, before, strict=True):
                        assert np.array_equal(cells(name, start, count), cell)
    for name in (*program.outputs, *keep):
        for image in range(images):
            assert (cells(name, image, 1) == mark(name, image)).all(), name


@pytest.mark.parametrize("seed", range(20))
def test_live_tensors_do_not_overlap(seed: int) -> None:
    rng = np.random.default_rng(seed)
    program = random_program(rng)
    keep = set(rng.choice(list(program.tensors), 3))
    whole = [Stretch(0, len(program.ops), 1)]
    check(program, plan(program, keep), keep, 1, whole)
    images = int(rng.integers(2, 9))
    cut = stretches(program, images, int(rng.integers(300, 3000)))
    check(program, plan(program, keep, images, cut), keep, images, cut)


def test_stretches_take_ever_more_images() -> None:
    sizes = (1000, 1000, 400, 90, 90, 300, 10, 10)
    tensors = {f"t{i}": TensorSpec(f"t{i}", (size,), "int8", 1.0) for i, size in enumerate(sizes)}
    ops = [Op("lut", f"l{i}", (f"t{i}",), (f"t{i + 1}",)) for i in range(len(sizes) - 1)]
    program = Program("chain", "test", tensors, ops, [], ("t0",), ("t7",))
    assert stretches(program, 16, 1 << 20) == [Stretch(0, 7, 16)]
    # 2000, 1400, 490, 180, 390, 310 and 20 bytes per image
    assert stretches(program, 16, 4000) == [Stretch(0, 2, 2), Stretch(2, 6, 8), Stretch(6, 7, 16)]
    assert stretches(program, 5, 1) == [Stretch(0, 7, 1)]
    assert largest_op(program) == 2000


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


def _by_hand(sizes: dict[str, int], lives: dict[str, Lifetime]) -> dict[str, int]:
    """Large buffers first, each at the lowest offset that is free: all pairs looked at."""
    placed: dict[str, int] = {}
    for name in sorted(lives, key=lambda n: (-sizes[n], lives[n].first, n)):
        life, offset = lives[name], 0
        meets = [o for o in placed if lives[o].first <= life.last and life.first <= lives[o].last]
        for begin, end in sorted((placed[o], placed[o] + sizes[o]) for o in meets):
            if begin - offset >= sizes[name]:
                break
            offset = max(offset, end)
        placed[name] = offset
    return placed


@pytest.mark.parametrize("seed", range(10))
def test_places_are_the_lowest_that_are_free(seed: int) -> None:
    program = random_program(np.random.default_rng(seed), 60)
    whole = [Stretch(0, len(program.ops), 3)]
    lives = lifetimes(program, (), 3, whole)
    sizes = {n: -(-3 * program.tensors[n].bytes // ALIGNMENT) * ALIGNMENT for n in lives}
    found, expected = plan(program, images=3).offsets, _by_hand(sizes, lives)
    assert {name: found[name] for name in lives} == expected


def test_many_tensors_are_planned_in_seconds() -> None:
    """A chain, and as many tensors that all live to the end."""
    count = 10_000
    names = [f"t{i}" for i in range(count)]
    tensors = {name: TensorSpec(name, (1 + i % 7,), "int8", 1.0) for i, name in enumerate(names)}
    ops = [Op("lut", n, (b,), (n,)) for b, n in pairwise(names)]
    program = Program("chain", "test", tensors, ops, [], (names[0],), (names[-1],))
    begun = time.process_time()
    assert plan(program).size == 2 * ALIGNMENT
    assert plan(program, keep=names).size == count * ALIGNMENT
    assert time.process_time() - begun < 10
