"""Running one op, or a whole program, on either backend."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from r329fast.program import Op, Program
from r329fast.reference import run_program
from r329fast.reference.interpreter import run_op
from r329fast.simulator.simulator import Simulator

BACKENDS = ("reference", "numba")


def one_op(program: Program, op: Op, arrays: list[np.ndarray], backend: str) -> np.ndarray:
    """Output [N, *shape] of one op for integer inputs of the right dtypes."""
    if backend == "reference":
        return run_op(program, op, arrays)
    from r329fast.kernels.registry import prepare

    output = program.tensors[op.outputs[0]]
    prepared = prepare(op, [program.tensors[name] for name in op.inputs], output)
    count = len(arrays[0]) if arrays else 1
    result = np.empty((count, *output.shape), dtype=output.dtype)
    scratch = np.empty(prepared.scratch_bytes(count), dtype=np.uint8)
    prepared.run([np.ascontiguousarray(array) for array in arrays], result, scratch)
    return result


def all_tensors(
    program: Program, feeds: Mapping[str, np.ndarray], backend: str, threads: int = 1
) -> dict[str, np.ndarray]:
    """Every layer output by name."""
    if backend == "reference":
        return run_program(program, feeds)
    names = [name for layer in program.layers for name in layer.outputs]
    return Simulator(program, backend=backend, threads=threads).run(dict(feeds), keep=names)
