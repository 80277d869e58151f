"""Runs a program of one op with its kernel, in the simulator's form too, and with the reference."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from r329fast.kernels import prepare
from r329fast.program.program import Program
from r329fast.reference.interpreter import run_op
from r329fast.simulator.simulator import Simulator


def check(program: Program, feeds: dict[str, np.ndarray]) -> str:
    """Run the only op in both forms and with the reference; returns the simulator's kernel path."""
    op = program.ops[0]
    inputs = [program.tensors[name] for name in op.inputs]
    output = program.tensors[op.outputs[0]]
    arrays = [np.ascontiguousarray(feeds[name]) for name in op.inputs]
    images = len(next(iter(feeds.values())))
    expected = run_op(program, op, arrays, images)
    prepared = prepare(op, inputs, output)
    found = np.full(expected.shape, 77, dtype=output.dtype)
    scratch = np.full(prepared.scratch_bytes(len(found)), 0xA5, dtype=np.uint8)
    prepared.run(arrays, found, scratch)
    compare(program, prepared.path, found, expected)
    simulator = Simulator(program)  # may keep its tensors in another form
    (path,) = simulator.paths().values()
    compare(program, path, simulator.run(feeds)[output.name], expected)
    return path


def check_parts(
    program: Program, feeds: dict[str, np.ndarray], at: Sequence[float] = (0, 1 / 3, 2 / 3, 1)
) -> None:
    """The same of three images in parts that begin and end `at`, as threads share it."""
    op, output = program.ops[0], program.tensors["y"]
    arrays = [feeds[name] for name in op.inputs]
    expected = run_op(program, op, arrays, 3)
    plan = prepare(op, [program.tensors[name] for name in op.inputs], output)
    flat = [
        np.append(array.reshape(-1).view(np.uint8), np.zeros(256, np.uint8)) for array in arrays
    ]
    found = np.zeros(expected.shape, dtype=output.dtype)
    scratch = np.zeros(plan.scratch_bytes(3), dtype=np.uint8)
    for function, arguments in plan.bind(3, flat, found.reshape(-1).view(np.uint8), scratch):
        first, end = arguments[0]["first"], arguments[0]["end"]
        cuts = [round(int(end[0]) * part) for part in at]
        for first[0], end[0] in pairwise(cuts):
            function(*arguments)
    assert np.array_equal(found, expected)


def compare(program: Program, path: str, found: np.ndarray, expected: np.ndarray) -> None:
    if np.array_equal(found, expected):
        return
    op = program.ops[0]
    wrong = np.argwhere(found != expected)
    first = tuple(wrong[0])
    raise AssertionError(
        f"{op.kind} on {path}: {len(wrong)} of {found.size} differ, first at {first}: "
        f"{found[first]}, expected {expected[first]}; {op.attrs} "
        f"{ {k: v.shape for k, v in op.consts.items()} } {program.tensors}"
    )
