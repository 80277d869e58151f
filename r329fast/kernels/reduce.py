"""Sums over axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from r329fast.base.integers import INT32_MAX, INT32_MIN
from r329fast.kernels.epilogue import prepare_epilogue
from r329fast.kernels.epilogue_wide import epilogue_wide
from r329fast.kernels.ir.mean import MOST
from r329fast.kernels.leaves.rows import epilogue_rows, sum_rows
from r329fast.kernels.mean import prepare_means
from r329fast.kernels.places import sum_places
from r329fast.kernels.runtime.kernel import arrays, kernel
from r329fast.kernels.runtime.one_call import ranged_plan
from r329fast.kernels.runtime.op_plan import OpPlan, Step, flip_of
from r329fast.kernels.runtime.parameters import pack
from r329fast.program.program import Op, TensorSpec

_BLOCK = 512  # neighbouring sums of one part
_SMALL = 1 << 17  # bytes of an image whose sums are not worth cutting into parts


class SumRows(NamedTuple):
    first: int  # part (of all images) to begin with
    end: int
    summed: int  # x [outer, summed, inner]
    inner: int
    parts: int  # of inner, `block` sums each but for the last
    block: int
    flip: int  # 128 for int8, 0 for uint8
    move: int  # added to (byte ^ flip): the integer with its zero point
    pitch: int  # entries of a row of epilogue constants


class SumLines(NamedTuple):
    first: int  # line (over all images) to begin with
    end: int
    summed: int  # neighbours of a line
    flip: int  # 128 for int8, 0 for uint8
    move: int  # added to (byte ^ flip): the integer with its zero point
    block: int  # lines that are finished at once
    pitch: int  # entries of a row of epilogue constants


class SumAny(NamedTuple):
    batch: int  # images
    in_elements: int  # of one image
    out_elements: int  # of one image
    flip: int  # 128 for int8, 0 for uint8
    move: int  # added to (byte ^ flip): the integer with its zero point
    entries: int  # channels of the epilogue's constants


@kernel
def reduce_rows(frame):  # type: ignore[no-untyped-def]
    """x [outer, summed, inner] -> out [outer, inner]: parts of neighbouring sums, in int32."""
    p, x, epilogue, out, scratch = arrays(frame, SumRows, "ufuu")
    summed, inner, block = p.summed, p.inner, p.block
    acc, words = scratch[: 4 * block].view(np.int32), scratch[4 * block : 6 * block].view(np.uint16)
    for place in range(p.first, p.end):
        outer = place // p.parts
        column = (place - outer * p.parts) * block
        count = min(block, inner - column)
        acc[:] = np.int32(summed * p.move)
        for s in range(0, summed, MOST):
            start = x.ctypes.data + (outer * summed + s) * inner + column
            sum_rows(words.ctypes.data, start, inner, min(MOST, summed - s), count, p.flip)
            for c in range(block):
                acc[c] += np.int32(words[c])
        epilogue_rows(
            acc.ctypes.data, 0, epilogue.ctypes.data, column, p.pitch, count, 1,
            out.ctypes.data + outer * inner + column, inner,
        )  # fmt: skip


@kernel
def reduce_lines(frame):  # type: ignore[no-untyped-def]
    """out[line] = finish(sum of its neighbours), lines first..end; one factor for all."""
    p, x, epilogue, out, scratch = arrays(frame, SumLines, "ufuu")
    summed, flip = p.summed, np.uint8(p.flip)
    acc = scratch[: 4 * p.block].view(np.int32)
    for start in range(p.first, p.end, p.block):
        count = min(p.block, p.end - start)
        for i in range(count):
            values = x[(start + i) * summed : (start + i + 1) * summed]
            total = np.int32(0)
            for c in range(summed):
                total += np.int32(values[c] ^ flip)
            acc[i] = np.int32(total + np.int32(summed * p.move))
        epilogue_rows(
            acc.ctypes.data, 0, epilogue.ctypes.data, 0, p.pitch, count, 1,
            out.ctypes.data + start, 0,
        )  # fmt: skip


@kernel
def reduce_any(frame):  # type: ignore[no-untyped-def]
    """out[i] = requant(sum of x[base[i] + offsets]), int64, any axes; constants i % entries."""
    p, x, base, offsets, epilogue, out = arrays(frame, SumAny, "uiiiu")
    flip, move, entries = p.flip, p.move, p.entries
    # One output at a time, its inputs wherever they are: any axes, any number of them.
    for image in range(p.batch):
        x0, out0 = image * p.in_elements, image * p.out_elements
        for i in range(base.size):
            total = 0
            for t in range(offsets.size):
                total += (np.int64(x[x0 + base[i] + offsets[t]]) ^ flip) + move
            total = min(max(total, INT32_MIN), INT32_MAX)
            out[out0 + i] = np.uint8(epilogue_wide(total, epilogue, i % entries, entries) & 255)


def prepare_reduce_sum(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> OpPlan:
    x = inputs[0]
    axes = sorted(set(op.integers("axes")))
    flip = flip_of(x)
    move = x.zero_point - flip
    kept = [axis for axis in range(len(x.shape)) if axis not in axes]
    last_kept = x.shape[kept[-1]] if kept else 1
    summed = int(np.prod([x.shape[axis] for axis in axes], dtype=np.int64))
    bound = max(abs(move), abs(255 + move)) * summed
    inner = int(np.prod(x.shape[axes[-1] + 1 :], dtype=np.int64))
    outer = int(np.prod(x.shape[: axes[0]], dtype=np.int64))
    adjacent = axes == list(range(axes[0], axes[-1] + 1))
    if adjacent and inner > 1 and x.elements <= _SMALL and op.consts["mult"].size == 1:
        plan = prepare_means(op, x, output, (outer, summed, inner))
        if plan is not None:
            return plan
    if adjacent and inner > 1 and bound <= INT32_MAX:
        mult, shift = (
            np.tile(np.broadcast_to(op.consts[name], (last_kept,)), inner // last_kept)
            for name in ("mult", "shift")
        )
        epilogue = prepare_epilogue(op, output, inner, bound, mult=mult, shift=shift)
        if not epilogue.wide:
            block = min(_BLOCK, inner)
            parts = -(-inner // block)
            sums = SumRows(
                first=0,
                end=outer * parts,
                summed=summed,
                inner=inner,
                parts=parts,
                block=block,
                flip=flip,
                move=move,
                pitch=epilogue.pitch,
            )
            size, constants = 6 * block + 256, (epilogue.constants,)
            return ranged_plan("vector-reduce", reduce_rows, sums, constants, size)

    if adjacent and inner == 1 and max(bound, 255 * summed) <= INT32_MAX:
        lines = _prepare_lines(op, x, output, summed, bound)
        if lines is not None:
            return lines
    base, offsets = sum_places(x.shape, axes)
    wide = prepare_epilogue(op, output, last_kept, min(bound, INT32_MAX + 1))
    any_sums = SumAny(
        batch=1,
        in_elements=x.elements,
        out_elements=len(base),
        flip=flip,
        move=move,
        entries=last_kept,
    )

    def bind_any(
        batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
    ) -> list[Step]:
        p = pack(any_sums._replace(batch=batch))
        return [(reduce_any, (p, inputs[0], base, offsets, wide.wide_constants, output))]

    return OpPlan("int64-reduce", bind_any, lambda batch: 0)


def _prepare_lines(
    op: Op, x: TensorSpec, output: TensorSpec, summed: int, bound: int
) -> OpPlan | None:
    """Sums of the last axes, all with one multiplier and shift; None for any others."""
    if op.consts["mult"].size > 1 or op.consts["shift"].size > 1:
        return None
    epilogue = prepare_epilogue(op, output, _BLOCK, bound)
    if epilogue.wide:
        return None
    lines = SumLines(
        first=0,
        end=x.elements // summed,
        summed=summed,
        flip=flip_of(x),
        move=x.zero_point - flip_of(x),
        block=_BLOCK,
        pitch=epilogue.pitch,
    )
    size = 4 * _BLOCK + 256
    return ranged_plan("vector-lines", reduce_lines, lines, (epilogue.constants,), size)


PREPARE = {"reduce_sum": prepare_reduce_sum}
