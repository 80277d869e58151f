"""The leaves that go over bytes once, and their twins."""

from __future__ import annotations

from typing import Any

import numpy as np

from r329fast.kernels.ir import epilogue as epilogue_ir
from r329fast.kernels.ir import move as move_ir
from r329fast.kernels.ir import multiply as multiply_ir
from r329fast.kernels.ir import vector as vector_ir
from r329fast.kernels.leaves.leaf import leaf, memory
from r329fast.kernels.leaves.rows import epilogue_rows
from r329fast.kernels.runtime.isa import JIT, target_features

# Whether a table of 256 bytes fits the permutations of the target.
LOOKUP = JIT and "avx512vbmi" in target_features()


def _epilogue_twin(total: np.ndarray, epilogue: int, pitch: int, out: int) -> None:
    acc = np.ascontiguousarray(total, dtype=np.int32)
    rows, columns = acc.shape
    epilogue_rows(acc.ctypes.data, 4 * columns, epilogue, 0, pitch, columns, rows, out, columns)


def _add_twin(
    a: int, b: int, flip_a: int, flip_b: int, scales: int, epilogue: int, count: int, out: int
) -> None:
    scale_a, scale_b, move = memory(scales, 3, np.float32).astype(np.int64)
    left = (memory(a, count) ^ np.uint8(flip_a)).astype(np.int64)
    right = (memory(b, count) ^ np.uint8(flip_b)).astype(np.int64)
    total = left * scale_a + right * scale_b + move
    for index, value in enumerate(total):  # one factor serves all
        _epilogue_twin(np.array([[value]]), epilogue, epilogue_ir.LANES, out + index)


def _multiply_twin(
    a: int, b: int, flip_a: int, flip_b: int, moves: int, epilogue: int, count: int, out: int
) -> None:
    move_a, move_b = memory(moves, 2, np.float32).astype(np.int64)
    left = (memory(a, count) ^ np.uint8(flip_a)).astype(np.int64) + move_a
    right = (memory(b, count) ^ np.uint8(flip_b)).astype(np.int64) + move_b
    for index, value in enumerate(left * right):  # one factor serves all
        _epilogue_twin(np.array([[value]]), epilogue, epilogue_ir.LANES, out + index)


def _scale_twin(
    a: int,
    b: int,
    flip_a: int,
    flip_b: int,
    moves: int,
    epilogue: int,
    channels: int,
    rows: int,
    out: int,
    factors: int,
) -> None:
    for row in range(rows):
        start = row * channels
        _multiply_twin(a + start, b, flip_a, flip_b, moves, epilogue, channels, out + start)


def _affine_twin(
    x: int, flip: int, weights: int, epilogue: int, pitch: int, channels: int, rows: int, out: int
) -> None:
    values = (memory(x, rows * channels) ^ np.uint8(flip)).astype(np.int64)
    total = values.reshape(rows, channels) * memory(weights, channels, np.int32)
    _epilogue_twin(total, epilogue, pitch, out)


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


def _gather_twin(dst: int, src: int, fill: int, index: int, runs: int, count: int) -> None:
    for run, offset in enumerate(memory(index, runs, np.int64)):
        source = fill if offset < 0 else src + int(offset)
        memory(dst + run * count, count)[:] = memory(source, count)


def _interleave_twin(dst: int, src: int, rows: int, half: int) -> None:
    halves = memory(src, 2 * rows * half).reshape(rows, 2, half)
    memory(dst, 2 * rows * half)[:] = halves.transpose(0, 2, 1).reshape(-1)


add_bytes: Any
affine_bytes: Any
multiply_bytes: Any
scale_rows: Any
lookup_bytes: Any
move_bytes: Any
gather_runs: Any
interleave_rows: Any
if JIT:
    add_bytes = leaf("add_bytes", vector_ir.emit_add)
    affine_bytes = leaf("affine_bytes", vector_ir.emit_affine)
    multiply_bytes = leaf("multiply_bytes", multiply_ir.emit_multiply)
    scale_rows = leaf("scale_rows", multiply_ir.emit_scale)
    emit_lookup = vector_ir.emit_lookup if LOOKUP else vector_ir.emit_plain_lookup
    lookup_bytes = leaf("lookup_bytes", emit_lookup)
    move_bytes = leaf("move_bytes", move_ir.emit_move)
    gather_runs = leaf("gather_runs", move_ir.emit_gather)
    interleave_rows = leaf("interleave_rows", move_ir.emit_interleave)
else:
    add_bytes, affine_bytes, lookup_bytes = _add_twin, _affine_twin, _lookup_twin
    multiply_bytes, scale_rows = _multiply_twin, _scale_twin
    move_bytes, gather_runs, interleave_rows = _move_twin, _gather_twin, _interleave_twin
