"""Runs a program op by op on int64 arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from r329fast.program.program import Op, Program, TensorSpec
from r329fast.reference import compute, movement, normalise, windows

Int64 = np.ndarray
OpFunction = Callable[[Op, list[Int64], list[TensorSpec], TensorSpec], Int64]

# Kind of an op -> its function.
FUNCTIONS: dict[str, OpFunction] = {
    **compute.FUNCTIONS,
    **windows.FUNCTIONS,
    **movement.FUNCTIONS,
    **normalise.FUNCTIONS,
}


def run_op(program: Program, op: Op, arrays: list[np.ndarray]) -> np.ndarray:
    """One op: integer arrays [N, *shape] in, an array of the output's dtype out."""
    inputs = [program.tensors[name] for name in op.inputs]
    output = program.tensors[op.outputs[0]]
    wide = [array.astype(np.int64) for array in arrays]
    result = FUNCTIONS[op.kind](op, wide, inputs, output)
    return result.reshape(len(wide[0]), *output.shape).astype(output.dtype)


def run_program(program: Program, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every tensor of the program by name, for integer inputs [N, *shape] by name."""
    tensors = dict(feeds)
    for op in program.ops:
        tensors[op.outputs[0]] = run_op(program, op, [tensors[name] for name in op.inputs])
    return tensors
