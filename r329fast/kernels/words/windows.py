"""Convolution of any form, pooling, sums over axes: int64 sums of int32 copies of the input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from r329fast.base.integers import INT32_MAX, INT32_MIN
from r329fast.base.limits import check_memory
from r329fast.kernels.conv.layout import Geometry
from r329fast.kernels.epilogue import Epilogue, prepare_epilogue
from r329fast.kernels.places import sum_places
from r329fast.kernels.runtime.kernel import arrays, kernel
from r329fast.kernels.runtime.one_call import batch_plan, ranged_plan
from r329fast.kernels.runtime.op_plan import OpPlan
from r329fast.kernels.runtime.parameters import pack
from r329fast.kernels.words.elements import code_of, finish, widen, write
from r329fast.kernels.words.planes import fits, prepare_planes
from r329fast.program.ops.bounds import largest_sum, reach, span
from r329fast.program.program import Op, TensorSpec

CONV, MAXIMUM, AVERAGE = range(3)


class WordRows(NamedTuple):
    first: int  # output row (over all images) to begin with
    end: int
    form: int  # CONV, MAXIMUM or AVERAGE
    kind_x: int  # codes of dtypes
    kind: int
    move: int  # added to every integer: the zero point, unless it is inside a bias
    lowest: int  # what an empty window of MAXIMUM gives


class WordSums(NamedTuple):
    batch: int  # images
    in_elements: int  # of one image
    out_elements: int  # of one image
    kind_x: int  # codes of dtypes
    kind: int
    move: int  # zero point
    entries: int  # channels of the epilogue's constants


@kernel
def window_words(frame):  # type: ignore[no-untyped-def]
    """Output rows first..end. weights: int64 (groups, kh, kw, C/g, O/g); pads: int64 (C,).

    which: the constants of every output position of AVERAGE, in channels.
    scratch: int64 sums, then the input rows under an output row and a place of padding, int32.
    """
    p, g, x, weights, pads, which, epilogue, out, scratch = arrays(
        frame, WordRows, Geometry, "uiiiiuu"
    )
    height, width, channels, outs = g.height, g.width, g.channels, g.outs
    out_height, out_width, form = g.out_height, g.out_width, p.form
    each, made, groups = g.group_channels, g.group_outs, g.groups
    size = width * channels
    acc = scratch[: 8 * outs].view(np.int64)
    middle = 8 * outs + 4 * g.kernel_y * size
    rows = scratch[8 * outs : middle].view(np.int32)
    empty = scratch[middle : middle + 4 * channels].view(np.int32)
    for c in range(pads.size):
        empty[c] = pads[c]
    for line in range(p.first, p.end):
        image, y = line // out_height, line % out_height
        for ky in range(g.kernel_y):
            source_y = y * g.stride_y - g.top + ky * g.dilation_y
            if 0 <= source_y < height:
                start = (image * height + source_y) * size
                widen(x, p.kind_x, start, size, p.move, rows[ky * size : (ky + 1) * size])
        for column in range(out_width):
            acc[:] = p.lowest if form == MAXIMUM else 0
            for ky in range(g.kernel_y):
                source_y = y * g.stride_y - g.top + ky * g.dilation_y
                for kx in range(g.kernel_x):
                    source_x = column * g.stride_x - g.left + kx * g.dilation_x
                    inside = 0 <= source_y < height and 0 <= source_x < width
                    place = ky * size + source_x * channels
                    values = rows[place : place + channels] if inside else empty
                    tap = ky * g.kernel_x + kx
                    if form == MAXIMUM:
                        if inside:
                            for c in range(channels):
                                acc[c] = max(acc[c], np.int64(values[c]))
                    elif form == AVERAGE:
                        if inside:
                            for c in range(channels):
                                acc[c] += np.int64(values[c])
                    elif made == 1 and each == 1:
                        row = weights[tap * channels : (tap + 1) * channels]
                        for c in range(channels):
                            acc[c] += np.int64(values[c]) * row[c]
                    else:
                        for group in range(groups):
                            w = (group * g.kernel_y * g.kernel_x + tap) * each * made
                            target = acc[group * made : (group + 1) * made]
                            for c in range(each):
                                value = np.int64(values[group * each + c])
                                row = weights[w + c * made : w + (c + 1) * made]
                                for o in range(made):
                                    target[o] += value * row[o]
            position = (line * out_width + column) * outs
            if form == MAXIMUM:
                write(acc, outs, out, p.kind, position)
            elif form == AVERAGE:
                for c in range(outs):
                    acc[c] = min(max(acc[c], INT32_MIN), INT32_MAX)
                finish(acc, epilogue, which[y * out_width + column], 0, outs, out, p.kind, position)
            else:
                finish(acc, epilogue, 0, 1, outs, out, p.kind, position)


@kernel
def sum_words(frame):  # type: ignore[no-untyped-def]
    """out[i] = finish(sum of x[base[i] + offsets]), any axes; scratch: int64 sums, int32 x."""
    p, x, base, offsets, epilogue, out, scratch = arrays(frame, WordSums, "uiiiuu")
    entries = p.entries
    acc = scratch[: 8 * entries].view(np.int64)
    values = scratch[8 * entries : 8 * entries + 4 * p.in_elements].view(np.int32)
    for image in range(p.batch):
        widen(x, p.kind_x, image * p.in_elements, p.in_elements, p.move, values)
        for first in range(0, p.out_elements, entries):
            for i in range(entries):
                total = np.int64(0)
                for t in range(offsets.size):
                    total += np.int64(values[base[first + i] + offsets[t]])
                acc[i] = min(max(total, INT32_MIN), INT32_MAX)
            place = image * p.out_elements + first
            finish(acc, epilogue, 0, 1, entries, out, p.kind, place)


def _geometry(op: Op, x: TensorSpec, output: TensorSpec, weights: np.ndarray) -> Geometry:
    """weights (O, kh, kw, C/group), of a pooling as well."""
    flat = "stride" not in op.attrs  # fully connected
    rows = int(np.prod(x.shape[:-1], dtype=np.int64))
    shape = (1, rows, x.shape[-1]) if flat else x.shape
    pads = (0, 0) if flat else op.integers("pads")
    stride, dilation = ((1, 1) if flat else op.integers(name) for name in ("stride", "dilation"))
    group = int(op.attrs.get("group", 1))  # type: ignore[arg-type]
    return Geometry(
        height=shape[0],
        width=shape[1],
        channels=shape[2],
        pitch=shape[2],
        out_height=1 if flat else output.shape[0],
        out_width=rows if flat else output.shape[1],
        outs=len(weights),
        kernel_y=weights.shape[1],
        kernel_x=weights.shape[2],
        stride_y=stride[0],
        stride_x=stride[1],
        dilation_y=dilation[0],
        dilation_x=dilation[1],
        top=pads[0],
        left=pads[1],
        groups=group,
        group_channels=weights.shape[3],
        group_outs=len(weights) // group,
        flip=0,
    )


def _plan(
    path: str,
    form: int,
    inputs: tuple[TensorSpec, TensorSpec],
    move: int,
    geometry: Geometry,
    constants: Sequence[np.ndarray],
    epilogue: Epilogue | None,
) -> OpPlan:
    """inputs: the input and the output; constants: weights, pads, which."""
    x, output = inputs
    rows = geometry.out_height
    parameters = WordRows(
        first=0,
        end=rows,
        form=form,
        kind_x=code_of(x),
        kind=code_of(output),
        move=move,
        lowest=x.qmin,
    )
    weights, pads, which = (np.ascontiguousarray(a, dtype=np.int64).reshape(-1) for a in constants)
    packed = pack(geometry)
    last = epilogue.wide_constants if epilogue is not None else np.zeros(1, dtype=np.int64)
    row = geometry.width * geometry.channels
    size = 8 * geometry.outs + 4 * (geometry.kernel_y * row + geometry.channels) + 256
    fixed = (weights, pads, which, last)
    return ranged_plan(path, window_words, parameters, fixed, size, (packed,))


def prepare_conv_words(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> OpPlan:
    """conv2d, depthwise_conv2d and fully_connected."""
    x, weights = inputs[0], op.consts["weights"]
    if weights.ndim == 2:  # fully connected
        weights = weights.reshape(weights.shape[0], 1, 1, weights.shape[1])
        pads = np.zeros(x.shape[-1])
    else:
        pads = op.consts.get("pad_values", np.full(x.shape[2], op.integer("pad_value")))
    geometry = _geometry(op, x, output, weights)
    if fits(op, x, geometry, pads):
        return prepare_planes(op, x, output, geometry, pads)
    group, outs = geometry.groups, geometry.group_outs
    # (groups, kh, kw, C/g, O/g); of a depthwise one (kh, kw, C): rows of neighbouring channels
    apart = weights.reshape(group, outs, *weights.shape[1:]).transpose(0, 2, 3, 4, 1)
    if outs == 1 and weights.shape[3] == 1:
        apart = apart[..., 0, 0].transpose(1, 2, 0)
    farthest = max(span(x), int(np.abs(pads).max(initial=0)))
    bound = largest_sum(weights) * farthest
    bias = op.consts["bias"].astype(np.int64)
    epilogue = prepare_epilogue(op, output, len(weights), bound, bias)
    nothing = np.zeros(1)
    return _plan("words-conv", CONV, (x, output), 0, geometry, (apart, pads, nothing), epilogue)


def prepare_pool_words(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> OpPlan:
    """maxpool and avgpool: distinct pairs of multiplier and shift are channels of the epilogue."""
    x, channels = inputs[0], inputs[0].shape[2]
    window = np.zeros((channels, *op.integers("kernel"), 1), dtype=np.int8)
    geometry = _geometry(op, x, output, window)
    nothing = np.zeros(1)
    if "mult" not in op.consts:
        constants = [nothing] * 3
        return _plan("words-maxpool", MAXIMUM, (x, output), 0, geometry, constants, None)
    shape = output.shape[:2]
    check_memory("an average at each place", 160 * shape[0] * shape[1])
    pairs = np.stack(
        [np.broadcast_to(op.consts[name], shape).reshape(-1) for name in ("mult", "shift")], axis=1
    )
    distinct, which = np.unique(pairs, axis=0, return_inverse=True)
    bound = reach(x) * int(np.prod(op.integers("kernel"), dtype=np.int64))
    mult, shift = distinct[:, 0], distinct[:, 1]
    epilogue = prepare_epilogue(op, output, len(distinct), bound, mult=mult, shift=shift)
    averages = [nothing, nothing, which]
    return _plan("words-avgpool", AVERAGE, (x, output), x.zero_point, geometry, averages, epilogue)


def prepare_sum_words(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> OpPlan:
    """reduce_sum: constants of the last axis that is left."""
    x, axes = inputs[0], sorted(set(op.integers("axes")))
    base, offsets = sum_places(x.shape, axes)
    kept = [axis for axis in range(len(x.shape)) if axis not in axes]
    entries = x.shape[kept[-1]] if kept else 1
    bound = min(reach(x) * len(offsets), INT32_MAX + 1)
    epilogue = prepare_epilogue(op, output, entries, bound)
    parameters = WordSums(
        batch=1,
        in_elements=x.elements,
        out_elements=len(base),
        kind_x=code_of(x),
        kind=code_of(output),
        move=x.zero_point,
        entries=entries,
    )
    size = 8 * entries + 4 * x.elements + 256

    constants = (base, offsets, epilogue.wide_constants)
    return batch_plan("words-reduce", sum_words, parameters, constants, size)


PREPARE = {
    "conv2d": prepare_conv_words,
    "depthwise_conv2d": prepare_conv_words,
    "fully_connected": prepare_conv_words,
    "maxpool": prepare_pool_words,
    "avgpool": prepare_pool_words,
    "reduce_sum": prepare_sum_words,
}
