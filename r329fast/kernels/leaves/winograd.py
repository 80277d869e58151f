"""The leaves of Winograd convolution and their twins, as in tile.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from r329fast.kernels.ir.winograd import KINDS, POINTS, WINDOW, emit_input, emit_output
from r329fast.kernels.leaves.gemm_tile import sum_tile, sum_tile_twin
from r329fast.kernels.leaves.leaf import leaf, memory
from r329fast.kernels.runtime.isa import ISA, JIT, words

WORDS = words(ISA)
# A tile of fewer rows for what is left: as fast per row, as its sums still hide the latency.
FEW = replace(WORDS, name=f"{WORDS.name}-few", rows=max(WORDS.rows // 3 // 2 * 2, 2))


_B = {
    4: np.array(
        [
            [4, 0, -5, 0, 1, 0],
            [0, -4, -4, 1, 1, 0],
            [0, 4, -4, -1, 1, 0],
            [0, -2, -1, 2, 1, 0],
            [0, 2, -1, -2, 1, 0],
            [0, 4, 0, -5, 0, 1],
        ]
    ),
    3: np.array(
        [
            [4, -2, -4, 2, 0],
            [0, -6, -3, 3, 0],
            [0, 2, -3, 1, 0],
            [0, -4, 0, 4, 0],
            [0, 4, -2, -4, 2],
        ]
    ),
}
_A = {
    4: np.array(
        [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 2]]
    ),
    3: np.array([[1, 1, 1, 1, 0], [0, 1, -1, 2, 0], [0, 1, 1, 4, 1]]),
}


def _input_twin(
    dst: int, pitch: int, src: int, row_stride: int, pixel_stride: int, count: int, kind: int
) -> None:
    size_y, size_x = KINDS[kind]
    window = np.empty((size_y + 2, size_x + 2, count), dtype=np.int64)
    for y in range(size_y + 2):
        for x in range(size_x + 2):
            octets = memory(src + y * row_stride + x * pixel_stride, count)
            window[y, x] = octets.astype(np.int64) - 128
    values = np.einsum("iy,yxc,jx->ijc", _B[size_y], window, _B[size_x])
    for line, i in zip(values, POINTS[size_y], strict=True):
        for channels, j in zip(line, POINTS[size_x], strict=True):
            memory(dst + (WINDOW * i + j) * pitch, count, np.int16)[:] = channels


def _output_twin(
    y: int, row_stride: int, m: int, pitch: int, columns: int, tiles: int, more: int, kind: int
) -> None:
    size_y, size_x = KINDS[kind]
    lines = [
        memory(m + (WINDOW * i + j) * pitch, tiles * columns, np.int32)
        for i in POINTS[size_y]
        for j in POINTS[size_x]
    ]
    square = np.stack(lines).astype(np.int64)
    square = square.reshape(len(POINTS[size_y]), len(POINTS[size_x]), tiles, columns)
    total = np.einsum("yi,ijtc,xj->ytxc", _A[size_y], square, _A[size_x])
    values = (total * 954437177).astype(np.int32) >> 6
    for line in range(size_y):
        cells = memory(y + line * row_stride, tiles * size_x * columns, np.int32)
        result = values[line].reshape(-1)
        cells[:] = result + cells if more else result


words_wide: Any
words_narrow: Any
few_wide: Any
few_narrow: Any
input_transform: Any
output_transform: Any
make = sum_tile if JIT else sum_tile_twin
words_wide, words_narrow = make(WORDS, WORDS.vectors), make(WORDS, WORDS.vectors // 2)
few_wide, few_narrow = make(FEW, FEW.vectors), make(FEW, FEW.vectors // 2)
if JIT:
    input_transform = leaf("winograd_input", emit_input, WORDS)
    output_transform = leaf("winograd_output", emit_output, WORDS)
else:
    input_transform, output_transform = _input_twin, _output_twin
