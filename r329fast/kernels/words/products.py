"""Matrix products of two tensors, LayerNorm and bilinear resize of 16 bits."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from r329fast.kernels.epilogue import prepare_epilogue
from r329fast.kernels.epilogue_wide import HALF_EVEN, ROUNDING_CODES, round_shift_wide
from r329fast.kernels.moments import inverse_root, nearest_mean
from r329fast.kernels.runtime.kernel import arrays, kernel
from r329fast.kernels.runtime.one_call import batch_plan, ranged_plan
from r329fast.kernels.runtime.op_plan import OpPlan
from r329fast.kernels.words.elements import code_of, finish, widen, write
from r329fast.program.ops.bounds import reach
from r329fast.program.program import Op, TensorSpec


class WordProduct(NamedTuple):
    """out [pairs, rows, columns] = a [pairs, rows, inner] * b [pairs, inner, columns]."""

    first: int  # pair (over all images) to begin with
    end: int
    rows: int
    inner: int
    columns: int
    a_row: int  # elements from one row of a to the next
    a_inner: int
    b_inner: int
    b_column: int
    kind_a: int  # codes of dtypes
    kind_b: int
    kind: int
    move_a: int  # zero points
    move_b: int


class WordNorm(NamedTuple):
    first: int  # statistic (over all images) to begin with
    end: int
    length: int  # elements of a statistic
    channels: int
    own: int  # 1: weights and bias differ from row to row
    kind_x: int  # codes of dtypes
    kind: int
    mult: int  # of a gain
    shift: int


class WordCorners(NamedTuple):
    batch: int  # images
    height: int
    width: int
    channels: int
    kind_x: int  # codes of dtypes
    kind: int
    weight_shift: int  # the four weights of a pixel add up to 2**weight_shift
    rounding: int  # a value of ROUNDING_CODES
    qmin: int
    qmax: int


@kernel
def product_words(frame):  # type: ignore[no-untyped-def]
    """Pairs first..end; scratch: int64 sums of a row, then int32 a and b of a pair."""
    p, a, b, epilogue, out, scratch = arrays(frame, WordProduct, "uuiuu")
    rows, inner, columns = p.rows, p.inner, p.columns
    acc = scratch[: 8 * columns].view(np.int64)
    middle = 8 * columns + 4 * rows * inner
    left = scratch[8 * columns : middle].view(np.int32)
    right = scratch[middle : middle + 4 * inner * columns].view(np.int32)
    for pair in range(p.first, p.end):
        widen(a, p.kind_a, pair * rows * inner, rows * inner, p.move_a, left)
        widen(b, p.kind_b, pair * inner * columns, inner * columns, p.move_b, right)
        for r in range(rows):
            acc[:] = 0
            for k in range(inner):
                value = np.int64(left[r * p.a_row + k * p.a_inner])
                for j in range(columns):
                    acc[j] += value * np.int64(right[k * p.b_inner + j * p.b_column])
            finish(acc, epilogue, 0, 0, columns, out, p.kind, (pair * rows + r) * columns)


@kernel
def norm_words(frame):  # type: ignore[no-untyped-def]
    """Statistics first..end; weights, bias: int64, of one row or of all."""
    p, x, weights, bias, table, epilogue, out, scratch = arrays(frame, WordNorm, "uiiiiuu")
    count, channels = p.length, p.channels
    acc = scratch[: 8 * channels].view(np.int64)
    values = scratch[8 * channels : 8 * channels + 4 * count].view(np.int32)
    for statistic in range(p.first, p.end):
        widen(x, p.kind_x, statistic * count, count, 0, values)
        total = 0
        for i in range(count):
            total += int(values[i])
        mean = nearest_mean(total, count)
        squares = 0
        for i in range(count):
            distance = int(values[i]) - mean
            squares += distance * distance
        root = (inverse_root(squares // count, table) + 32768) >> 16
        gain = min(max(round_shift_wide(root * p.mult, p.shift, HALF_EVEN), 0), 65535)
        for first in range(0, count, channels):
            entry = first * p.own
            for c in range(channels):
                product = ((int(values[first + c]) - mean) >> 1) * gain
                u = product >> 7
                left = product & 127
                u += int(left > 64) | (int(left == 64) & (u & 1))
                u = min(max(u, -32768), 32767)
                acc[c] = u * weights[entry + c] + bias[entry + c]
            finish(acc, epilogue, 0, 1, channels, out, p.kind, statistic * count + first)


@kernel
def corner_words(frame):  # type: ignore[no-untyped-def]
    """y0, y1: rows above and below every output row; x0, x1: columns; weights [Ho, Wo, 4]."""
    p, x, y0, y1, x0, x1, weights, out, scratch = arrays(frame, WordCorners, "uiiiiiuu")
    width, channels = p.width, p.channels
    size = p.height * width * channels
    acc = scratch[: 8 * channels].view(np.int64)
    values = scratch[8 * channels : 8 * channels + 4 * size].view(np.int32)
    at = 0  # outputs are made in the order in which they lie
    for image in range(p.batch):
        widen(x, p.kind_x, image * size, size, 0, values)
        for y in range(y0.size):
            top, bottom = y0[y] * width, y1[y] * width
            for column in range(x0.size):
                w = 4 * (y * x0.size + column)
                w0, w1, w2, w3 = weights[w], weights[w + 1], weights[w + 2], weights[w + 3]
                a, b = (top + x0[column]) * channels, (top + x1[column]) * channels
                d, e = (bottom + x0[column]) * channels, (bottom + x1[column]) * channels
                for c in range(channels):
                    total = np.int64(values[a + c]) * w0 + np.int64(values[b + c]) * w1
                    total += np.int64(values[d + c]) * w2 + np.int64(values[e + c]) * w3
                    value = round_shift_wide(total, p.weight_shift, p.rounding)
                    acc[c] = min(max(value, p.qmin), p.qmax)
                write(acc, channels, out, p.kind, at)
                at += channels


def prepare_product(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> OpPlan:
    """matmul."""
    a, b = inputs
    rows, columns = output.shape[-2:]
    inner = a.shape[-2] if op.integer("trans_a") else a.shape[-1]
    strides_a = (1, rows) if op.integer("trans_a") else (inner, 1)
    strides_b = (1, inner) if op.integer("trans_b") else (columns, 1)
    pairs = int(np.prod(output.shape[:-2], dtype=np.int64))
    product = WordProduct(
        first=0,
        end=pairs,
        rows=rows,
        inner=inner,
        columns=columns,
        a_row=strides_a[0],
        a_inner=strides_a[1],
        b_inner=strides_b[0],
        b_column=strides_b[1],
        kind_a=code_of(a),
        kind_b=code_of(b),
        kind=code_of(output),
        move_a=a.zero_point,
        move_b=b.zero_point,
    )
    epilogue = prepare_epilogue(op, output, 1, inner * reach(a) * reach(b))
    size = 8 * columns + 4 * inner * (rows + columns) + 256

    constants = (epilogue.wide_constants,)
    return ranged_plan("words-matmul", product_words, product, constants, size)


def prepare_norm(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> OpPlan:
    """standardize_words."""
    x, axis = inputs[0], op.integer("axis")
    channels = x.shape[-1]
    count = int(np.prod(x.shape[axis:], dtype=np.int64))
    statistics = x.elements // count
    weights, bias = (op.consts[name].astype(np.int64) for name in ("weights", "bias"))
    bound = 32768 * int(np.abs(weights).max()) + int(np.abs(bias).max())
    epilogue = prepare_epilogue(op, output, channels, bound)
    norm = WordNorm(
        first=0,
        end=statistics,
        length=count,
        channels=channels,
        own=int(weights.size > channels),
        kind_x=code_of(x),
        kind=code_of(output),
        mult=op.integer("norm_mult"),
        shift=op.integer("norm_shift"),
    )
    factors, offsets = weights.reshape(-1), bias.reshape(-1)
    table = op.consts["table"].astype(np.int64)
    size = 8 * channels + 4 * count + 256

    constants = (factors, offsets, table, epilogue.wide_constants)
    return ranged_plan("words-norm", norm_words, norm, constants, size)


def prepare_corners(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> OpPlan:
    """resize_bilinear."""
    x = inputs[0]
    height, width, channels = x.shape
    corners = WordCorners(
        batch=1,
        height=height,
        width=width,
        channels=channels,
        kind_x=code_of(x),
        kind=code_of(output),
        weight_shift=op.integer("weight_shift"),
        rounding=ROUNDING_CODES[op.text("rounding")],
        qmin=output.qmin,
        qmax=output.qmax,
    )
    y0, y1, x0, x1 = (op.consts[name].astype(np.int64) for name in ("y0", "y1", "x0", "x1"))
    weights = op.consts["weights"].astype(np.int64).reshape(-1)
    size = 8 * channels + 4 * x.elements + 256

    constants = (y0, y1, x0, x1, weights)
    return batch_plan("words-bilinear", corner_words, corners, constants, size)


PREPARE = {
    "matmul": prepare_product,
    "standardize_words": prepare_norm,
    "resize_bilinear": prepare_corners,
}
