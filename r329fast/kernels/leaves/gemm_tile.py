"""The tiles of direct convolution and of Winograd's products as leaves, and their twins."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from r329fast.kernels.ir.gemm_tile import (
    GROUP,
    STORE,
    emit_row_groups,
    emit_row_tile,
    emit_sum_tile,
    emit_tall_tile,
)
from r329fast.kernels.leaves.leaf import leaf, memory
from r329fast.kernels.leaves.rows import epilogue_rows
from r329fast.kernels.runtime.isa import ISA, JIT, Isa

HALF = ISA.rows // 2  # rows of each of a tile's runs of positions
GROUPED = JIT and ISA.family == "vnni512"  # whether groups of rows take the place of tiles


def row_tile(isa: Isa, vectors: int) -> Any:
    """The tile of `isa`, `vectors` vectors wide: see `emit_row_tile`."""
    return leaf(f"row_tile_{isa.name}_{vectors}", emit_row_tile, isa, vectors)


def tall_tile(isa: Isa, vectors: int) -> Any:
    """Twice as many rows: see `emit_tall_tile`."""
    return leaf(f"tall_tile_{isa.name}_{vectors}", emit_tall_tile, isa, vectors)


def sum_tile(isa: Isa, vectors: int) -> Any:
    """Sums alone, of rows that all lie a constant distance apart: see `emit_sum_tile`."""
    return leaf(f"sum_tile_{isa.name}_{vectors}", emit_sum_tile, isa, vectors)


def sum_tile_twin(isa: Isa, vectors: int) -> Any:
    tile = row_tile_twin(isa, vectors)

    def run(a: int, row_stride: int, steps: int, w: int, acc: int) -> None:
        b = a + isa.rows // 2 * row_stride
        tile(a, b, row_stride, 1, 0, steps, w, 0, 0, 0, STORE, acc, 0, 0, 0)

    return run


def row_tile_twin(isa: Isa, vectors: int) -> Any:
    """The same in NumPy; the twin of the epilogue finishes what the tile would have."""
    columns, size, half = vectors * isa.lanes, isa.element, isa.rows // 2
    kind = {(1, False): np.uint8, (1, True): np.int8, (2, True): np.int16}[size, isa.signed]

    def run(
        a: int,
        b: int,
        row_stride: int,
        taps: int,
        jump: int,
        steps: int,
        w: int,
        epilogue: int,
        channel: int,
        pitch: int,
        fuse: int,
        acc: int,
        out_a: int,
        out_b: int,
        out_stride: int,
    ) -> None:
        count = steps * isa.kgroup
        starts = [base + row * row_stride for base in (a, b) for row in range(half)]
        rows = [
            np.concatenate([memory(start + tap * jump, count, kind) for tap in range(taps)])
            for start in starts
        ]
        left = np.stack(rows).astype(np.int64).reshape(isa.rows, taps * steps, isa.kgroup)
        weights = memory(w, taps * count * columns, np.int8 if size == 1 else np.int16)
        right = weights.reshape(taps * steps, columns, isa.kgroup).astype(np.int64)
        total = np.einsum("rsk,sck->rc", left, right)
        memory(acc, isa.rows * columns, np.int32)[:] = total.reshape(-1)
        if fuse != STORE:
            for start, out in ((acc, out_a), (acc + 4 * half * columns, out_b)):
                epilogue_rows(
                    start, 4 * columns, epilogue, channel, pitch, columns, half, out, out_stride
                )

    return run


def tall_tile_twin(isa: Isa, vectors: int) -> Any:
    """The same in NumPy, half after half."""
    tile, cells = row_tile_twin(isa, vectors), 4 * isa.rows * vectors * isa.lanes

    def run(
        a: int,
        b: int,
        c: int,
        d: int,
        row_stride: int,
        taps: int,
        jump: int,
        steps: int,
        w: int,
        epilogue: int,
        channel: int,
        pitch: int,
        fuse: int,
        acc: int,
        out_a: int,
        out_b: int,
        out_c: int,
        out_d: int,
        out_stride: int,
    ) -> None:
        constants = (row_stride, taps, jump, steps, w, epilogue, channel, pitch, fuse)
        tile(a, b, *constants, acc, out_a, out_b, out_stride)
        tile(c, d, *constants, acc + cells, out_c, out_d, out_stride)

    return run


def row_groups(isa: Isa, vectors: int) -> Any:
    """Any number of rows, a few at once: see `emit_row_groups`. No twin: only paths GROUPED."""
    return leaf(f"row_groups_{isa.name}_{vectors}", emit_row_groups, isa, vectors)


row_tile_wide: Any
row_tile_narrow: Any  # four runs of rows
row_tile_slim: Any  # as narrow, vectors of half the lanes
sum_tile_wide: Any
sum_tile_narrow: Any
make = row_tile if JIT else row_tile_twin
row_tile_wide = make(ISA, ISA.vectors)
make = tall_tile if JIT else tall_tile_twin
row_tile_narrow = row_tile_slim = make(ISA, ISA.vectors // 2)
if ISA.slim:
    row_tile_slim = make(replace(ISA, name=f"{ISA.name}-slim", lanes=ISA.slim), 1)
make = sum_tile if JIT else sum_tile_twin
sum_tile_wide, sum_tile_narrow = make(ISA, ISA.vectors), make(ISA, ISA.vectors // 2)
row_groups_wide, row_groups_narrow = row_groups(ISA, ISA.vectors), row_groups(ISA, 1)
row_groups_slim = row_groups(replace(ISA, name=f"{ISA.name}-slim", lanes=ISA.slim or ISA.lanes), 1)
ROWS_WIDE, ROWS_NARROW = GROUP // ISA.vectors, GROUP  # positions of a group
