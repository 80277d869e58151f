"""The leaf intrinsics of Winograd convolution and their twins, as in tile.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from r329fast.kernels import winograd_ir
from r329fast.kernels.isa import ISA, JIT, words
from r329fast.kernels.tile import (
    call_outlined,
    copy_rows_intrinsic,
    copy_twin,
    dot_tile_intrinsic,
    dot_tile_twin,
    memory,
)
from r329fast.kernels.tile_ir import row_bytes
from r329fast.kernels.winograd_ir import POSITIONS, TILE, WINDOW

WORDS = words(ISA)
ROW_BYTES = row_bytes(WORDS)
BLOCK = -(-36 // WORDS.rows) * WORDS.rows  # tiles that are transformed and multiplied together
PANELS = max(64 // WORDS.width, 1)  # of weight columns, multiplied before one output transform
# Bytes between the 36 positions: constants, and odd multiples of a cache line (of its sets).
INPUT_PITCH = BLOCK * ROW_BYTES + (64 if BLOCK * ROW_BYTES // 64 % 2 == 0 else 0)
PRODUCT_PITCH = 4 * BLOCK * PANELS * WORDS.width + 64


@intrinsic
def _input_intrinsic(
    typingctx: Any,
    dst: Any,
    src: Any,
    row_stride: Any,
    pixel_stride: Any,
    count: Any,
    signed: Any,
) -> Any:
    """int16 B^T x B of a 6x6 window of `count` channels at src (winograd_ir says how)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def emit(inner: Any, *values: Any) -> None:
            winograd_ir.emit_input(inner, WORDS, INPUT_PITCH, *values)

        call_outlined(builder, "winograd_input", args, (0, 1), emit)
        return context.get_dummy_value()

    return types.void(*(types.int64,) * 6), codegen


@intrinsic
def _output_intrinsic(
    typingctx: Any, y: Any, row_stride: Any, m: Any, columns: Any, tiles: Any, more: Any
) -> Any:
    """int32 y = or += A^T m A / 576 of `tiles` tiles of `columns` channels."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def emit(inner: Any, *values: Any) -> None:
            winograd_ir.emit_output(inner, WORDS, PRODUCT_PITCH, *values)

        call_outlined(builder, "winograd_output", args, (0, 2), emit)
        return context.get_dummy_value()

    return types.void(*(types.int64,) * 6), codegen


_B = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
_A = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 2]])


def _input_twin(
    dst: int, src: int, row_stride: int, pixel_stride: int, count: int, signed: int
) -> None:
    kind = np.int8 if signed else np.uint8
    window = np.empty((WINDOW, WINDOW, count), dtype=np.int64)
    for y in range(WINDOW):
        for x in range(WINDOW):
            window[y, x] = memory(src + y * row_stride + x * pixel_stride, count, kind)
    values = np.einsum("iy,yxc,jx->ijc", _B, window, _B).reshape(POSITIONS, count)
    for position, line in enumerate(values):
        memory(dst + position * INPUT_PITCH, count, np.int16)[:] = line


def _output_twin(y: int, row_stride: int, m: int, columns: int, tiles: int, more: int) -> None:
    products = np.empty((POSITIONS, tiles, columns), dtype=np.int64)
    for position in range(POSITIONS):
        flat = memory(m + position * PRODUCT_PITCH, tiles * columns, np.int32)
        products[position] = flat.reshape(tiles, columns)
    square = products.reshape(WINDOW, WINDOW, tiles, columns)
    total = np.einsum("yi,ijtc,xj->ytxc", _A, square, _A)
    values = (total * 954437177).astype(np.int32) >> 6
    for line in range(TILE):
        cells = memory(y + line * row_stride, tiles * TILE * columns, np.int32)
        result = values[line].reshape(-1)
        cells[:] = result + cells if more else result


words_wide: Any
words_narrow: Any
copy_bytes: Any
input_transform: Any
output_transform: Any
if JIT:
    words_wide = dot_tile_intrinsic(WORDS, WORDS.vectors)
    words_narrow = dot_tile_intrinsic(WORDS, WORDS.vectors // 2)
    copy_bytes = copy_rows_intrinsic(1)
    input_transform, output_transform = _input_intrinsic, _output_intrinsic
else:
    words_wide = dot_tile_twin(WORDS, WORDS.vectors)
    words_narrow = dot_tile_twin(WORDS, WORDS.vectors // 2)
    copy_bytes = copy_twin
    input_transform, output_transform = _input_twin, _output_twin
