"""Random programs of one op each, for every op kind: what the kernel tests run."""

from __future__ import annotations

from collections.abc import Callable

from r329fast.program.program import Program
from support import kernel_cases_compute as compute
from support import kernel_cases_further as further
from support import kernel_cases_moves as moves
from support.kernel_cases_compute import ACTS, Rng, convolution, feeds

__all__ = ["ACTS", "CASES", "convolution", "feeds"]

CASES: dict[str, Callable[[Rng], Program]] = {
    "conv2d": compute.conv2d,
    "depthwise_conv2d": compute.depthwise_conv2d,
    "fully_connected": compute.fully_connected,
    "matmul": compute.matmul,
    "eltwise": compute.eltwise,
    "batchnorm": compute.batchnorm,
    "requantize": compute.requantize,
    "lut": compute.lut,
    "maxpool": compute.maxpool,
    "avgpool": compute.avgpool,
    "reduce_sum": compute.reduce_sum,
    "concat": compute.concat,
    "reshape": moves.reshape,
    "transpose": moves.transpose,
    "slice": moves.slice_,
    "pad": moves.pad,
    "channel_shuffle": moves.channel_shuffle,
    "depth_to_space": moves.depth_to_space,
    "resize_nearest": moves.resize_nearest,
    "resize_bilinear": moves.resize_bilinear,
    "softmax_lut": moves.softmax_lut,
    "softmax_fast_exp": moves.softmax_fast_exp,
    "log_softmax": moves.log_softmax,
    "lrn": moves.lrn,
    **further.CASES,
}
