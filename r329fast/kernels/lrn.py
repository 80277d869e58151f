"""Local response normalisation: vectors of int32 where that is exact, int64 otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from r329fast.base.integers import INT32_MAX
from r329fast.kernels.epilogue import prepare_epilogue
from r329fast.kernels.epilogue_wide import ROUNDING_CODES, epilogue_wide, round_shift_wide
from r329fast.kernels.leaves.rows import epilogue_rows
from r329fast.kernels.runtime.kernel import arrays, kernel
from r329fast.kernels.runtime.one_call import ranged_plan
from r329fast.kernels.runtime.op_plan import OpPlan, Step, aligned, flip_of
from r329fast.kernels.runtime.parameters import pack
from r329fast.program.ops.bounds import reach
from r329fast.program.program import Op, TensorSpec

_FRACTION = 256  # parts of an entry of the table


class Lrn(NamedTuple):
    rows: int  # over all images
    channels: int
    flip: int  # 128 for int8, 0 for uint8
    move: int  # added to (byte ^ flip): the integer with its zero point
    before: int  # channels of the window before its own
    after: int
    sum_mult: int  # the sum of squares to an index (8 bits) and a fraction (8 bits) of the table
    sum_shift: int
    rounding: int  # a value of ROUNDING_CODES
    entries: int  # channels of the epilogue's constants: one, or one per channel


class LrnVectors(NamedTuple):
    first: int  # row (over all images) to begin with
    end: int
    channels: int
    flip: int  # 128 for int8, 0 for uint8
    move: int  # added to (byte ^ flip): the integer with its zero point
    size: int  # channels of a window
    before: int  # of which before its own
    sum_mult: int  # the sum of squares to an index (8 bits) and a fraction (8 bits) of the table
    sum_shift: int
    base: int  # added before that shift, for its rounding
    odd: int  # 1: and one more where the result is odd
    pitch: int  # entries of a row of epilogue constants


@kernel
def lrn_rows(frame):  # type: ignore[no-untyped-def]
    """Every value times a factor that a table gives, interpolated, for its neighbours' squares."""
    p, x, table, epilogue, out = arrays(frame, Lrn, "uiiu")
    rows, channels, flip, move = p.rows, p.channels, p.flip, p.move
    before, after, entries = p.before, p.after, p.entries
    for r in range(rows):
        start = r * channels
        for c in range(channels):
            total = 0
            # the window slides over channels, cut at both ends
            for i in range(max(c - before, 0), min(c + after, channels - 1) + 1):
                near = (np.int64(x[start + i]) ^ flip) + move
                total += near * near
            scaled = round_shift_wide(total * p.sum_mult, p.sum_shift, p.rounding)
            u = min(max(scaled, 0), 65535)
            index, fraction = u >> 8, u & 255
            low = table[index]
            factor = low + (((table[min(index + 1, 255)] - low) * fraction) >> 8)
            value = epilogue_wide(
                ((np.int64(x[start + c]) ^ flip) + move) * factor, epilogue, c % entries, entries
            )
            out[start + c] = np.uint8(value & 255)


@kernel
def lrn_vectors(frame):  # type: ignore[no-untyped-def]
    """Rows first..end. table: int32, 256 entries, then what leads from each to the next.

    scratch: int32, squares with the window's borders, then sums and products of a row.
    """
    p, x, table, epilogue, out, scratch = arrays(frame, LrnVectors, "uufuu")
    channels, flip, move = p.channels, np.uint8(p.flip), np.int32(p.move)
    mult, base, wide = np.uint64(p.sum_mult), np.uint64(p.base), 4 * (channels + p.size - 1)
    shift, odd = np.uint64(p.sum_shift), np.uint64(p.odd)
    entries, steps = table[:1024].view(np.int32), table[1024:2048].view(np.int32)
    squares = scratch[:wide].view(np.int32)
    acc = scratch[wide : wide + 4 * channels].view(np.int32)
    squares[:] = 0
    inside = squares[p.before : p.before + channels]
    for r in range(p.first, p.end):
        values = x[r * channels : (r + 1) * channels]
        for c in range(channels):
            a = np.int32(np.int32(values[c] ^ flip) + move)
            inside[c] = np.int32(a * a)
        acc[:] = 0
        for t in range(p.size):
            near = squares[t : t + channels]
            for c in range(channels):
                acc[c] += near[c]
        # three loops: LLVM makes vectors of the first and the last
        for c in range(channels):
            product = np.uint64(np.uint32(acc[c])) * mult
            u = (product + base + ((product >> shift) & odd)) >> shift
            acc[c] = np.int32(min(u, np.uint64(65535)))
        for c in range(channels):
            entry, fraction = np.uint32(acc[c]) >> np.uint32(8), np.int32(acc[c] & np.int32(255))
            step = np.int32(np.int32(steps[entry] * fraction) >> np.int32(8))
            acc[c] = np.int32(entries[entry] + step)
        for c in range(channels):
            acc[c] = np.int32(np.int32(np.int32(values[c] ^ flip) + move) * acc[c])
        epilogue_rows(
            acc.ctypes.data, 0, epilogue.ctypes.data, 0, p.pitch, channels, 1,
            out.ctypes.data + r * channels, channels,
        )  # fmt: skip


def _prepare_wide(op: Op, x: TensorSpec, output: TensorSpec) -> OpPlan:
    channels, size = x.shape[-1], op.integer("size")
    entries = int(max(op.consts["mult"].size, op.consts["shift"].size))
    epilogue = prepare_epilogue(op, output, entries, 1 << 34)
    parameters = Lrn(
        rows=x.elements // channels,
        channels=channels,
        flip=flip_of(x),
        move=x.zero_point - flip_of(x),
        before=size // 2,
        after=(size - 1) // 2,
        sum_mult=op.integer("sum_mult"),
        sum_shift=op.integer("sum_shift"),
        rounding=ROUNDING_CODES[op.text("rounding")],
        entries=entries,
    )
    table = op.consts["table"].astype(np.int64)

    def bind(
        batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
    ) -> list[Step]:
        p = pack(parameters._replace(rows=batch * parameters.rows))
        return [(lrn_rows, (p, inputs[0], table, epilogue.wide_constants, output))]

    return OpPlan("int64-lrn", bind, lambda batch: 0)


def prepare_lrn(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> OpPlan:
    """int32 holds the squares' sums and the products with a factor; else int64 takes the op."""
    x, size, channels = inputs[0], op.integer("size"), inputs[0].shape[-1]
    shift, table = op.integer("sum_shift"), op.consts["table"].astype(np.int64)
    highest = int(np.abs(table).max())
    sums, products = size * reach(x) ** 2, reach(x) * highest
    epilogue = prepare_epilogue(op, output, channels, products)
    largest = max(sums, products, 2 * _FRACTION * highest)
    if epilogue.wide or largest > INT32_MAX or not 0 <= shift <= 62:
        return _prepare_wide(op, x, output)
    half, rounding = 1 << shift >> 1, op.text("rounding")
    even = int(rounding == "half_even" and shift > 0)
    parameters = LrnVectors(
        first=0,
        end=x.elements // channels,
        channels=channels,
        flip=flip_of(x),
        move=x.zero_point - flip_of(x),
        size=size,
        before=size // 2,
        sum_mult=op.integer("sum_mult"),
        sum_shift=shift,
        base=0 if rounding == "floor" else half - even,
        odd=even,
        pitch=epilogue.pitch,
    )
    both = np.stack([table, np.append(table[1:], table[-1]) - table]).astype(np.int32)
    constants = (aligned(both.reshape(-1).view(np.uint8)), epilogue.constants)
    room = 4 * (2 * channels + size) + 256
    return ranged_plan("vector-lrn", lrn_vectors, parameters, constants, room)


PREPARE = {"lrn": prepare_lrn}
