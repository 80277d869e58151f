"""Average pooling: rows of a window summed as words, all columns at once, then its columns."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from r329fast.base.integers import INT32_MAX
from r329fast.base.limits import check_memory
from r329fast.errors import UnsupportedModelError
from r329fast.kernels.epilogue import Epilogue, prepare_epilogue
from r329fast.kernels.ir.epilogue import FORM, ONCE
from r329fast.kernels.ir.mean import MOST
from r329fast.kernels.leaves.rows import epilogue_rows, mean_columns, sum_rows
from r329fast.kernels.pool import Window, padded_columns, pool_window
from r329fast.kernels.runtime.kernel import arrays, kernel
from r329fast.kernels.runtime.one_call import ranged_plan
from r329fast.kernels.runtime.op_plan import OpPlan, flip_of
from r329fast.program.ops.bounds import reach
from r329fast.program.program import Op, TensorSpec


class MeanRows(NamedTuple):
    first: int  # output row (over all images) to begin with
    end: int
    columns: int  # of a padded row
    pitch: int  # entries of a row of epilogue constants


class MeanSums(NamedTuple):
    first: int  # output row (over all images) to begin with
    end: int
    columns: int  # of a padded row
    pitch: int  # entries of a row of epilogue constants
    padded: int  # of which so many belong to one pair of multiplier and shift


@kernel
def avgpool_rows(frame):  # type: ignore[no-untyped-def]
    """Output rows first..end of windows whose sums fit words, each rounded once in float32.

    which: the entry of `epilogue` that each position of an image takes, with its zero points.
    scratch: words, one row with its padding, the sum of the window's rows.
    """
    p, g, x, which, epilogue, out, scratch = arrays(frame, MeanRows, Window, "uifuu")
    height, channels, dilation = g.height, g.channels, g.dilation_y
    out_height, out_width, row_bytes = g.out_height, g.out_width, g.width * g.channels
    scratch[: 2 * p.columns * channels] = np.uint8(0)  # what stays of it is the padding
    inside = scratch.ctypes.data + 2 * g.left * channels
    for place in range(p.first, p.end):
        image = place // out_height
        line = place - image * out_height
        y = line * g.stride_y - g.top
        # The window's rows inside the image, first..last.
        first = max((dilation - 1 - y) // dilation, 0)
        rows = max(min((height - 1 - y) // dilation + 1, g.kernel_y) - first, 0)
        start = x.ctypes.data + (image * height + y + first * dilation) * row_bytes
        sum_rows(inside, start, dilation * row_bytes, rows, row_bytes, g.flip)
        mean_columns(
            out.ctypes.data + place * out_width * channels, scratch.ctypes.data, out_width,
            2 * g.stride_x * channels, 2 * g.dilation_x * channels, g.kernel_x, channels,
            which.ctypes.data + 8 * line * out_width, epilogue.ctypes.data, p.pitch,
        )  # fmt: skip


@kernel
def avgpool_sums(frame):  # type: ignore[no-untyped-def]
    """Output rows first..end of any window, in int32. moves: zero points of each position's sum.

    scratch: int32, one row with its padding, then sums of a position; words of a row.
    """
    p, g, x, which, moves, epilogue, out, scratch = arrays(frame, MeanSums, Window, "uiifuu")
    height, channels, dilation = g.height, g.channels, g.dilation_y
    out_height, out_width, row_bytes = g.out_height, g.out_width, g.width * g.channels
    size, begin = p.columns * channels, g.left * channels
    wide = scratch[: 4 * size].view(np.int32)
    acc = scratch[4 * size : 4 * (size + channels)].view(np.int32)
    words = scratch[4 * (size + channels) : 4 * (size + channels) + 2 * row_bytes].view(np.uint16)
    wide[:] = 0
    row = wide[begin : begin + row_bytes]
    for place in range(p.first, p.end):
        image = place // out_height
        line = place - image * out_height
        y = line * g.stride_y - g.top
        first = max((dilation - 1 - y) // dilation, 0)
        last = min((height - 1 - y) // dilation + 1, g.kernel_y)
        row[:] = 0
        for ky in range(first, last, MOST):
            start = x.ctypes.data + (image * height + y + ky * dilation) * row_bytes
            rows = min(last - ky, MOST)
            sum_rows(words.ctypes.data, start, dilation * row_bytes, rows, row_bytes, g.flip)
            for i in range(row_bytes):
                row[i] += np.int32(words[i])
        for column in range(out_width):
            position = line * out_width + column
            acc[:] = np.int32(moves[position])
            for kx in range(g.kernel_x):
                source = (column * g.stride_x + kx * g.dilation_x) * channels
                values = wide[source : source + channels]
                for c in range(channels):
                    acc[c] += values[c]
            epilogue_rows(
                acc.ctypes.data, 0, epilogue.ctypes.data, which[position] * p.padded, p.pitch,
                channels, 1, out.ctypes.data + (place * out_width + column) * channels, channels,
            )  # fmt: skip


def _inside(op: Op, axis: int, size: int, out: int) -> np.ndarray:
    """Of each window along an axis, how many of its places are in the image."""
    starts = np.arange(out) * op.integers("stride")[axis] - op.integers("pads")[axis]
    taps = np.arange(op.integers("kernel")[axis]) * op.integers("dilation")[axis]
    first = np.searchsorted(taps, -starts)
    count: np.ndarray = np.maximum(np.searchsorted(taps, size - starts) - first, 0)
    return count


def _entries(op: Op, output: TensorSpec, moves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct rows (multiplier, shift, move) of the positions, and which of them each takes."""
    shape = output.shape[:2]
    check_memory("an average at each place", 160 * moves.size)
    scales = [np.broadcast_to(op.consts[name], shape).reshape(-1) for name in ("mult", "shift")]
    distinct, which = np.unique(np.stack([*scales, moves], axis=1), axis=0, return_inverse=True)
    return distinct.astype(np.int64), which.reshape(-1).astype(np.int64)


def prepare_avgpool(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> OpPlan:
    """mult and shift (Ho, Wo) or (1, 1): distinct pairs get constants of their own."""
    x, rows = inputs[0], output.shape[0]
    counts = [_inside(op, axis, x.shape[axis], output.shape[axis]) for axis in (0, 1)]
    moves = np.outer(*counts).reshape(-1) * (x.zero_point - flip_of(x))
    taps = int(np.prod(op.integers("kernel"), dtype=np.int64))
    distinct, which = _entries(op, output, moves)
    if taps > MOST:
        return _prepare_sums(op, x, output, moves)
    mult, shift, bias = distinct.T
    epilogue = prepare_epilogue(op, output, len(mult), 255 * taps, bias, mult, shift)
    if epilogue.wide or epilogue.constants[FORM] != ONCE:
        return _prepare_sums(op, x, output, moves)
    window, padded = pool_window(op, x, output), padded_columns(op, x, output)
    parameters = MeanRows(first=0, end=rows, columns=padded, pitch=epilogue.pitch)
    size = 2 * padded * x.shape[2] + 256
    constants = (which, epilogue.constants)
    return ranged_plan("vector-avgpool", avgpool_rows, parameters, constants, size, (window,))


def prepare_means(
    op: Op, x: TensorSpec, output: TensorSpec, sizes: tuple[int, int, int]
) -> OpPlan | None:
    """Sums of x [outer, summed, inner] over `summed`, with one multiplier, as windows of rows.

    None where their sums pass words, or float32 does not round them.
    """
    outer, summed, inner = sizes
    if summed > MOST or op.consts["shift"].size > 1:
        return None
    window = {"kernel": (summed, 1), "stride": (summed, 1), "dilation": (1, 1), "pads": (0,) * 4}
    consts = {name: op.consts[name].reshape(1, 1) for name in ("mult", "shift")}
    pool = Op("avgpool", op.layer, op.inputs, op.outputs, {**op.attrs, **window}, consts)
    rows = replace(x, shape=(outer * summed, 1, inner)), replace(output, shape=(outer, 1, inner))
    plan = prepare_avgpool(pool, [rows[0]], rows[1])
    return plan if plan.path == "vector-avgpool" else None


def _prepare_sums(op: Op, x: TensorSpec, output: TensorSpec, moves: np.ndarray) -> OpPlan:
    """Any window and rounding; every pair of multiplier and shift has constants per channel."""
    distinct, which = _entries(op, output, np.zeros_like(moves))
    rows, channels = output.shape[0], output.shape[2]
    each = -(-channels // 32) * 32
    bound = reach(x) * int(np.prod(op.integers("kernel"), dtype=np.int64))
    mult, shift = (np.repeat(distinct[:, i], each) for i in (0, 1))
    epilogue = prepare_epilogue(op, output, len(mult), bound, mult=mult, shift=shift)
    _refuse(op, output, epilogue, bound)
    window, padded = pool_window(op, x, output), padded_columns(op, x, output)
    parameters = MeanSums(first=0, end=rows, columns=padded, pitch=epilogue.pitch, padded=each)
    size = 4 * (padded + 1) * channels + 2 * x.shape[1] * channels + 256
    constants = (which, moves, epilogue.constants)
    return ranged_plan("int32-avgpool", avgpool_sums, parameters, constants, size, (window,))


def _refuse(op: Op, output: TensorSpec, epilogue: Epilogue, bound: int) -> None:
    if epilogue.wide or bound > INT32_MAX:
        raise UnsupportedModelError(
            f"layer {op.layer!r}: avgpool window {op.integers('kernel')} or zero point "
            f"{output.zero_point} is too large for 32-bit sums",
            layer=op.layer,
        )


PREPARE = {"avgpool": prepare_avgpool}
