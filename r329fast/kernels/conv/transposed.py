"""Transposed convolution: a plain one whose outputs are the phases of the stride, then sorted.

Output y of a stride s gets, for each tap k, input (y - k*dilation) / s where that is whole. Outputs
of one phase y % s see the same taps, so each phase is a convolution of the small input map, and all
phases together are one with s*s times as many output channels. Taps that a phase lacks are zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from r329fast.kernels.movement import prepare_runs
from r329fast.kernels.places import Places
from r329fast.kernels.runtime.op_plan import OpPlan, Step
from r329fast.program.program import Op, TensorSpec

Prepare = Callable[[Op, list[TensorSpec], TensorSpec], OpPlan]
_ALIGN, _SLACK = 64, 256


def phase_convolution(op: Op, x: TensorSpec, output: TensorSpec) -> tuple[Op, TensorSpec]:
    """The convolution of all phases, and its output [rows, columns, groups, s_y, s_x, O/group]."""
    weights, group = op.consts["weights"], op.integer("group")
    outs, kernel_y, kernel_x, channels = weights.shape
    (stride_y, stride_x), (step_y, step_x) = op.integers("stride"), op.integers("dilation")
    taps_y = (kernel_y - 1) * step_y // stride_y + 1
    taps_x = (kernel_x - 1) * step_x // stride_x + 1
    each = channels // group
    apart = weights.reshape(outs, kernel_y, kernel_x, group, each)
    phases = np.zeros((group, stride_y, stride_x, outs, taps_y, taps_x, each), dtype=weights.dtype)
    for ky in range(kernel_y):
        y, row = ky * step_y % stride_y, taps_y - 1 - ky * step_y // stride_y
        for kx in range(kernel_x):
            c, column = kx * step_x % stride_x, taps_x - 1 - kx * step_x // stride_x
            phases[:, y, c, :, row, column] = apart[:, ky, kx].transpose(1, 0, 2)
    made = group * stride_y * stride_x * outs

    def spread(values: np.ndarray) -> np.ndarray:
        """Of every output channel -> of every phase of it."""
        if values.size == 1:
            return values
        wide = np.broadcast_to(values.reshape(group, 1, 1, outs), (group, stride_y, stride_x, outs))
        return np.ascontiguousarray(wide).reshape(-1)

    # the convolution sums q, not q + zp, over the taps of a phase and pads with -zp; the bias holds
    # the zero point times all weights, of every group
    bias = op.consts["bias"].astype(np.int64)
    whole = weights.astype(np.int64).reshape(outs, -1).sum(axis=1)
    own = phases.astype(np.int64).sum(axis=(4, 5, 6)).reshape(-1)
    full = spread(bias - x.zero_point * np.tile(whole, group)).reshape(-1)
    full = np.broadcast_to(full, (made,)) + x.zero_point * own
    consts = {
        **{name: spread(values) for name, values in op.consts.items() if name != "weights"},
        "weights": phases.reshape(made, taps_y, taps_x, each),
        "bias": full,
    }
    attrs = {
        name: op.attrs[name]
        for name in ("rounding", "act", "clip_min", "clip_max", "slope_shift", "group")
    }
    attrs.update(
        kernel=(taps_y, taps_x),
        stride=(1, 1),
        dilation=(1, 1),
        pads=(taps_y - 1, taps_x - 1, taps_y - 1, taps_x - 1),
        pad_value=-x.zero_point,
    )
    shape = (x.shape[0] + taps_y - 1, x.shape[1] + taps_x - 1, made)
    phase = TensorSpec(
        f"{output.name}:phases",
        shape,
        output.dtype,
        output.scale,
        output.zero_point,
        output.qmin,
        output.qmax,
    )
    return Op("conv2d", op.layer, op.inputs, (phase.name,), attrs, consts), phase


def sorted_places(op: Op, phase: TensorSpec, output: TensorSpec) -> Places:
    """Where every output element lies among the phases."""
    (stride_y, stride_x), group = op.integers("stride"), op.integer("group")
    top, left, _, _ = op.integers("pads")
    _, columns, made = phase.shape
    outs = made // (group * stride_y * stride_x)
    y, x, c = (np.arange(size, dtype=np.int64) for size in output.shape)
    y, x = y + top, x + left
    rows = y // stride_y * columns * made + y % stride_y * stride_x * outs
    return [
        rows,
        x // stride_x * made + x % stride_x * outs,
        c // outs * stride_y * stride_x * outs + c % outs,
    ]


def transposed_preparer(prepare_conv: Prepare) -> Prepare:
    """`prepare_conv`: what prepares a plain convolution."""

    def prepare(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> OpPlan:
        x = inputs[0]
        conv, phase = phase_convolution(op, x, output)
        sums = prepare_conv(conv, [x], phase)
        runs = prepare_runs(sorted_places(op, phase, output), phase, 0, "runs")
        between = phase.bytes

        def room(batch: int) -> int:
            return -(-(between * batch + _SLACK) // _ALIGN) * _ALIGN

        def bind(
            batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
        ) -> list[Step]:
            made, rest = scratch[: between * batch], scratch[room(batch) :]
            steps = sums.bind(batch, inputs, made, rest)
            return steps + runs.bind(batch, [made], output, rest)

        path = f"phases {sums.path}"
        return OpPlan(path, bind, lambda batch: room(batch) + sums.scratch_bytes(batch))

    return prepare
