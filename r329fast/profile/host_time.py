"""How long each layer takes on this machine: medians over repeated passes, op by op."""

from __future__ import annotations

import time

import numpy as np

from r329fast.kernels import prepare
from r329fast.kernels.prepared import Step
from r329fast.program.planner import plan
from r329fast.program.program import Program

_SLACK = 256  # kernels may read whole vectors past the last tensor
_MIN_PASSES = 5


def host_times(
    program: Program, x: np.ndarray, seconds: float = 1.0, max_passes: int = 101
) -> dict[str, float]:
    """Layer name -> median microseconds an image on one thread, with the run's own kernels.

    x: integers [N, *input shape] of a block that runs as one (the first input is fed; others stay
    zero). Passes go on for about `seconds`, at least five; the first one is not counted.
    """
    count = len(x)
    buffers = plan(program)
    arena = np.zeros(buffers.size * count + 2 * _SLACK, dtype=np.uint8)
    arena = arena[-arena.ctypes.data % 64 :]
    views = {
        name: arena[offset * count : offset * count + count * program.tensors[name].elements]
        for name, offset in buffers.offsets.items()
    }
    prepared = [
        prepare(op, [program.tensors[n] for n in op.inputs], program.tensors[op.outputs[0]])
        for op in program.ops
    ]
    scratch_bytes = max((p.scratch_bytes(count) for p in prepared), default=0)
    scratch = np.zeros(scratch_bytes + 2 * _SLACK, dtype=np.uint8)
    scratch = scratch[-scratch.ctypes.data % 64 :]
    steps: list[list[Step]] = []
    for op, ready in zip(program.ops, prepared, strict=True):
        inputs = [views[name] for name in op.inputs]
        if op.kind == "reshape":
            steps.append([])  # the planner gave both the same bytes
        else:
            steps.append(ready.bind(count, inputs, views[op.outputs[0]], scratch))
    samples: list[list[float]] = []
    flat = x.reshape(-1).view(np.uint8)
    end = time.perf_counter() + seconds
    while len(samples) < _MIN_PASSES + 1 or (
        time.perf_counter() < end and len(samples) <= max_passes
    ):
        views[program.inputs[0]][:] = flat
        sample = []
        for calls in steps:
            start = time.perf_counter()
            for function, arguments in calls:
                function(*arguments)
            sample.append(time.perf_counter() - start)
        samples.append(sample)
    medians = np.median(np.array(samples[1:]), axis=0) if steps else []
    result = {layer.name: 0.0 for layer in program.layers}
    for op, median in zip(program.ops, medians, strict=True):
        result[op.layer] = result.get(op.layer, 0.0) + float(median) * 1e6 / count
    return result
