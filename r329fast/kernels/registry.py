"""Op kind -> the function that prepares it: packs constants, chooses a kernel path."""

from __future__ import annotations

from collections.abc import Callable

from r329fast.kernels.conv.choice import prepare_dense
from r329fast.kernels.conv.depthwise import prepare_depthwise
from r329fast.kernels.conv.depthwise_quads import prepare_quads
from r329fast.kernels.conv.layout import conv_layout
from r329fast.kernels.conv.wide import prepare_wide
from r329fast.kernels.elementwise import prepare_eltwise
from r329fast.kernels.matmul import prepare_matmul
from r329fast.kernels.movement import prepare_movement
from r329fast.kernels.normalise import prepare_lrn, prepare_softmax, prepare_softmax_fast_exp
from r329fast.kernels.pool import prepare_avgpool, prepare_maxpool
from r329fast.kernels.reduce import prepare_reduce_sum
from r329fast.kernels.resize import prepare_resize_bilinear
from r329fast.kernels.runtime.op_plan import OpPlan
from r329fast.kernels.table import prepare_concat, prepare_table
from r329fast.program.program import Op, TensorSpec

Prepare = Callable[[Op, list[TensorSpec], TensorSpec], OpPlan]


def prepare_conv(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> OpPlan:
    """conv2d, depthwise_conv2d and fully_connected: the fastest path that is exact."""
    layout = conv_layout(op, inputs[0], output)
    if not layout.fits:
        return prepare_wide(layout)
    if layout.group == layout.channels == len(layout.weights) and layout.group > 1:
        return prepare_quads(op, layout, output) or prepare_depthwise(op, layout, output)
    return prepare_dense(op, layout, output)


REGISTRY: dict[str, Prepare] = {
    "conv2d": prepare_conv,
    "depthwise_conv2d": prepare_conv,
    "fully_connected": prepare_conv,
    "matmul": prepare_matmul,
    "eltwise": prepare_eltwise,
    "batchnorm": prepare_table,
    "requantize": prepare_table,
    "lut": prepare_table,
    "maxpool": prepare_maxpool,
    "avgpool": prepare_avgpool,
    "reduce_sum": prepare_reduce_sum,
    "concat": prepare_concat,
    "reshape": prepare_movement,
    "transpose": prepare_movement,
    "slice": prepare_movement,
    "pad": prepare_movement,
    "channel_shuffle": prepare_movement,
    "resize_nearest": prepare_movement,
    "resize_bilinear": prepare_resize_bilinear,
    "softmax_lut": prepare_softmax,
    "softmax_fast_exp": prepare_softmax_fast_exp,
    "log_softmax": prepare_softmax,
    "lrn": prepare_lrn,
}


def prepare(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> OpPlan:
    """Kernels and packed constants for `op` on tensors of these shapes."""
    return REGISTRY[op.kind](op, inputs, output)
