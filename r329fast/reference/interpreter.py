"""Runs a program op by op on int64 arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from r329fast.program.program import Op, Program, TensorSpec
from r329fast.reference import compute, movement, normalise, reduce, standardize, windows

Int64 = np.ndarray
OpFunction = Callable[[Op, list[Int64], list[TensorSpec], TensorSpec], Int64]

# Kind of an op -> its function.
FUNCTIONS: dict[str, OpFunction] = {
    **compute.FUNCTIONS,
    **windows.FUNCTIONS,
    **movement.FUNCTIONS,
    **normalise.FUNCTIONS,
    **reduce.FUNCTIONS,
    **standardize.FUNCTIONS,
}


def run_op(program: Program, op: Op, arrays: list[np.ndarray], images: int = 1) -> np.ndarray:
    """One op: integer arrays [N, *shape] in, an array of the output's dtype out.

    images: N of an op without inputs (a constant).
    """
    inputs = [program.tensors[name] for name in op.inputs]
    output = program.tensors[op.outputs[0]]
    wide = [array.astype(np.int64) for array in arrays]
    result = FUNCTIONS[op.kind](op, wide, inputs, output)
    if not wide:
        return np.repeat(result, images, axis=0)
    return result.reshape(len(wide[0]), *output.shape).astype(output.dtype)


def run_program(program: Program, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every tensor of the program by name, for integer inputs [N, *shape] by name."""
    tensors = dict(feeds)
    images = len(next(iter(feeds.values())))
    for op in program.ops:
        arrays = [tensors[name] for name in op.inputs]
        tensors[op.outputs[0]] = run_op(program, op, arrays, images)
    return tensors
