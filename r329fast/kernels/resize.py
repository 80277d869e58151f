"""Bilinear resize with integer weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from r329fast.kernels.epilogue_wide import ROUNDING_CODES, round_shift_wide
from r329fast.kernels.runtime.kernel import arrays, kernel
from r329fast.kernels.runtime.op_plan import OpPlan, Step, flip_of
from r329fast.kernels.runtime.parameters import pack
from r329fast.program.program import Op, TensorSpec


class Bilinear(NamedTuple):
    batch: int  # images
    height: int
    width: int
    channels: int
    flip: int  # 128 for int8, 0 for uint8
    weight_shift: int  # the four weights of a pixel add up to 2**weight_shift
    rounding: int  # a value of ROUNDING_CODES
    qmin: int
    qmax: int


@kernel
def bilinear_rows(frame):  # type: ignore[no-untyped-def]
    """y0, y1: rows above and below every output row; x0, x1: columns; weights [Ho, Wo, 4]."""
    p, x, y0, y1, x0, x1, weights, out = arrays(frame, Bilinear, "uiiiiiu")
    batch, height, width, channels, flip = p.batch, p.height, p.width, p.channels, p.flip
    at = 0  # outputs are made in the order in which they lie
    for image in range(batch):
        for y in range(y0.size):
            top = (image * height + y0[y]) * width
            bottom = (image * height + y1[y]) * width
            for column in range(x0.size):
                w = 4 * (y * x0.size + column)
                w0, w1, w2, w3 = weights[w], weights[w + 1], weights[w + 2], weights[w + 3]
                a, b = (top + x0[column]) * channels, (top + x1[column]) * channels
                d, e = (bottom + x0[column]) * channels, (bottom + x1[column]) * channels
                for c in range(channels):
                    total = ((np.int64(x[a + c]) ^ flip) - flip) * w0
                    total += ((np.int64(x[b + c]) ^ flip) - flip) * w1
                    total += ((np.int64(x[d + c]) ^ flip) - flip) * w2
                    total += ((np.int64(x[e + c]) ^ flip) - flip) * w3
                    value = round_shift_wide(total, p.weight_shift, p.rounding)
                    out[at] = np.uint8(min(max(value, p.qmin), p.qmax) & 255)
                    at += 1


def prepare_resize_bilinear(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> OpPlan:
    x = inputs[0]
    height, width, channels = x.shape
    parameters = Bilinear(
        batch=1,
        height=height,
        width=width,
        channels=channels,
        flip=flip_of(x),
        weight_shift=op.integer("weight_shift"),
        rounding=ROUNDING_CODES[op.text("rounding")],
        qmin=output.qmin,
        qmax=output.qmax,
    )
    y0, y1, x0, x1 = (op.consts[name].astype(np.int64) for name in ("y0", "y1", "x0", "x1"))
    weights = op.consts["weights"].astype(np.int64).reshape(-1)

    def bind(
        batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
    ) -> list[Step]:
        p = pack(parameters._replace(batch=batch))
        return [(bilinear_rows, (p, inputs[0], y0, y1, x0, x1, weights, output))]

    return OpPlan("int64-bilinear", bind, lambda batch: 0)


PREPARE = {"resize_bilinear": prepare_resize_bilinear}
