"""Convolution and fully connected: packed blocks of rows through the register tile.

A row is one output position: the K = kh*kw*C activations under its window (implicit GEMM; no more
than a block of rows is ever packed). K is cut into equal chunks; for each chunk the block is
packed, and every panel of weight columns runs over it while its chunk of weights stays in L1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numba import njit

from r329fast.kernels.conv_pack import ConvLayout, pack_weights
from r329fast.kernels.isa import ISA
from r329fast.kernels.pack import pack_rows
from r329fast.kernels.prepared import Prepared, Step, integers
from r329fast.kernels.tile import ROW_BYTES, dot_narrow, dot_wide, finish_rows

_ROWS, _WIDTH = ISA.rows, ISA.width
_ELEMENT, _KGROUP = ISA.element, ISA.kgroup
_BLOCK_BYTES = 128 * 1024  # packed rows and accumulators of a block: well inside L2
_MAX_ROWS = 168 // ISA.rows * ISA.rows


@njit(nogil=True, cache=True)
def conv_tiles(p, x, weights, pads, ef, out, scratch):  # type: ignore[no-untyped-def]
    """Rows p[0]..p[1] of the output [positions, O]; p: see `ConvLayout.parameters`.

    All flat uint8 except ef (float64). scratch: packed rows [block][ROW_BYTES], then int32
    accumulators [panel][block, width], one panel only if K is a single chunk.
    """
    channels_out, groups, per_out = p[7], p[16], p[18]
    chunk, chunks, block, pitch = p[19], p[20], p[21], p[24]
    panel_bytes, inner = p[25], p[26]
    a = scratch.ctypes.data
    accumulators = a + block * ROW_BYTES
    x_start, pads_start = x.ctypes.data, pads.ctypes.data
    x_end, pads_end = x_start + x.size, pads_start + pads.size
    for first in range(p[0], p[1], block):
        rows = min(block, p[1] - first)
        for group in range(groups):
            w_group = weights.ctypes.data + group * p[27]
            for index in range(chunks):
                k0 = index * chunk
                k1 = min(k0 + chunk, inner)
                steps = (k1 - k0 + _KGROUP - 1) // _KGROUP
                pack_rows(p, a, x_start, x_end, pads_start, pads_end, first, rows, group, k0, k1)
                w = w_group
                for column in range(0, per_out, _WIDTH):
                    left = min(per_out - column, _WIDTH)
                    wide = left > _WIDTH // 2
                    columns = _WIDTH if wide else _WIDTH // 2
                    stride = 4 * columns
                    acc = accumulators + (column * block * 4 if chunks > 1 else 0)
                    w_chunk = w + k0 * columns * _ELEMENT
                    for r in range(0, rows, _ROWS):
                        if wide:
                            dot_wide(a + r * ROW_BYTES, w_chunk, steps, acc + r * stride, index)
                        else:
                            dot_narrow(a + r * ROW_BYTES, w_chunk, steps, acc + r * stride, index)
                    if index == chunks - 1:
                        channel = group * per_out + column
                        finish_rows(
                            acc,
                            stride,
                            ef.ctypes.data,
                            channel,
                            pitch,
                            left,
                            rows,
                            out.ctypes.data + first * channels_out + channel,
                            channels_out,
                        )
                    w += panel_bytes * columns


def prepare_tiles(layout: ConvLayout) -> Prepared:
    """The tile path for `layout`, whose accumulators are known to fit int32."""
    chunks = math.ceil(layout.inner / layout.max_chunk)
    chunk = math.ceil(layout.inner / chunks / 4) * 4
    packed, group_bytes = pack_weights(layout, chunk * chunks)
    per_out = len(layout.weights) // layout.group
    columns = -(-per_out // _WIDTH) * _WIDTH if chunks > 1 else _WIDTH
    block = _BLOCK_BYTES // (ROW_BYTES + 4 * columns) // _ROWS * _ROWS
    block = min(max(block, _ROWS), _MAX_ROWS)
    ef = layout.epilogue.ef
    scratch_bytes = block * (ROW_BYTES + 4 * columns) + 256
    fixed = layout.parameters(
        chunk, chunks, block, layout.tile_flip, layout.epilogue.pitch, group_bytes
    )

    def bind(
        batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
    ) -> list[Step]:
        p = integers(0, batch * layout.positions, *fixed)
        return [(conv_tiles, (p, inputs[0], packed, layout.pads, ef, output, scratch))]

    return Prepared(f"{ISA.name}-{layout.describe()}", bind, lambda batch: scratch_bytes, True)
