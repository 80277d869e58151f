"""Runs a program of one op with its kernel and with the reference."""

from __future__ import annotations

import numpy as np

from r329fast.kernels import prepare
from r329fast.program.program import Program
from r329fast.reference.run import run_op


def check(program: Program, feeds: dict[str, np.ndarray]) -> str:
    """Run the only op with both; returns the kernel path."""
    op = program.ops[0]
    inputs = [program.tensors[name] for name in op.inputs]
    output = program.tensors[op.outputs[0]]
    arrays = [np.ascontiguousarray(feeds[name]) for name in op.inputs]
    expected = run_op(program, op, arrays)
    prepared = prepare(op, inputs, output)
    found = np.full(expected.shape, 77, dtype=output.dtype)
    scratch = np.full(prepared.scratch_bytes(len(found)), 0xA5, dtype=np.uint8)
    prepared.run(arrays, found, scratch)
    if not np.array_equal(found, expected):
        wrong = np.argwhere(found != expected)
        first = tuple(wrong[0])
        raise AssertionError(
            f"{op.kind} on {prepared.path}: {len(wrong)} of {found.size} differ, first at {first}: "
            f"{found[first]}, expected {expected[first]}; {op.attrs} "
            f"{ {k: v.shape for k, v in op.consts.items()} } {inputs} {output}"
        )
    return prepared.path
