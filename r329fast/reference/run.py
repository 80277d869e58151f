"""Runs a program op by op on int64 arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from r329fast.program.program import Op, Program, TensorSpec
from r329fast.reference import compute, movement, normalise, reduce, standardize, windows

Int64 = np.ndarray
OpFunction = Callable[[Op, list[Int64], list[TensorSpec], TensorSpec], Int64]

FUNCTIONS: dict[str, OpFunction] = {
    "conv2d": windows.convolution,
    "depthwise_conv2d": windows.convolution,
    "maxpool": windows.maxpool,
    "avgpool": windows.avgpool,
    "conv_transpose2d": windows.transposed_convolution,
    "fully_connected": compute.fully_connected,
    "matmul": compute.matmul,
    "eltwise": compute.eltwise,
    "batchnorm": compute.batchnorm,
    "requantize": compute.requantize_op,
    "lut": compute.lut,
    "reduce_sum": compute.reduce_sum,
    "divide": compute.divide,
    "abs": compute.absolute,
    "negative": compute.negative,
    "reduce_extreme": reduce.extreme,
    "reduce_norm": reduce.norm,
    "reduce_variance": reduce.variance,
    "reduce_product": reduce.product,
    "l2_normalize": reduce.l2_normalize,
    "standardize": standardize.standardize,
    "arg_extreme": normalise.arg_extreme,
    "top_k": normalise.top_k,
    "tile": movement.tile,
    "gather": movement.gather,
    "depth_to_space": movement.depth_to_space,
    "space_to_depth": movement.space_to_depth,
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


def run_op(
    program: Program, op: Op, arrays: list[np.ndarray], images: int = 1
) -> np.ndarray:
    """One op: integer arrays [N, *shape] in, an array of the output's dtype out.

    images: N of an op without inputs (a constant).
    """
    inputs = [program.tensors[name] for name in op.inputs]
    output = program.tensors[op.outputs[0]]
    if op.kind == "constant":
        return np.repeat(op.consts["value"][None], images, axis=0)
    wide = [array.astype(np.int64) for array in arrays]
    result = FUNCTIONS[op.kind](op, wide, inputs, output)
    return result.reshape(len(wide[0]), *output.shape).astype(output.dtype)


def run_program(program: Program, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every tensor of the program by name, for integer inputs [N, *shape] by name."""
    tensors = dict(feeds)
    images = len(next(iter(feeds.values())))
    for op in program.ops:
        arrays = [tensors[name] for name in op.inputs]
        tensors[op.outputs[0]] = run_op(program, op, arrays, images)
    return tensors
