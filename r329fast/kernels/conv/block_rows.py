"""What drivers of rows by channel blocks share (the leaves: ir/channel_blocks.py)."""

from __future__ import annotations

import numpy as np

from r329fast.kernels.conv.layout import ConvLayout
from r329fast.kernels.epilogue import Epilogue, prepare_epilogue
from r329fast.kernels.ir import channel_blocks
from r329fast.kernels.runtime.isa import ISA, JIT, target_features
from r329fast.program.program import Op, TensorSpec

GAP = 64  # bytes behind an input row, which whole vectors may read
# Blocks of half and quarter vectors take the dot product of those widths too.
POSSIBLE = JIT and ISA.family in ("vnni512", "avxvnni") and ISA.lanes >= 16
if POSSIBLE and not ISA.emulated:
    POSSIBLE = "avx512vl" in target_features()


def takes(layout: ConvLayout, output: TensorSpec) -> bool:
    """Whether the path has the instructions, and the layer bytes and columns enough."""
    bytes_only = output.dtype == "uint8" and layout.weights.dtype == np.int8
    return POSSIBLE and bytes_only and layout.out_width >= channel_blocks.AT_ONCE


def ring_row_bytes(columns: int, channels: int) -> int:
    """Bytes of a padded input row and of the gap behind it."""
    return -(-columns * channels // 64) * 64 + GAP


def depthwise_epilogue(
    op: Op, layout: ConvLayout, output: TensorSpec
) -> tuple[np.ndarray, Epilogue] | None:
    """Biases of inputs as the row copy makes them, and the epilogue; None where it is not exact."""
    outs = len(layout.weights)
    weights = layout.weights.reshape(outs, -1).astype(np.int64)
    # the row copy makes q + 128 of int8
    bias = op.consts["bias"].astype(np.int64) - (128 if layout.input_flip else 0) * weights.sum(1)
    bound = 255 * int(np.abs(weights).sum(axis=1).max())
    epilogue = prepare_epilogue(op, output, outs, bound, bias)
    return (bias, epilogue) if epilogue.rounds_once else None


def block_parts(
    taps: np.ndarray,
    biases: np.ndarray,
    factors: np.ndarray,
    chosen: np.ndarray,
    valid: np.ndarray,
) -> list[np.ndarray]:
    """The bytes of one block: its weights, int32 biases, float32 factors.

    taps: int8, in the order of the kernel; biases: of each channel in the last axis; chosen: the
    channel of each place; valid: bool, whether the layer has that channel.
    """
    ends = biases[..., chosen] * valid, factors[chosen] * valid
    kinds = (taps, ends[0].astype(np.int32), ends[1].astype(np.float32))
    return [np.ascontiguousarray(part).view(np.uint8).reshape(-1) for part in kinds]
