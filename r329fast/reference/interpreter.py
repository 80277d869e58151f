"""Runs a program op by op on int64 arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from r329fast.program.program import Op, Program, TensorSpec
from r329fast.reference import compute, movement, normalise, windows

Int64 = np.ndarray
OpFunction = Callable[[Op, list[Int64], list[TensorSpec], TensorSpec], Int64]

FUNCTIONS: dict[str, OpFunction] = {
    "conv2d": windows.convolution,
    "depthwise_conv2d": windows.convolution,
    "maxpool": windows.maxpool,
    "avgpool": windows.avgpool,
    "fully_connected": compute.fully_connected,
    "matmul": compute.matmul,
    "eltwise": compute.eltwise,
    "batchnorm": compute.batchnorm,
    "requantize": compute.requantize_op,
    "lut": compute.lut,
    "reduce_sum": compute.reduce_sum,
    "concat": movement.concat,
    "reshape": movement.reshape,
    "transpose": movement.transpose,
    "slice": movement.slice_op,
    "pad": movement.pad,
    "channel_shuffle": movement.channel_shuffle,
    "resize_nearest": movement.resize_nearest,
    "resize_bilinear": movement.resize_bilinear,
    "softmax_lut": normalise.softmax_lut,
    "softmax_fast_exp": normalise.softmax_fast_exp,
    "log_softmax": normalise.log_softmax,
    "lrn": normalise.lrn,
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
