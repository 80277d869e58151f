"""Max and average pooling: windows cut at the image's border, vectors of channels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from r329fast.errors import ProgramError
from r329fast.kernels.epilogue import prepare_epilogue
from r329fast.kernels.leaves.tile import finish_rows, max_window
from r329fast.kernels.runtime.kernel import arrays, kernel
from r329fast.kernels.runtime.op_plan import Prepared, Step, flip_of, integers
from r329fast.program.program import Op, TensorSpec

_INT32 = (1 << 31) - 1


@kernel
def maxpool_rows(frame):  # type: ignore[no-untyped-def]
    """Output positions p[0]..p[1]; bytes are compared as q + 128 when int8 (flip in p[15])."""
    p, x, out = arrays(frame, "iuu")
    height, width, channels, out_height, out_width = p[2], p[3], p[4], p[5], p[6]
    kernel_y, kernel_x, dilation_y, dilation_x = p[7], p[8], p[11], p[12]
    for position in range(p[0], p[1]):
        image = position // (out_height * out_width)
        y = (position // out_width - image * out_height) * p[9] - p[13]
        column = (position % out_width) * p[10] - p[14]
        # The window's taps inside the image: first..last of each axis.
        first_y = max((dilation_y - 1 - y) // dilation_y, 0)
        last_y = min((height - 1 - y) // dilation_y + 1, kernel_y)
        first_x = max((dilation_x - 1 - column) // dilation_x, 0)
        last_x = min((width - 1 - column) // dilation_x + 1, kernel_x)
        start = (image * height + y + first_y * dilation_y) * width + column + first_x * dilation_x
        max_window(
            x.ctypes.data + start * channels,
            dilation_y * width * channels,
            max(last_y - first_y, 0),
            dilation_x * channels,
            max(last_x - first_x, 0),
            channels,
            p[16],
            p[15],
            out.ctypes.data + position * channels,
        )


@kernel
def avgpool_rows(frame):  # type: ignore[no-untyped-def]
    """Output positions p[0]..p[1]; which: constants of each position (an index into ef's rows)."""
    p, x, which, ef, out, scratch = arrays(frame, "iuifuu")
    height, width, channels, out_height, out_width = p[2], p[3], p[4], p[5], p[6]
    flip, move, pitch, padded = np.uint8(p[15]), np.int32(p[16]), p[17], p[18]
    acc = scratch[: 4 * channels].view(np.int32)
    for position in range(p[0], p[1]):
        image = position // (out_height * out_width)
        place = position - image * out_height * out_width
        y0 = place // out_width * p[9] - p[13]
        x0 = place % out_width * p[10] - p[14]
        acc[:] = 0
        for ky in range(p[7]):
            source_y = y0 + ky * p[11]
            if source_y < 0 or source_y >= height:
                continue
            for kx in range(p[8]):
                source_x = x0 + kx * p[12]
                if source_x < 0 or source_x >= width:
                    continue
                start = ((image * height + source_y) * width + source_x) * channels
                values = x[start : start + channels]
                for c in range(channels):
                    acc[c] += np.int32(np.int32(values[c] ^ flip) + move)
        finish_rows(
            scratch.ctypes.data,
            0,
            ef.ctypes.data,
            which[place] * padded,
            pitch,
            channels,
            1,
            out.ctypes.data + position * channels,
            channels,
        )


def _window(op: Op, x: TensorSpec, output: TensorSpec) -> tuple[int, ...]:
    pads = op.integers("pads")
    return (
        *x.shape,
        *output.shape[:2],
        *op.integers("kernel"),
        *op.integers("stride"),
        *op.integers("dilation"),
        pads[0],
        pads[1],
    )


def prepare_maxpool(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> Prepared:
    x = inputs[0]
    flip = flip_of(x)
    fixed = (*_window(op, x, output), flip, (x.qmin & 255) ^ flip)
    positions = output.shape[0] * output.shape[1]

    def bind(
        batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
    ) -> list[Step]:
        return [(maxpool_rows, (integers(0, batch * positions, *fixed), inputs[0], output))]

    return Prepared("vector-maxpool", bind, lambda batch: 0, True)


def prepare_avgpool(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> Prepared:
    """mult and shift (Ho, Wo) or (1, 1): distinct pairs get a row of constants each."""
    x, channels = inputs[0], output.shape[2]
    positions = output.shape[0] * output.shape[1]
    shape = output.shape[:2]
    pairs = np.stack(
        [np.broadcast_to(op.consts[name], shape).reshape(-1) for name in ("mult", "shift")], axis=1
    )
    distinct, which = np.unique(pairs, axis=0, return_inverse=True)
    padded = -(-channels // 32) * 32
    reach = max(abs(v + x.zero_point) for v in (-flip_of(x), 255 - flip_of(x)))
    bound = reach * int(np.prod(op.integers("kernel"), dtype=np.int64))
    mult, shift = (np.repeat(distinct[:, i], padded) for i in (0, 1))
    epilogue = prepare_epilogue(op, output, len(mult), bound, mult=mult, shift=shift)
    if epilogue.wide or bound > _INT32:
        raise ProgramError(
            f"layer {op.layer!r}: avgpool window {op.integers('kernel')} or zero point "
            f"{output.zero_point} is too large for 32-bit sums",
            layer=op.layer,
        )
    flip = flip_of(x)
    fixed = (*_window(op, x, output), flip, x.zero_point - flip, epilogue.pitch, padded)
    index = which.reshape(-1).astype(np.int64)

    def bind(
        batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
    ) -> list[Step]:
        p = integers(0, batch * positions, *fixed)
        return [(avgpool_rows, (p, inputs[0], index, epilogue.ef, output, scratch))]

    return Prepared("vector-avgpool", bind, lambda batch: 4 * channels + 256, True)
