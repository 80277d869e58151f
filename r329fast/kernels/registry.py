"""Op kind -> the function that prepares it: packs constants, chooses a kernel path."""

from __future__ import annotations

from collections.abc import Callable

from r329fast.kernels import (
    elementwise,
    extremes,
    lrn,
    matmul,
    mean,
    moments,
    movement,
    normalise,
    pairs,
    pool,
    reduce,
    standardize,
    table,
)
from r329fast.kernels.conv.choice import prepare_dense
from r329fast.kernels.conv.depthwise import prepare_depthwise
from r329fast.kernels.conv.depthwise_quads import prepare_quads
from r329fast.kernels.conv.depthwise_taps import prepare_taps
from r329fast.kernels.conv.group_lanes import prepare_lanes
from r329fast.kernels.conv.layout import conv_layout
from r329fast.kernels.conv.transposed import transposed_preparer
from r329fast.kernels.conv.wide import prepare_wide
from r329fast.kernels.runtime.op_plan import OpPlan
from r329fast.kernels.words import elementwise as words_elementwise
from r329fast.kernels.words import products as words_products
from r329fast.kernels.words import windows as words_windows
from r329fast.program.program import Op, TensorSpec

Prepare = Callable[[Op, list[TensorSpec], TensorSpec], OpPlan]


def prepare_conv(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> OpPlan:
    """conv2d, depthwise_conv2d and fully_connected: the fastest path that is exact."""
    layout = conv_layout(op, inputs[0], output)
    if not layout.fits:
        return prepare_wide(layout)
    if layout.group == layout.channels > 1:
        plan = prepare_quads(op, layout, output) or prepare_taps(op, layout, output)
        if plan is None and len(layout.weights) == layout.channels:
            plan = prepare_depthwise(op, layout, output)
        if plan is not None:
            return plan
    lanes = prepare_lanes(layout, output)
    if lanes is not None:
        return lanes
    return prepare_dense(op, layout, output)


# Kind of an op -> its function; of two for one kind the later counts.
REGISTRY: dict[str, Prepare] = {
    "conv2d": prepare_conv,
    "depthwise_conv2d": prepare_conv,
    "fully_connected": prepare_conv,
    "conv_transpose2d": transposed_preparer(prepare_conv),
    **matmul.PREPARE,
    **elementwise.PREPARE,
    **table.PREPARE,
    **pool.PREPARE,
    **mean.PREPARE,
    **reduce.PREPARE,
    **extremes.PREPARE,
    **moments.PREPARE,
    **pairs.PREPARE,
    **standardize.PREPARE,
    **normalise.PREPARE,
    **lrn.PREPARE,
    **movement.PREPARE,
    "lut_line": words_elementwise.prepare_line,
    "standardize_words": words_products.prepare_norm,
    "resize_bilinear": words_products.prepare_corners,
}


# The same where a tensor has more than a byte per element, unless the first takes any width.
WORDS: dict[str, Prepare] = {
    **words_elementwise.PREPARE,
    **words_products.PREPARE,
    **words_windows.PREPARE,
    "conv_transpose2d": transposed_preparer(words_windows.prepare_conv_words),
}


def prepare(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> OpPlan:
    """Kernels and packed constants for `op` on tensors of these shapes."""
    if any(tensor.itemsize > 1 for tensor in (*inputs, output)) and op.kind in WORDS:
        return WORDS[op.kind](op, inputs, output)
    return REGISTRY[op.kind](op, inputs, output)
