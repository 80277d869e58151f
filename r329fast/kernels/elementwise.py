"""Eltwise of two tensors in blocks of L1 size, and the wide form of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from r329fast.base.integers import INT32_MAX
from r329fast.kernels.epilogue import FLOAT32_INTEGERS, prepare_epilogue
from r329fast.kernels.leaves.rows import epilogue_rows
from r329fast.kernels.leaves.vector import (
    add_bytes,
    move_bytes,
    multiply_bytes,
    row_width,
    scale_bytes,
    spread_factors,
)
from r329fast.kernels.runtime.kernel import arrays, kernel
from r329fast.kernels.runtime.one_call import ranged_plan
from r329fast.kernels.runtime.op_plan import SLACK, OpPlan, Step, flip_of
from r329fast.kernels.runtime.parameters import pack
from r329fast.kernels.words.elementwise import prepare_pair
from r329fast.program.program import Op, TensorSpec

ADD, SUB, MUL, MAX, MIN = range(5)
_METHODS = {"ADD": ADD, "SUB": SUB, "MUL": MUL, "MAX": MAX, "MIN": MIN}
_BLOCK = 512  # elements of a block, at least: a multiple of the channels


class Eltwise(NamedTuple):
    batch: int  # images
    elements: int  # of a and of the output, per image
    elements_b: int  # of b per image: as many, or one per channel
    method: int  # ADD, SUB, MUL, MAX or MIN
    flip_a: int  # 128 for int8, 0 for uint8
    flip_b: int
    move_a: int  # added to (byte ^ flip): the integer with its zero point
    move_b: int
    scale_a: int  # factors of both sides, unless they are multiplied
    scale_b: int


class Blocks(NamedTuple):
    block: int  # elements made at once, a multiple of elements_b where that is smaller
    pitch: int  # entries of a row of epilogue constants


class AddRange(NamedTuple):
    first: int  # byte (over all images) to begin with
    end: int
    flip_a: int  # 128 for int8, 0 for uint8
    flip_b: int


class MultiplyRange(NamedTuple):
    first: int  # byte (over all images) to begin with
    end: int
    flip_a: int  # 128 for int8, 0 for uint8
    flip_b: int


class ScaleRows(NamedTuple):
    first: int  # row of channels (over all images) to begin with
    end: int
    rows: int  # of one image
    channels: int
    width: int  # columns with constants, as if so many channels: a multiple of them
    flip_a: int  # 128 for int8, 0 for uint8
    flip_b: int


@kernel
def eltwise_blocks(frame):  # type: ignore[no-untyped-def]
    """Any method with int32 results: blocks of accumulators in L1, each finished at once."""
    p, s, a, b, epilogue, out, scratch = arrays(frame, Eltwise, Blocks, "uufuu")
    batch, elements, elements_b, method = p.batch, p.elements, p.elements_b, p.method
    flip_a, flip_b = np.uint8(p.flip_a), np.uint8(p.flip_b)
    move_a, move_b = np.int32(p.move_a), np.int32(p.move_b)
    scale_a, scale_b = np.int32(p.scale_a), np.int32(p.scale_b)
    block, pitch = s.block, s.pitch
    acc = scratch[: 4 * block].view(np.int32)
    spread = scratch[4 * block + 64 : 5 * block + 64]
    for image in range(batch):
        # b per channel is repeated over one block: every block begins at channel 0.
        if elements_b < elements:
            for i in range(block):
                spread[i] = b[image * elements_b + i % elements_b]
        for first in range(0, elements, block):
            count = min(block, elements - first)
            start = image * elements + first
            va = a[start : start + count]
            vb = spread if elements_b < elements else b[start : start + count]
            # A loop per method, with int32 at every step: LLVM makes vectors of each.
            if method == ADD:
                for i in range(count):
                    left = np.int32(np.int32(va[i] ^ flip_a) + move_a)
                    right = np.int32(np.int32(vb[i] ^ flip_b) + move_b)
                    acc[i] = np.int32(np.int32(left * scale_a) + np.int32(right * scale_b))
            elif method == MUL:
                for i in range(count):
                    left = np.int32(np.int32(va[i] ^ flip_a) + move_a)
                    right = np.int32(np.int32(vb[i] ^ flip_b) + move_b)
                    acc[i] = np.int32(left * right)
            else:
                for i in range(count):
                    left = np.int32(np.int32(va[i] ^ flip_a) + move_a)
                    right = np.int32(np.int32(vb[i] ^ flip_b) + move_b)
                    left, right = np.int32(left * scale_a), np.int32(right * scale_b)
                    if method == SUB:
                        acc[i] = np.int32(left - right)
                    elif method == MAX:
                        acc[i] = max(left, right)
                    else:
                        acc[i] = min(left, right)
            epilogue_rows(
                scratch.ctypes.data,
                0,
                epilogue.ctypes.data,
                0,
                pitch,
                count,
                1,
                out.ctypes.data + start,
                0,
            )


@kernel
def add_range(frame):  # type: ignore[no-untyped-def]
    """Bytes first..end: finish(a * scales[0] + b * scales[1] + scales[2]); scales: float32."""
    p, a, b, scales, epilogue, out = arrays(frame, AddRange, "uuufu")
    add_bytes(
        a.ctypes.data + p.first, b.ctypes.data + p.first, p.flip_a, p.flip_b, scales.ctypes.data,
        epilogue.ctypes.data, p.end - p.first, out.ctypes.data + p.first,
    )  # fmt: skip


@kernel
def multiply_range(frame):  # type: ignore[no-untyped-def]
    """Bytes first..end: finish((a + moves[0]) * (b + moves[1])); moves: float32."""
    p, a, b, moves, epilogue, out = arrays(frame, MultiplyRange, "uuufu")
    multiply_bytes(
        a.ctypes.data + p.first, b.ctypes.data + p.first, p.flip_a, p.flip_b, moves.ctypes.data,
        epilogue.ctypes.data, p.end - p.first, out.ctypes.data + p.first,
    )  # fmt: skip


@kernel
def scale_channels(frame):  # type: ignore[no-untyped-def]
    """Rows first..end times the image's b, one value per channel, several as one long row.

    moves: two float32. scratch: b for each column of such a row, then their factors.
    """
    p, a, b, moves, epilogue, out, scratch = arrays(frame, ScaleRows, "uuufuu")
    rows, channels, width = p.rows, p.channels, p.width
    spread, factors = scratch.ctypes.data, scratch.ctypes.data + width + SLACK
    place = p.first
    while place < p.end:
        image = place // rows
        length = (min((image + 1) * rows, p.end) - place) * channels
        size = min(width, length)
        move_bytes(
            spread, channels, b.ctypes.data + image * channels, 0, size // channels, channels
        )
        spread_factors(spread, p.flip_b, moves.ctypes.data, epilogue.ctypes.data, size, factors)
        source, target = a.ctypes.data + place * channels, out.ctypes.data + place * channels
        whole = length // size
        scale_bytes(
            source, p.flip_a, moves.ctypes.data, factors, epilogue.ctypes.data, size, whole, target
        )  # fmt: skip
        done = whole * size
        if done < length:
            scale_bytes(
                source + done, p.flip_a, moves.ctypes.data, factors, epilogue.ctypes.data,
                length - done, 1, target + done,
            )  # fmt: skip
        place += length // channels


def prepare_eltwise(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> OpPlan:
    """The second input has the first one's shape or (1, .., 1, C)."""
    a, b = inputs
    method = op.text("method")
    scales = [int(v) for v in op.consts["scales"]]
    flips = [flip_of(spec) for spec in inputs]
    moves = [spec.zero_point - flip for spec, flip in zip(inputs, flips, strict=True)]
    reach = [max(abs(move), abs(255 + move)) for move in moves]
    if method == "MUL":
        bound = reach[0] * reach[1]
    else:
        bound = reach[0] * abs(scales[0]) + reach[1] * abs(scales[1])
    channels = a.shape[-1]
    same = all(
        op.consts[name].size == 1 for name in ("mult", "shift", "slope") if name in op.consts
    )
    flat = same and a.shape == b.shape
    signs = {"ADD": (1, 1), "SUB": (1, -1)}
    if flat and method in signs and bound <= FLOAT32_INTEGERS:
        epilogue = prepare_epilogue(op, output, 1, bound)
        if epilogue.rounds_once:
            factors = [sign * scale for sign, scale in zip(signs[method], scales, strict=True)]
            move = sum(m * factor for m, factor in zip(moves, factors, strict=True))
            if max(abs(move), *(255 * abs(factor) for factor in factors)) <= FLOAT32_INTEGERS:
                return _prepare_add(a.elements, flips, (*factors, move), epilogue.constants)
    if same and method == "MUL" and bound <= FLOAT32_INTEGERS:
        epilogue = prepare_epilogue(op, output, 1, bound)
        # the factor of a channel is a product of float32 as well
        exact = a.shape == b.shape or reach[1] * int(op.consts["mult"][0]) <= FLOAT32_INTEGERS
        if epilogue.rounds_once and exact:
            return _prepare_multiply(a, b, flips, moves, epilogue.constants)
    block = _BLOCK if flat else channels * -(-_BLOCK // channels)
    tiled: dict[str, np.ndarray] = {
        name: np.tile(np.broadcast_to(op.consts[name], (channels,)), block // channels)
        for name in ("mult", "shift", "slope")
        if name in op.consts and op.consts[name].size > 1
    }
    tiled_op = Op(op.kind, op.layer, op.inputs, op.outputs, op.attrs, {**op.consts, **tiled})
    epilogue = prepare_epilogue(tiled_op, output, block, bound)
    parameters = Eltwise(
        batch=1,
        elements=a.elements,
        elements_b=b.elements,
        method=_METHODS[method],
        flip_a=flips[0],
        flip_b=flips[1],
        move_a=moves[0],
        move_b=moves[1],
        scale_a=scales[0],
        scale_b=scales[1],
    )
    if epilogue.wide or bound > INT32_MAX:
        return prepare_pair(op, inputs, output)

    blocks = Blocks(block=block, pitch=epilogue.pitch)

    def bind(
        batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
    ) -> list[Step]:
        p, s = pack(parameters._replace(batch=batch)), pack(blocks)
        return [(eltwise_blocks, (p, s, inputs[0], inputs[1], epilogue.constants, output, scratch))]

    return OpPlan("vector-eltwise", bind, lambda batch: 5 * block + 256)


def _prepare_add(
    elements: int, flips: Sequence[int], scales: Sequence[int], constants: np.ndarray
) -> OpPlan:
    """Sum or difference whose every step float32 holds exactly."""
    packed = np.array(scales, dtype=np.float32).view(np.uint8)
    parameters = AddRange(first=0, end=elements, flip_a=flips[0], flip_b=flips[1])
    return ranged_plan("vector-add", add_range, parameters, (packed, constants))


def _prepare_multiply(
    a: TensorSpec,
    b: TensorSpec,
    flips: Sequence[int],
    moves: Sequence[int],
    constants: np.ndarray,
) -> OpPlan:
    """Products that float32 holds exactly, of equal shapes or with one value per channel."""
    packed = np.array(moves, dtype=np.float32).view(np.uint8)
    if a.shape == b.shape:
        whole = MultiplyRange(first=0, end=a.elements, flip_a=flips[0], flip_b=flips[1])
        return ranged_plan("vector-multiply", multiply_range, whole, (packed, constants))
    channels = a.shape[-1]
    rows = a.elements // channels
    width = row_width(channels)
    scaled = ScaleRows(
        first=0,
        end=rows,
        rows=rows,
        channels=channels,
        width=width,
        flip_a=flips[0],
        flip_b=flips[1],
    )
    size = 5 * (width + SLACK)
    return ranged_plan("vector-scale", scale_channels, scaled, (packed, constants), size)


PREPARE = {"eltwise": prepare_eltwise}
