"""3x3 depthwise convolution on the byte paths of x86: four columns in one dot product."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from r329fast.kernels import depthwise_quads_ir as quads_ir
from r329fast.kernels.conv_pack import ConvLayout
from r329fast.kernels.epilogue import prepare_epilogue
from r329fast.kernels.isa import ISA, JIT, target_features
from r329fast.kernels.kernel import KERNELS, arrays, kernel
from r329fast.kernels.leaf import leaf
from r329fast.kernels.pack import clear_rows, load_row
from r329fast.kernels.prepared import Prepared, Step, aligned, integers
from r329fast.program.program import Op, TensorSpec

_GAP = 64
# Blocks of half and quarter vectors take the dot product of those widths too.
POSSIBLE = JIT and ISA.family in ("vnni512", "avxvnni") and ISA.lanes >= 16
if POSSIBLE and not ISA.emulated:
    POSSIBLE = "avx512vl" in target_features()


quad_row: Any = leaf("quad_row", (0, 2, 3, 5), quads_ir.emit_quad_row, ISA)


@kernel
def depthwise_quads(frame):  # type: ignore[no-untyped-def]
    """Output rows p[0]..p[1] (image * Ho + y). p: geometry, bytes of a ring row, 0, 0, flip (22).

    scratch: the addresses of three rows, then a ring of three padded input rows.
    """
    p, x, constants, pads, ef, out, scratch = arrays(frame, "iuuufuu")
    channels, out_height, out_width, stride, row_bytes = p[4], p[5], p[6], p[10], p[19]
    rows = scratch[:24].view(np.int64)
    ring = scratch.ctypes.data + 64
    x_start, pads_start = x.ctypes.data, pads.ctypes.data
    x_end, pads_end = x_start + x.size, pads_start + pads.size
    columns = (out_width - 1) * p[11] + 3
    clear_rows(p, ring, row_bytes, 3, columns, pads_start, pads_end)
    loaded, image = 0, -1
    for place in range(p[0], p[1]):
        if place // out_height != image:
            image = place // out_height
            loaded = 0
        top = (place - image * out_height) * stride
        for row in range(max(loaded, top), top + 3):
            target = ring + row % 3 * row_bytes
            load_row(p, target, columns, x_start, x_end, pads_start, pads_end, image, row - p[14])
        loaded = top + 3
        for ky in range(3):
            rows[ky] = ring + (top + ky) % 3 * row_bytes
        quad_row(
            scratch.ctypes.data, channels, constants.ctypes.data, ef.ctypes.data, out_width,
            out.ctypes.data + place * out_width * channels, p[11],
        )  # fmt: skip


if not POSSIBLE:
    KERNELS.remove(depthwise_quads)  # other paths lack its instructions: nothing may compile it


def _constants(
    weights: np.ndarray, biases: np.ndarray, factors: np.ndarray, stride: int
) -> np.ndarray:
    """uint8: for each block its weights [ky][shift][quarter][lane][4 taps], biases, factors."""
    channels = len(weights)
    shifts = 2 if stride == 1 else 1
    parts = []
    for first, lanes in quads_ir.blocks(ISA.lanes, channels):
        size = 4 * lanes
        # [quarter][lane] -> channel of the block, as interleaving leaves them
        groups = np.arange(size).reshape(lanes // 4, 4, 4).transpose(1, 0, 2).reshape(4, lanes)
        valid = first + groups < channels
        chosen = np.minimum(first + groups, channels - 1)
        taps = np.zeros((3, shifts, 4, lanes, 4), dtype=np.int8)
        for shift in range(shifts):
            values = weights[chosen] * valid[..., None, None]  # [quarter, lane, ky, kx]
            taps[:, shift, ..., shift : shift + 3] = values.transpose(2, 0, 1, 3)
        parts += [taps.view(np.uint8).reshape(-1)]
        parts += [(biases[chosen] * valid).astype(np.int32).view(np.uint8).reshape(-1)]
        parts += [(factors[chosen] * valid).astype(np.float32).view(np.uint8).reshape(-1)]
    return aligned(np.concatenate(parts))


def prepare_quads(op: Op, layout: ConvLayout, output: TensorSpec) -> Prepared | None:
    """The path for a 3x3 layer to uint8; None where it is another layer, or not exact."""
    channels = layout.channels
    square = layout.kernel == (3, 3) and layout.dilation == (1, 1)
    strides = layout.stride in ((1, 1), (2, 2))
    bytes_only = output.dtype == "uint8" and layout.weights.dtype == np.int8
    wide = layout.out_width >= quads_ir.AT_ONCE
    if not (POSSIBLE and square and strides and bytes_only and wide):
        return None
    weights = layout.weights.reshape(channels, 3, 3)
    sums = weights.sum(axis=(1, 2), dtype=np.int64)
    # the row copy makes q + 128 of int8
    bias = op.consts["bias"].astype(np.int64) - (128 if layout.input_flip else 0) * sums
    bound = 255 * int(np.abs(weights.astype(np.int64)).sum(axis=(1, 2)).max())
    epilogue = prepare_epilogue(op, output, channels, bound, bias)
    if not epilogue.rounds_once:
        return None
    constants = _constants(weights, bias, epilogue.factors[:channels], layout.stride[0])
    columns = (layout.out_width - 1) * layout.stride[1] + 3
    row_bytes = -(-columns * channels // 64) * 64 + _GAP
    fixed = (*layout.geometry(), row_bytes, 0, 0, layout.input_flip)
    # the last dot products read two columns past a row's end, the last block past its channels
    scratch_bytes = 3 * row_bytes + 2 * channels + 512
    rows = layout.out_height

    def bind(
        batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
    ) -> list[Step]:
        p = integers(0, batch * rows, *fixed)
        arguments = (p, inputs[0], constants, layout.pads, epilogue.ef, output, scratch)
        return [(depthwise_quads, arguments)]

    return Prepared(f"{ISA.name}-quads", bind, lambda batch: scratch_bytes, True)
