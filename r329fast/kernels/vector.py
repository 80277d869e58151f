"""The leaf intrinsics that go over bytes once, and their twins."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from r329fast.kernels import finish_ir, vector_ir
from r329fast.kernels.isa import JIT, target_features
from r329fast.kernels.tile import call_outlined, finish_rows, memory

# Whether a table of 256 bytes fits the permutations of the target.
LOOKUP = JIT and "avx512vbmi" in target_features()


@intrinsic
def _add_intrinsic(
    typingctx: Any, a: Any, b: Any, flip_a: Any, flip_b: Any, scales: Any, ef: Any, count: Any,
    out: Any,
) -> Any:  # fmt: skip
    """Bytes out = finish(a * scales[0] + b * scales[1] + scales[2]) (vector_ir says how)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        call_outlined(builder, "add_bytes", args, (0, 1, 4, 5, 7), vector_ir.emit_add)
        return context.get_dummy_value()

    return types.void(*(types.int64,) * 8), codegen


@intrinsic
def _affine_intrinsic(
    typingctx: Any, x: Any, flip: Any, weights: Any, ef: Any, pitch: Any, channels: Any,
    rows: Any, out: Any,
) -> Any:  # fmt: skip
    """Bytes out[rows, channels] = finish(x * weights[channel]) (vector_ir says how)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        call_outlined(builder, "affine_bytes", args, (0, 2, 3, 7), vector_ir.emit_affine)
        return context.get_dummy_value()

    return types.void(*(types.int64,) * 8), codegen


@intrinsic
def _lookup_intrinsic(
    typingctx: Any, dst: Any, dst_stride: Any, src: Any, src_stride: Any, rows: Any, count: Any,
    table: Any,
) -> Any:  # fmt: skip
    """dst = table[src], `count` bytes of `rows` rows, by permutations."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = vector_ir.emit_lookup if LOOKUP else vector_ir.emit_plain_lookup
        call_outlined(builder, "lookup_bytes", args, (0, 2, 6), emit)
        return context.get_dummy_value()

    return types.void(*(types.int64,) * 7), codegen


@intrinsic
def _move_intrinsic(
    typingctx: Any, dst: Any, dst_stride: Any, src: Any, src_stride: Any, rows: Any, count: Any
) -> Any:
    """dst = src, exactly `count` bytes of `rows` rows."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        call_outlined(builder, "move_bytes", args, (0, 2), vector_ir.emit_move)
        return context.get_dummy_value()

    return types.void(*(types.int64,) * 6), codegen


def _finish_twin(total: np.ndarray, ef: int, pitch: int, out: int) -> None:
    acc = np.ascontiguousarray(total, dtype=np.int32)
    rows, columns = acc.shape
    finish_rows(acc.ctypes.data, 4 * columns, ef, 0, pitch, columns, rows, out, columns)


def _add_twin(
    a: int, b: int, flip_a: int, flip_b: int, scales: int, ef: int, count: int, out: int
) -> None:
    scale_a, scale_b, move = memory(scales, 3, np.float32).astype(np.int64)
    left = (memory(a, count) ^ np.uint8(flip_a)).astype(np.int64)
    right = (memory(b, count) ^ np.uint8(flip_b)).astype(np.int64)
    total = left * scale_a + right * scale_b + move
    for index, value in enumerate(total):  # one factor serves all
        _finish_twin(np.array([[value]]), ef, finish_ir.LANES, out + index)


def _affine_twin(
    x: int, flip: int, weights: int, ef: int, pitch: int, channels: int, rows: int, out: int
) -> None:
    values = (memory(x, rows * channels) ^ np.uint8(flip)).astype(np.int64)
    total = values.reshape(rows, channels) * memory(weights, channels, np.int32)
    _finish_twin(total, ef, pitch, out)


def _lookup_twin(
    dst: int, dst_stride: int, src: int, src_stride: int, rows: int, count: int, table: int
) -> None:
    entries = memory(table, 256)
    for row in range(rows):
        values = entries[memory(src + row * src_stride, count)]
        memory(dst + row * dst_stride, count)[:] = values


def _move_twin(dst: int, dst_stride: int, src: int, src_stride: int, rows: int, count: int) -> None:
    for row in range(rows):
        memory(dst + row * dst_stride, count)[:] = memory(src + row * src_stride, count)


add_bytes: Any
affine_bytes: Any
lookup_bytes: Any
move_bytes: Any
if JIT:
    add_bytes, affine_bytes = _add_intrinsic, _affine_intrinsic
    lookup_bytes, move_bytes = _lookup_intrinsic, _move_intrinsic
else:
    add_bytes, affine_bytes, lookup_bytes = _add_twin, _affine_twin, _lookup_twin
    move_bytes = _move_twin
