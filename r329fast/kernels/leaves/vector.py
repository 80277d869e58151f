"""The leaves that go over bytes once, and their twins."""

from __future__ import annotations

from math import gcd
from typing import Any

import numpy as np

from r329fast.kernels.ir import epilogue as epilogue_ir
from r329fast.kernels.ir import move as move_ir
from r329fast.kernels.ir import multiply as multiply_ir
from r329fast.kernels.ir import vector as vector_ir
from r329fast.kernels.ir.quarters import quarter_order, quarter_step
from r329fast.kernels.leaves.leaf import leaf, memory
from r329fast.kernels.leaves.rows import epilogue_rows
from r329fast.kernels.runtime.isa import ISA, JIT, PERMUTES_BYTES

_WIDEST = 2048  # columns of `affine_bytes` whose constants (24 KB) stay in cache


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


def _affine_twin(
    x: int, flip: int, constants: int, epilogue: int, width: int, rows: int, out: int
) -> None:
    step = quarter_step(ISA)
    blocks = -(-width // step)
    back = np.argsort(quarter_order(ISA))
    table = memory(constants, blocks * 3 * step, np.int32).reshape(blocks, 3, step)[:, :, back]
    weights, biases, factors = table.transpose(1, 0, 2).reshape(3, -1)[:, :width]
    values = (memory(x, rows * width) ^ np.uint8(flip)).astype(np.int64).reshape(rows, width)
    sums = (values * weights + biases).astype(np.float32).astype(np.float64)
    products = sums * np.ascontiguousarray(factors).view(np.float32)
    memory(out, rows * width)[:] = _finished(products, epilogue)


def _finished(products: np.ndarray, epilogue: int) -> np.ndarray:
    """Bytes of sums (float64, exact) that are multiplied by their factors already."""
    header = memory(epilogue, epilogue_ir.HEADER, np.float64)
    rounded = np.rint(products)
    if header[epilogue_ir.FORM] == epilogue_ir.TWICE:
        rounded = np.rint(rounded / 256)
    clamped = np.clip(rounded, header[epilogue_ir.LOW], header[epilogue_ir.HIGH])
    result: np.ndarray = (clamped - header[epilogue_ir.ZERO_POINT]).astype(np.int32).reshape(-1)
    return result.astype(np.uint8)


def _spread_twin(b: int, flip: int, moves: int, epilogue: int, width: int, factors: int) -> None:
    step = quarter_step(ISA)
    whole = -(-width // step) * step
    move = memory(moves, 2, np.float32)[1]
    values = (memory(b, whole) ^ np.uint8(flip)).astype(np.float32) + move
    products = values * memory(epilogue + 8 * epilogue_ir.HEADER, 1, np.float32)
    ordered = products.reshape(-1, step)[:, quarter_order(ISA)]
    memory(factors, whole, np.float32)[:] = ordered.reshape(-1)


def _scale_twin(
    x: int, flip: int, moves: int, factors: int, epilogue: int, width: int, rows: int, out: int
) -> None:
    step = quarter_step(ISA)
    back, whole = np.argsort(quarter_order(ISA)), -(-width // step) * step
    own = memory(factors, whole, np.float32).reshape(-1, step)[:, back].reshape(-1)[:width]
    values = (memory(x, rows * width) ^ np.uint8(flip)).astype(np.float32).reshape(rows, width)
    moved = (values + memory(moves, 1, np.float32)).astype(np.float64)
    memory(out, rows * width)[:] = _finished(moved * own.astype(np.float64), epilogue)


def row_width(channels: int) -> int:
    """Columns of several rows as one, so that they fill whole vectors, if they are not too many."""
    width = channels * (quarter_step(ISA) // gcd(channels, quarter_step(ISA)))
    return width if width <= _WIDEST else channels * max(_WIDEST // channels, 1)


def affine_constants(weights: np.ndarray, biases: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Bytes of what `affine_bytes` takes: int32 weights and biases, float32 factors [width]."""
    step, order = quarter_step(ISA), quarter_order(ISA)
    columns = [weights.astype(np.int32), biases.astype(np.int32), factors.astype(np.float32)]
    width = -(-len(weights) // step) * step
    table = np.zeros((3, width), dtype=np.int32)
    for line, column in zip(table, columns, strict=True):
        line[: len(column)] = column.view(np.int32)
    blocks = table.reshape(3, -1, step)[:, :, order].transpose(1, 0, 2)
    return np.ascontiguousarray(blocks).reshape(-1).view(np.uint8)


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


def _turn_twin(dst: int, dst_stride: int, src: int, src_stride: int, rows: int) -> None:
    columns = [memory(src + row * src_stride, move_ir.SIDE) for row in range(rows)]
    for column, values in enumerate(np.stack(columns, axis=1)):
        memory(dst + column * dst_stride, rows)[:] = values


add_bytes: Any
affine_bytes: Any
multiply_bytes: Any
spread_factors: Any
scale_bytes: Any
lookup_bytes: Any
move_bytes: Any
gather_runs: Any
interleave_rows: Any
turn_columns: Any
if JIT:
    add_bytes = leaf("add_bytes", vector_ir.emit_add, ISA)
    affine_bytes = leaf("affine_bytes", vector_ir.emit_affine, ISA)
    multiply_bytes = leaf("multiply_bytes", multiply_ir.emit_multiply, ISA)
    spread_factors = leaf("spread_factors", vector_ir.emit_spread, ISA)
    scale_bytes = leaf("scale_bytes", vector_ir.emit_scale, ISA)
    emit_lookup = vector_ir.emit_lookup if PERMUTES_BYTES else vector_ir.emit_plain_lookup
    lookup_bytes = leaf("lookup_bytes", emit_lookup)
    move_bytes = leaf("move_bytes", move_ir.emit_move)
    gather_runs = leaf("gather_runs", move_ir.emit_gather)
    interleave_rows = leaf("interleave_rows", move_ir.emit_interleave)
    turn_columns = leaf("turn_columns", move_ir.emit_turn)
else:
    add_bytes, affine_bytes, lookup_bytes = _add_twin, _affine_twin, _lookup_twin
    multiply_bytes, spread_factors, scale_bytes = _multiply_twin, _spread_twin, _scale_twin
    move_bytes, gather_runs, interleave_rows = _move_twin, _gather_twin, _interleave_twin
    turn_columns = _turn_twin
