"""Eltwise of two tensors in blocks of L1 size, and the wide form of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from r329fast.kernels.epilogue import prepare_epilogue
from r329fast.kernels.finish_wide import finish_wide
from r329fast.kernels.leaves.tile import finish_rows
from r329fast.kernels.leaves.vector import add_bytes
from r329fast.kernels.runtime.kernel import arrays, kernel
from r329fast.kernels.runtime.op_plan import Prepared, Step, flip_of, integers
from r329fast.program.program import Op, TensorSpec

_METHODS = {"ADD": 0, "SUB": 1, "MUL": 2, "MAX": 3, "MIN": 4}
_BLOCK = 512  # elements of a block, at least: a multiple of the channels
_INT32, _FLOAT32_INTEGERS = (1 << 31) - 1, 1 << 24


@kernel
def eltwise_blocks(frame):  # type: ignore[no-untyped-def]
    """p: batch, elements, block, b's elements an image, method, flips, moves, scales, pitch."""
    p, a, b, ef, out, scratch = arrays(frame, "iuufuu")
    batch, elements, block, elements_b, method = p[0], p[1], p[2], p[3], p[4]
    flip_a, flip_b = np.uint8(p[5]), np.uint8(p[6])
    move_a, move_b = np.int32(p[7]), np.int32(p[8])
    scale_a, scale_b, pitch = np.int32(p[9]), np.int32(p[10]), p[11]
    acc = scratch[: 4 * block].view(np.int32)
    spread = scratch[4 * block + 64 : 5 * block + 64]
    for image in range(batch):
        if elements_b < elements:
            for i in range(block):
                spread[i] = b[image * elements_b + i % elements_b]
        for first in range(0, elements, block):
            count = min(block, elements - first)
            start = image * elements + first
            va = a[start : start + count]
            vb = spread if elements_b < elements else b[start : start + count]
            if method == 0:
                for i in range(count):
                    left = np.int32(np.int32(va[i] ^ flip_a) + move_a)
                    right = np.int32(np.int32(vb[i] ^ flip_b) + move_b)
                    acc[i] = np.int32(np.int32(left * scale_a) + np.int32(right * scale_b))
            elif method == 2:
                for i in range(count):
                    left = np.int32(np.int32(va[i] ^ flip_a) + move_a)
                    right = np.int32(np.int32(vb[i] ^ flip_b) + move_b)
                    acc[i] = np.int32(left * right)
            else:
                for i in range(count):
                    left = np.int32(np.int32(va[i] ^ flip_a) + move_a)
                    right = np.int32(np.int32(vb[i] ^ flip_b) + move_b)
                    left, right = np.int32(left * scale_a), np.int32(right * scale_b)
                    if method == 1:
                        acc[i] = np.int32(left - right)
                    elif method == 3:
                        acc[i] = max(left, right)
                    else:
                        acc[i] = min(left, right)
            finish_rows(
                scratch.ctypes.data,
                0,
                ef.ctypes.data,
                0,
                pitch,
                count,
                1,
                out.ctypes.data + start,
                0,
            )


@kernel
def eltwise_wide(frame):  # type: ignore[no-untyped-def]
    """The same in int64, a value at a time; p[11]: entries of the constants."""
    p, a, b, ei, out = arrays(frame, "iuuiu")
    batch, elements, elements_b, method, entries = p[0], p[1], p[3], p[4], p[11]
    for image in range(batch):
        for i in range(elements):
            place_b = image * elements_b + i % elements_b
            left = (np.int64(a[image * elements + i]) ^ p[5]) + p[7]
            right = (np.int64(b[place_b]) ^ p[6]) + p[8]
            if method == 2:
                total = left * right
            else:
                left, right = left * p[9], right * p[10]
                if method == 0:
                    total = left + right
                elif method == 1:
                    total = left - right
                elif method == 3:
                    total = max(left, right)
                else:
                    total = min(left, right)
            value = finish_wide(total, ei, i % entries, entries)
            out[image * elements + i] = np.uint8(value & 255)


@kernel
def add_range(frame):  # type: ignore[no-untyped-def]
    """Bytes p[0]..p[1]: finish(a * scales[0] + b * scales[1] + scales[2]); p[2], p[3]: flips.

    scales: float32 as bytes.
    """
    p, a, b, scales, ef, out = arrays(frame, "iuuufu")
    add_bytes(
        a.ctypes.data + p[0], b.ctypes.data + p[0], p[2], p[3], scales.ctypes.data,
        ef.ctypes.data, p[1] - p[0], out.ctypes.data + p[0],
    )  # fmt: skip


def prepare_eltwise(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> Prepared:
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
    if flat and method in signs and bound <= _FLOAT32_INTEGERS:
        epilogue = prepare_epilogue(op, output, 1, bound)
        if epilogue.rounds_once:
            factors = [sign * scale for sign, scale in zip(signs[method], scales, strict=True)]
            move = sum(m * factor for m, factor in zip(moves, factors, strict=True))
            if max(abs(move), *(255 * abs(factor) for factor in factors)) <= _FLOAT32_INTEGERS:
                return _prepare_add(a.elements, flips, (*factors, move), epilogue.ef)
    block = _BLOCK if flat else channels * -(-_BLOCK // channels)
    tiled: dict[str, np.ndarray] = {
        name: np.tile(np.broadcast_to(op.consts[name], (channels,)), block // channels)
        for name in ("mult", "shift", "slope")
        if name in op.consts and op.consts[name].size > 1
    }
    tiled_op = Op(op.kind, op.layer, op.inputs, op.outputs, op.attrs, {**op.consts, **tiled})
    epilogue = prepare_epilogue(tiled_op, output, block, bound)
    fixed = (_METHODS[method], *flips, *moves, *scales)
    if epilogue.wide or bound > _INT32:
        wide = prepare_epilogue(op, output, channels, bound)

        def bind_wide(
            batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
        ) -> list[Step]:
            p = integers(batch, a.elements, 0, b.elements, *fixed, channels)
            return [(eltwise_wide, (p, inputs[0], inputs[1], wide.ei, output))]

        return Prepared("int64-eltwise", bind_wide, lambda batch: 0)

    def bind(
        batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
    ) -> list[Step]:
        p = integers(batch, a.elements, block, b.elements, *fixed, epilogue.pitch)
        return [(eltwise_blocks, (p, inputs[0], inputs[1], epilogue.ef, output, scratch))]

    return Prepared("vector-eltwise", bind, lambda batch: 5 * block + 256)


def _prepare_add(
    elements: int, flips: Sequence[int], scales: Sequence[int], ef: np.ndarray
) -> Prepared:
    """Sum or difference whose every step float32 holds exactly."""
    packed = np.array(scales, dtype=np.float32).view(np.uint8)

    def bind(
        batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
    ) -> list[Step]:
        p = integers(0, batch * elements, *flips)
        return [(add_range, (p, inputs[0], inputs[1], packed, ef, output))]

    return Prepared("vector-add", bind, lambda batch: 0, True)
