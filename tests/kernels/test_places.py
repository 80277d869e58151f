"""Places per axis add up to what the living definition moves, however they are cut."""

from __future__ import annotations

import numpy as np
import pytest
from support import kernel_cases
from support.kernel_cases_check import check

from r329fast.kernels import places
from r329fast.program.ops import OPS
from r329fast.program.program import Op, TensorSpec
from r329fast.reference.interpreter import FUNCTIONS

MOVES = [kind for kind, row in OPS.items() if row.moves]


def expected_index(op: Op, x: TensorSpec, output: TensorSpec) -> np.ndarray:
    """The place of every output element, by the definition on the places themselves."""
    numbers = np.arange(x.elements, dtype=np.int64).reshape(1, *x.shape)
    if op.kind == "pad" and op.attrs["mode"] == "CONSTANT":
        op = Op(op.kind, op.layer, op.inputs, op.outputs, {**op.attrs, "value": -1}, op.consts)
    return FUNCTIONS[op.kind](op, [numbers], [x], output).reshape(-1)


@pytest.mark.parametrize("kind", MOVES)
@pytest.mark.parametrize("whole", [1, 7, 1 << 18])
def test_runs_are_those_of_the_definition(
    kind: str, whole: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "_WHOLE", whole)
    for seed in range(40):
        program = kernel_cases.CASES[kind](np.random.default_rng(seed))
        op = program.ops[0]
        x, output = program.tensors[op.inputs[0]], program.tensors[op.outputs[0]]
        outer, inner, run = places.run_places(places.moved_places(op, x, output))
        starts = places.summed([outer, inner])
        found = np.where(starts[:, None] < 0, -1, starts[:, None] + np.arange(run)).reshape(-1)
        assert np.array_equal(found, expected_index(op, x, output)), (seed, op)


@pytest.mark.parametrize("kind", [*MOVES, "conv_transpose2d"])
def test_kernels_copy_by_two_tables(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "_WHOLE", 1)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        program = kernel_cases.CASES[kind](rng)
        check(program, kernel_cases.feeds(rng, program, 3))


def test_sums_over_axes() -> None:
    shape = (3, 4, 5, 2)
    numbers = np.arange(120).reshape(shape)
    for axes in ((0,), (3,), (1, 2), (2, 0), (0, 1, 2, 3)):
        kept = [axis for axis in range(4) if axis not in axes]
        index = numbers.transpose(*kept, *axes).reshape(-1, np.prod([shape[a] for a in axes]))
        base, offsets = places.sum_places(shape, axes)
        assert np.array_equal(base[:, None] + offsets, index)


def test_large_moves_take_little() -> None:
    """Elements by the ten million, tables of thousands."""
    x = TensorSpec("x", (3000, 4000, 1), "int8", 1.0)
    turned = TensorSpec("y", (4000, 3000, 1), "int8", 1.0)
    op = Op("transpose", "t", ("x",), ("y",), {"perm": (1, 0, 2)})
    outer, inner, run = places.run_places(places.moved_places(op, x, turned))
    assert len(outer) * len(inner) * run == x.elements
    assert len(outer) + len(inner) < 10_000
