"""Square depthwise windows on the byte paths of x86: four inputs in one dot product."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from r329fast.kernels.conv.block_rows import (
    GAP,
    POSSIBLE,
    block_parts,
    depthwise_epilogue,
    ring_row_bytes,
    takes,
)
from r329fast.kernels.conv.layout import ConvLayout, Geometry
from r329fast.kernels.conv.ring import double_row
from r329fast.kernels.epilogue import Epilogue
from r329fast.kernels.ir import depthwise_quads as quads_ir
from r329fast.kernels.ir import epilogue as epilogue_ir
from r329fast.kernels.ir.quad_forms import FORMS, ROWS, Form, Kind, form, is_flat, repeat
from r329fast.kernels.leaves.leaf import leaf
from r329fast.kernels.leaves.vector import move_bytes
from r329fast.kernels.runtime.compiling import kernel_part
from r329fast.kernels.runtime.isa import ISA, PERMUTES_BYTES
from r329fast.kernels.runtime.kernel import KERNELS, arrays, leaf_kernel
from r329fast.kernels.runtime.one_call import pitched_plan, ranged_plan
from r329fast.kernels.runtime.op_plan import OpPlan, aligned
from r329fast.kernels.runtime.parameters import pack
from r329fast.program.program import Op, TensorSpec

# Emulated, quads of flat forms are put together from plain loads; so they are on CPUs without VBMI.
_PERMUTES = PERMUTES_BYTES and not ISA.emulated
quad_rows: Any = leaf("quad_rows", quads_ir.emit_quad_rows, ISA, _PERMUTES)
_LEFT = 7  # columns of a form at the left end
_LEAST_MIRRORED = 11  # columns that both ends make, the few in the middle twice
_BLOCK_BYTES = 16 << 10  # of inputs of a block of channels that one call makes
_LEAST_WIDTH = 16  # output columns from which on the input is read in place


class QuadRows(NamedTuple):
    first: int  # pair of output rows image * pairs + index to begin with
    end: int
    pairs: int  # of an image; the last begins a row earlier where rows are odd
    form: int  # its number in FORMS
    at_once: int  # pairs that one call makes of each block of channels
    input_rows: int  # under so many pairs of output rows
    row_bytes: int  # of a ring row
    spare_bytes: int  # for half the results of a step
    whole: int  # blocks of channels
    halves: int
    multiplier: int  # filters per channel: 1 or 2
    vector: int  # channels in whole blocks: of a column, or of a run of columns
    across: int  # bytes from one output column, or run, to the next
    step: int  # columns that a step makes
    left: int  # output columns whose inputs lie in the ring, at the left: all of them, or few
    inside: int  # output columns behind them that read the input in place
    right: int  # output columns at the end whose inputs lie in the ring too
    left_columns: int  # input columns in the ring for `left`
    right_columns: int
    mirrored: int  # bytes of the constants before those of the right end, made in place; 0: none
    first_inside: int  # input column of the first output column in place
    inside_columns: int  # input columns from there on


@kernel_part
def load_columns(g, target, first, columns, x, pads, image, source_y):  # type: ignore[no-untyped-def]
    """Input columns first..first + columns of row `source_y`, or padding, into a row of padding."""
    left = max(first, 0)
    count = min(first + columns, g.width) - left
    if count <= 0:
        return
    channels = g.channels
    place = target + (left - first) * channels
    if not 0 <= source_y < g.height:
        move_bytes(place, channels, pads, 0, count, channels)
        return
    source = x + ((image * g.height + source_y) * g.width + left) * g.pitch
    runs, run = (1, count * channels) if g.pitch == channels else (count, channels)
    move_bytes(place, run, source, g.pitch, runs, run)


@leaf_kernel
def depthwise_quads(frame):  # type: ignore[no-untyped-def]
    """Pairs of output rows first..end.

    Input is read where it lies, but for the columns at both ends (or all of a narrow map): these
    are in a ring of rows with their padding, which the pair below shares. scratch: addresses of
    ring rows at the left, of input rows, of ring rows at the right; results of half a step; the
    ring; a row of padding, or, with two filters per channel, of inputs to double.
    """
    p, g, x, constants, pads, epilogue, out, scratch = arrays(frame, QuadRows, Geometry, "uuufuu")
    channels, out_height, out_width, pairs = g.outs, g.out_height, g.out_width, p.pairs
    row_bytes, most = p.row_bytes, p.input_rows
    rows = scratch[: 8 * 3 * most].view(np.int64)
    spare = scratch.ctypes.data + (8 * 3 * most + 63) // 64 * 64
    ring = spare + p.spare_bytes
    behind = ring + most * row_bytes
    x_start, pads_start = x.ctypes.data, pads.ctypes.data
    in_ring = p.left_columns + p.right_columns
    once = p.multiplier == 1
    for row in range(most if once else 1):
        target = ring + row * row_bytes if once else behind
        move_bytes(target, g.channels, pads_start, 0, in_ring, g.channels)
    if once:
        move_bytes(behind, g.pitch, pads_start, 0, p.inside_columns, channels)
    last = (out_width - p.right) * g.stride_x - g.left  # input column of the right
    made, image, place = 0, -1, p.first
    while place < p.end:
        if place // pairs != image:
            image = place // pairs
            made = 0
        index = place - image * pairs
        several = min(p.at_once, pairs - index, p.end - place)
        y = min(2 * index, out_height - 2)
        lines = min(2 * several, out_height - y)
        top = y * g.stride_y
        count = (lines - 1) * g.stride_y + g.kernel_y
        if in_ring > 0:
            for row in range(max(made, top), top + count):
                place_of = ring + row % most * row_bytes
                target = place_of if once else behind
                load_columns(
                    g, target, -g.left, p.left_columns, x_start, pads_start, image, row - g.top
                )  # fmt: skip
                if p.right > 0:
                    load_columns(
                        g, target + p.left_columns * channels, last, p.right_columns, x_start,
                        pads_start, image, row - g.top,
                    )  # fmt: skip
                if not once:
                    double_row(place_of, behind, in_ring * g.channels)
            made = top + count
            for i in range(count):
                rows[i] = ring + (top + i) % most * row_bytes
                rows[2 * most + i] = rows[i] + p.left_columns * channels
        if p.inside > 0:
            line_bytes = g.width * g.pitch
            source = x_start + (image * g.height + top - g.top) * line_bytes
            source += p.first_inside * g.pitch
            for i in range(count):
                inside = 0 <= top - g.top + i < g.height
                rows[most + i] = source + i * line_bytes if inside else behind
                if p.mirrored > 0:
                    rows[2 * most + i] = rows[most + i] + line_bytes - g.pitch
        target = out.ctypes.data + (image * out_height + y) * out_width * channels
        for part in range(3):
            width = p.left if part == 0 else p.inside if part == 1 else p.right
            column = 0 if part == 0 else p.left if part == 1 else out_width - p.right
            pitch = g.pitch if part == 1 else channels
            across, weights = p.across, constants.ctypes.data
            if part == 2 and p.mirrored > 0:  # from the last column on, backwards
                column, pitch, across = out_width - 1, -g.pitch, -across
                weights += p.mirrored
            if width > 0:
                quad_rows(
                    p.form, scratch.ctypes.data + 8 * most * part, several, lines, pitch,
                    p.vector, p.whole, p.halves, weights, epilogue.ctypes.data, width, p.step,
                    target + column * channels, across, out_width * channels, spare,
                )  # fmt: skip
        place += several


if not POSSIBLE:
    KERNELS.remove(depthwise_quads)  # other paths lack its instructions: nothing may compile it


def _beside(weights: np.ndarray, pads: np.ndarray, kind: Kind) -> np.ndarray:
    """What padding beside the map adds to the sums of each output column, (columns, channels).

    weights (C, k, k); pads: of each channel. Only for forms at the edge.
    """
    outside = form(kind).outside
    taps = weights.astype(np.int64).sum(axis=1) * pads.astype(np.int64)[:, None]  # (C, k)
    return np.stack([taps[:, columns].sum(axis=1) for columns in outside])


def _constants(
    weights: np.ndarray, biases: np.ndarray, factors: np.ndarray, chosen_form: Form
) -> np.ndarray:
    """uint8: for each block its weights [weight][quarter][lane][4 taps], biases, factors."""
    channels = len(weights)
    parts = []
    for first, lanes in quads_ir.block_starts(channels, chosen_form.lanes):
        size = 4 * lanes
        # [quarter][lane] -> channel of the block, as interleaving leaves them
        groups = np.arange(size).reshape(lanes // 4, 4, 4).transpose(1, 0, 2).reshape(4, lanes)
        if chosen_form.kind.flat:
            groups = np.arange(size).reshape(4, lanes)
        valid = first + groups < channels
        chosen = np.minimum(first + groups, channels - 1)
        taps = np.zeros((len(chosen_form.weights), 4, lanes, 4), dtype=np.int8)
        for index, places in enumerate(chosen_form.weights):
            for position, tap in enumerate(places):
                if tap is not None:
                    taps[index, ..., position] = weights[chosen, tap[0], tap[1]] * valid
        parts += block_parts(taps, biases, factors, chosen, valid)
    return aligned(np.concatenate(parts))


def _in_words(weights: np.ndarray, bias: np.ndarray, epilogue: Epilogue) -> bool:
    """Whether every result, counted from the lowest allowed one, has 15 bits before it is cut.

    And whether the kernel can count from there: rounding twice, ties need it to be even.
    """
    low = int(epilogue.constants[epilogue_ir.LOW])
    twice = epilogue.constants[epilogue_ir.FORM] == epilogue_ir.TWICE
    flat = weights.reshape(len(weights), -1).astype(np.int64)
    highest = bias + 255 * np.maximum(flat, 0).sum(1)
    lowest = bias + 255 * np.minimum(flat, 0).sum(1)
    largest = np.maximum(np.abs(highest), np.abs(lowest))
    factors = epilogue.factors[: len(weights)].astype(np.float64) / (256 if twice else 1)
    inside = float((largest * factors).max(initial=0.0)) + abs(low) + 2 < 1 << 15
    return inside and not (twice and low % 2)


def kind_of(layout: ConvLayout, pitch: int) -> Kind:
    """The form of a layer; pitch: bytes from one input column to the next."""
    kernel, stride, channels = layout.kernel[0], layout.stride[0], layout.channels
    pad, width = kernel // 2, layout.out_width
    if len(layout.weights) > channels:
        return Kind(kernel, stride)
    if layout.width == width and layout.top_left[1] == pad and channels >= 64:
        whole, left = Kind(kernel, stride, whole=width), Kind(kernel, stride, left=_LEFT)
        if whole in FORMS:
            return whole
        if left in FORMS and _LEAST_MIRRORED <= width <= 2 * _LEFT:
            return left
    flat = Kind(kernel, stride, flat=True)
    few = is_flat(channels, stride) and pitch == channels
    if flat in FORMS and few and width >= form(flat).outputs * repeat(channels):
        return flat
    return Kind(kernel, stride)


def _step(layout: ConvLayout, chosen: Form) -> int:
    """Output columns that a step makes."""
    return chosen.outputs * (repeat(layout.channels) if chosen.kind.flat else 1)


def split_columns(layout: ConvLayout, chosen: Form) -> tuple[int, int, int]:
    """Output columns that read a copy at the left, the input in place, a copy at the right.

    In place no vector reaches past the input: blocks of channels end with the channels, and the
    last columns of the map belong to the right.
    """
    width, kernel, stride = layout.out_width, layout.kernel[1], layout.stride[1]
    if chosen.at_edge:
        return 0, chosen.at_edge, chosen.kind.left
    pad, step = layout.top_left[1], _step(layout, chosen)
    left = 0 if pad == 0 else step
    inside = width - left - step
    ends = (width - step - 1) * stride - pad + kernel <= layout.width
    possible = layout.channels >= 32 or chosen.kind.flat
    possible = possible and len(layout.weights) == layout.channels
    if not (possible and ends and left * stride >= pad and inside >= step) or width < _LEAST_WIDTH:
        return width, 0, 0
    return left, inside, step


def prepare_quads(op: Op, layout: ConvLayout, output: TensorSpec) -> OpPlan | None:
    """The path for a layer of the FORMS to uint8; None where it is another layer, or not exact."""
    outs, kernel = len(layout.weights), layout.kernel[0]
    square = layout.kernel == (kernel, kernel) and layout.dilation == (1, 1)
    even = layout.stride[0] == layout.stride[1] and Kind(kernel, layout.stride[0]) in FORMS
    few = outs <= 2 * layout.channels
    few = few and layout.input_flip == 0  # int8 to uint8: only in programs of mixed types
    if not (square and even and few and layout.out_height >= ROWS and takes(layout, output)):
        return None
    exact = depthwise_epilogue(op, layout, output)
    if exact is None:
        return None
    bias, epilogue = exact
    weights = layout.weights.reshape(outs, kernel, kernel)
    if not _in_words(weights, bias, epilogue):
        return None

    def reading(pitch: int) -> OpPlan:
        kind = kind_of(layout, pitch)
        times = repeat(outs) if kind.flat else 1
        chosen = form(kind)
        turned = [weights, weights[:, :, ::-1]] if kind.left else [weights]
        parts = []
        for each in turned:
            beside = _beside(each, layout.pads[:outs], kind) if chosen.at_edge else 0
            part = _constants(
                np.tile(each, (times, 1, 1)),
                np.tile(bias + beside, times),
                np.tile(epilogue.factors[:outs], times),
                chosen,
            )
            parts.append(part)
        constants = aligned(np.concatenate(parts))
        mirrored = len(parts[0]) if kind.left else 0
        parameters, scratch_bytes = _parameters(layout, chosen, pitch)
        parameters = parameters._replace(mirrored=mirrored)
        before = (pack(layout.geometry(layout.input_flip)._replace(pitch=pitch)),)
        packed = (constants, layout.pads, epilogue.constants)
        path = f"{ISA.name}-quads"
        return ranged_plan(path, depthwise_quads, parameters, packed, scratch_bytes, before)

    return pitched_plan(reading, layout.channels)


def _parameters(layout: ConvLayout, chosen: Form, pitch: int) -> tuple[QuadRows, int]:
    """What the kernel takes, and its bytes of scratch."""
    kind, outs, stride = chosen.kind, len(layout.weights), layout.stride[1]
    left, inside, right = split_columns(layout, chosen)
    left_columns, inside_columns, right_columns = (
        (width - 1) * stride + kind.kernel if width else 0 for width in (left, inside, right)
    )
    first_inside = left * stride - layout.top_left[1]
    if chosen.at_edge:
        first_inside, inside_columns = 0, layout.width
        left_columns = right_columns = 0
    row_bytes = ring_row_bytes(left_columns + right_columns, outs)
    pairs = -(-layout.out_height // ROWS)
    pair_bytes = ROWS * stride * layout.width * min(outs, 64)
    at_once = min(pairs, max(_BLOCK_BYTES // pair_bytes, 1))
    input_rows = (ROWS * at_once - 1) * stride + kind.kernel
    vector = outs * (repeat(outs) if kind.flat else 1)
    whole, halves = quads_ir.cover(vector, chosen.lanes)
    spare_bytes = 64 * ROWS * chosen.outputs
    parameters = QuadRows(
        first=0,
        end=pairs,
        pairs=pairs,
        form=FORMS.index(kind),
        at_once=at_once,
        input_rows=input_rows,
        row_bytes=row_bytes,
        spare_bytes=spare_bytes,
        whole=whole,
        halves=halves,
        multiplier=outs // layout.channels,
        vector=vector,
        across=vector,
        step=_step(layout, chosen),
        left=left,
        inside=inside,
        right=right,
        left_columns=left_columns,
        right_columns=right_columns,
        mirrored=0,
        first_inside=first_inside,
        inside_columns=inside_columns,
    )
    table_bytes = 8 * 3 * input_rows + 64
    behind_bytes = max(inside_columns * pitch, (left_columns + right_columns) * layout.channels)
    size = table_bytes + spare_bytes + input_rows * row_bytes + behind_bytes + GAP
    return parameters, size
