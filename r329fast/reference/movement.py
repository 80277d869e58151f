"""Ops that move integers: concat (with its rescale), reshape, transpose, slice, pad, resize."""

from __future__ import annotations

import numpy as np

from r329fast.program.program import Op, TensorSpec
from r329fast.quantization.fixed_point import requantize, round_shift


def concat(
    op: Op, arrays: list[np.ndarray], inputs: list[TensorSpec], output: TensorSpec
) -> np.ndarray:
    parts = [
        requantize(
            q + spec.zero_point,
            mult,
            shift,
            output.zero_point,
            output.qmin,
            output.qmax,
            op.text("rounding"),
        )
        for q, spec, mult, shift in zip(
            arrays, inputs, op.consts["mult"], op.consts["shift"], strict=True
        )
    ]
    return np.concatenate(parts, axis=op.integer("axis") + 1)


def reshape(
    op: Op, arrays: list[np.ndarray], inputs: list[TensorSpec], output: TensorSpec
) -> np.ndarray:
    return arrays[0].reshape(len(arrays[0]), *output.shape)


def transpose(
    op: Op, arrays: list[np.ndarray], inputs: list[TensorSpec], output: TensorSpec
) -> np.ndarray:
    return arrays[0].transpose(0, *(axis + 1 for axis in op.integers("perm")))


def slice_op(
    op: Op, arrays: list[np.ndarray], inputs: list[TensorSpec], output: TensorSpec
) -> np.ndarray:
    ranges = zip(op.integers("begin"), op.integers("end"), op.integers("strides"), strict=True)
    return arrays[0][(slice(None), *(slice(*r) for r in ranges))]


def pad(
    op: Op, arrays: list[np.ndarray], inputs: list[TensorSpec], output: TensorSpec
) -> np.ndarray:
    widths = [(0, 0), *zip(op.integers("before"), op.integers("after"), strict=True)]
    if op.text("mode") == "CONSTANT":
        return np.pad(arrays[0], widths, constant_values=op.integer("value"))
    if op.text("mode") == "REFLECT":
        return np.pad(arrays[0], widths, mode="reflect")
    if op.text("mode") == "SYMMETRIC":
        return np.pad(arrays[0], widths, mode="symmetric")
    return np.pad(arrays[0], widths, mode="edge")


def constant(
    op: Op, arrays: list[np.ndarray], inputs: list[TensorSpec], output: TensorSpec
) -> np.ndarray:
    """For one image: the same for all."""
    return np.asarray(op.consts["value"][None])


def tile(
    op: Op, arrays: list[np.ndarray], inputs: list[TensorSpec], output: TensorSpec
) -> np.ndarray:
    return np.tile(arrays[0], (1, *op.integers("repeats")))


def gather(
    op: Op, arrays: list[np.ndarray], inputs: list[TensorSpec], output: TensorSpec
) -> np.ndarray:
    return np.take(arrays[0], op.consts["indices"], axis=op.integer("axis") + 1)


def channel_shuffle(
    op: Op, arrays: list[np.ndarray], inputs: list[TensorSpec], output: TensorSpec
) -> np.ndarray:
    q, group = arrays[0], op.integer("group")
    grouped = q.reshape(*q.shape[:-1], group, q.shape[-1] // group)
    return np.swapaxes(grouped, -1, -2).reshape(q.shape)


def depth_to_space(
    op: Op, arrays: list[np.ndarray], inputs: list[TensorSpec], output: TensorSpec
) -> np.ndarray:
    """Through axes [N, H, W, row, column, C] of the deep tensor, whichever side it is."""
    q, block, images = arrays[0], op.integer("block"), len(arrays[0])
    deep = op.text("mode") == "DCR"
    if op.integer("inverse"):
        height, width, channels = output.shape[0], output.shape[1], q.shape[3]
        apart = q.reshape(images, height, block, width, block, channels)
        order = (0, 1, 3, 2, 4, 5) if deep else (0, 1, 3, 5, 2, 4)
    else:
        height, width, channels = q.shape[1], q.shape[2], output.shape[2]
        places = (block, block, channels) if deep else (channels, block, block)
        apart = q.reshape(images, height, width, *places)
        order = (0, 1, 3, 2, 4, 5) if deep else (0, 1, 4, 2, 5, 3)
    return apart.transpose(order).reshape(images, *output.shape)


def resize_nearest(
    op: Op, arrays: list[np.ndarray], inputs: list[TensorSpec], output: TensorSpec
) -> np.ndarray:
    return arrays[0][:, op.consts["rows"]][:, :, op.consts["columns"]]


def resize_bilinear(
    op: Op, arrays: list[np.ndarray], inputs: list[TensorSpec], output: TensorSpec
) -> np.ndarray:
    q, weights = arrays[0], op.consts["weights"].astype(np.int64)
    top, bottom = q[:, op.consts["y0"]], q[:, op.consts["y1"]]
    x0, x1 = op.consts["x0"], op.consts["x1"]
    corners = (top[:, :, x0], top[:, :, x1], bottom[:, :, x0], bottom[:, :, x1])
    total = sum(corner * weights[:, :, i, None] for i, corner in enumerate(corners))
    rounded = round_shift(np.asarray(total), op.integer("weight_shift"), op.text("rounding"))
    return np.clip(rounded, output.qmin, output.qmax)


FUNCTIONS = {
    "concat": concat,
    "reshape": reshape,
    "transpose": transpose,
    "slice": slice_op,
    "pad": pad,
    "constant": constant,
    "tile": tile,
    "gather": gather,
    "channel_shuffle": channel_shuffle,
    "depth_to_space": depth_to_space,
    "resize_nearest": resize_nearest,
    "resize_bilinear": resize_bilinear,
}
