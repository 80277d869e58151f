"""Bilinear resize with integer weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from r329fast.kernels.epilogue import ROUNDING_CODES
from r329fast.kernels.finish_wide import round_shift_wide
from r329fast.kernels.runtime.kernel import arrays, kernel
from r329fast.kernels.runtime.op_plan import Prepared, Step, flip_of, integers
from r329fast.program.program import Op, TensorSpec


@kernel
def bilinear_rows(frame):  # type: ignore[no-untyped-def]
    """p: batch, H, W, C, flip, weight_shift, rounding, qmin, qmax; weights int64 flat [Ho,Wo,4]."""
    p, x, y0, y1, x0, x1, weights, out = arrays(frame, "iuiiiiiu")
    batch, height, width, channels, flip = p[0], p[1], p[2], p[3], p[4]
    at = 0
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
                    value = round_shift_wide(total, p[5], p[6])
                    out[at] = np.uint8(min(max(value, p[7]), p[8]) & 255)
                    at += 1


def prepare_resize_bilinear(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> Prepared:
    x = inputs[0]
    rounding = ROUNDING_CODES[op.text("rounding")]
    fixed = (*x.shape, flip_of(x), op.integer("weight_shift"), rounding, output.qmin, output.qmax)
    y0, y1, x0, x1 = (op.consts[name].astype(np.int64) for name in ("y0", "y1", "x0", "x1"))
    weights = op.consts["weights"].astype(np.int64).reshape(-1)

    def bind(
        batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
    ) -> list[Step]:
        p = integers(batch, *fixed)
        return [(bilinear_rows, (p, inputs[0], y0, y1, x0, x1, weights, output))]

    return Prepared("int64-bilinear", bind, lambda batch: 0)
