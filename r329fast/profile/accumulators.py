"""The accumulators of an op, exact, from its integer inputs: what a normal run never shows.

A counting path of its own: NumPy on the integers that a run kept, so that the kernels of a normal
run know nothing of counting. Sums of integer products run in float64, or in float32 where no sum
can reach 2**24: exact either way.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from r329fast.base.integers import INT32_MAX
from r329fast.program.ops import OPS
from r329fast.program.ops.bounds import PRODUCT_LIMIT, largest
from r329fast.program.program import Op, Program, TensorSpec
from r329fast.quantization.fixed_point import requantize
from r329fast.reference.compute import finish
from r329fast.reference.standardize import standardized, standardized_words
from r329fast.reference.windows import transposed_sums

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

_UNBOUNDED = 1 << 40  # beyond every value before the last clamp
_SEARCH = 1 << 46  # accumulators lie within +-2**46: 16 bits times 16 bits, 2**16 times
_COLUMN_BYTES = 16 << 20  # of an unrolled block of windows
_FLOAT32_EXACT = 2**24  # integers up to here are float32 values, whatever order they are summed in


def accumulators(
    program: Program, op: Op, arrays: list[np.ndarray]
) -> Iterator[tuple[Op, np.ndarray]]:
    """(op, exact accumulators [..., C]) of what `op` requantises, before its activation.

    arrays: integers [N, *shape] of the op's inputs. One block for most ops, an image per block for
    convolutions, one per input for concat (the op then holds that input's multiplier), none for
    ops without a sum. The blocks are float64, or int32 where that is exact.
    """
    if OPS[op.kind].accumulates:
        inputs = [program.tensors[name] for name in op.inputs]
        yield from BLOCKS[op.kind](op, arrays, inputs, program.tensors[op.outputs[0]])


def _real(array: np.ndarray, spec: TensorSpec) -> Float64Array:
    return array.astype(np.float64) + spec.zero_point


Blocks = Iterator[tuple[Op, np.ndarray]]
Tensors = list[TensorSpec]


def _convolutions(op: Op, arrays: list[np.ndarray], inputs: Tensors, output: TensorSpec) -> Blocks:
    for image in arrays[0]:
        yield op, _convolution(op, image, output)


def _concat(op: Op, arrays: list[np.ndarray], inputs: Tensors, output: TensorSpec) -> Blocks:
    for index, (array, spec) in enumerate(zip(arrays, inputs, strict=True)):
        consts = {name: op.consts[name][index : index + 1] for name in ("mult", "shift")}
        yield dataclasses.replace(op, consts=consts), _real(array, spec)


def _fully_connected(
    op: Op, arrays: list[np.ndarray], inputs: Tensors, output: TensorSpec
) -> Blocks:
    weights = op.consts["weights"].astype(np.float64)
    yield op, arrays[0].astype(np.float64) @ weights.T + op.consts["bias"]


def _batchnorm(op: Op, arrays: list[np.ndarray], inputs: Tensors, output: TensorSpec) -> Blocks:
    yield op, arrays[0] * op.consts["weights"].astype(np.float64) + op.consts["bias"]


def _requantize(op: Op, arrays: list[np.ndarray], inputs: Tensors, output: TensorSpec) -> Blocks:
    yield op, _real(arrays[0], inputs[0])


def _reduce_sum(op: Op, arrays: list[np.ndarray], inputs: Tensors, output: TensorSpec) -> Blocks:
    axes = tuple(axis + 1 for axis in op.integers("axes"))
    yield op, np.asarray(_real(arrays[0], inputs[0]).sum(axis=axes))


def _avgpool(op: Op, arrays: list[np.ndarray], inputs: Tensors, output: TensorSpec) -> Blocks:
    images = _real(arrays[0], inputs[0])
    windows = (_windows(op, _padded(op, image, output, 0), output) for image in images)
    yield op, np.stack([window.sum(axis=(3, 4)) for window in windows])


def _matmul(op: Op, arrays: list[np.ndarray], inputs: Tensors, output: TensorSpec) -> Blocks:
    a, b = (_real(*pair) for pair in zip(arrays, inputs, strict=True))
    a = np.swapaxes(a, -1, -2) if op.integer("trans_a") else a
    b = np.swapaxes(b, -1, -2) if op.integer("trans_b") else b
    yield op, a @ b


def _eltwise(op: Op, arrays: list[np.ndarray], inputs: Tensors, output: TensorSpec) -> Blocks:
    a, b = (_real(*pair) for pair in zip(arrays, inputs, strict=True))
    method = op.text("method")
    if method == "MUL":
        yield op, a * b
        return
    scales = op.consts["scales"].astype(np.float64)
    combine = {"ADD": np.add, "SUB": np.subtract, "MAX": np.maximum, "MIN": np.minimum}[method]
    yield op, np.asarray(combine(a * scales[0], b * scales[1]))


def _transposed(op: Op, arrays: list[np.ndarray], inputs: Tensors, output: TensorSpec) -> Blocks:
    for image in arrays[0]:
        wide = image[None].astype(np.int64)
        yield op, transposed_sums(op, wide, inputs[0], output)[0].astype(np.float64)


def _standardize(op: Op, arrays: list[np.ndarray], inputs: Tensors, output: TensorSpec) -> Blocks:
    yield op, standardized(op, arrays[0].astype(np.int64), inputs[0]).astype(np.float64)


def _standardize_words(
    op: Op, arrays: list[np.ndarray], inputs: Tensors, output: TensorSpec
) -> Blocks:
    yield op, standardized_words(op, arrays[0].astype(np.int64)).astype(np.float64)


# Every op that accumulates.
BLOCKS: dict[str, Callable[[Op, list[np.ndarray], Tensors, TensorSpec], Blocks]] = {
    "conv2d": _convolutions,
    "depthwise_conv2d": _convolutions,
    "conv_transpose2d": _transposed,
    "fully_connected": _fully_connected,
    "standardize": _standardize,
    "standardize_words": _standardize_words,
    "matmul": _matmul,
    "eltwise": _eltwise,
    "batchnorm": _batchnorm,
    "requantize": _requantize,
    "avgpool": _avgpool,
    "reduce_sum": _reduce_sum,
    "concat": _concat,
}


def _padded(op: Op, image: np.ndarray, output: TensorSpec, fill: object) -> np.ndarray:
    """[H, W, C] with `fill` around it, as far as the last windows reach."""
    top, left, bottom, right = op.integers("pads")
    stride, dilation = op.integers("stride"), op.integers("dilation")
    height, width, channels = image.shape
    reach = [
        (output.shape[i] - 1) * stride[i] + (op.integers("kernel")[i] - 1) * dilation[i] + 1
        for i in (0, 1)
    ]
    size = max(top + height + bottom, reach[0]), max(left + width + right, reach[1])
    padded = np.empty((*size, channels), dtype=image.dtype)
    padded[...] = fill
    padded[top : top + height, left : left + width] = image
    return padded


def _windows(op: Op, padded: np.ndarray, output: TensorSpec) -> np.ndarray:
    """A view [Ho, Wo, C, kh, kw] of the values under the window."""
    (kernel_y, kernel_x), (stride_y, stride_x) = op.integers("kernel"), op.integers("stride")
    dilation_y, dilation_x = op.integers("dilation")
    span = ((kernel_y - 1) * dilation_y + 1, (kernel_x - 1) * dilation_x + 1)
    view = np.lib.stride_tricks.sliding_window_view(padded, span, axis=(0, 1))
    rows, columns = output.shape[0], output.shape[1]
    return view[::stride_y, ::stride_x, :, ::dilation_y, ::dilation_x][:rows, :columns]


def _convolution(op: Op, image: np.ndarray, output: TensorSpec) -> np.ndarray:
    """Accumulators [Ho, Wo, O] of one image [H, W, C]."""
    weights = op.consts["weights"]
    fill = op.consts.get("pad_values", np.int32(op.integer("pad_value")))
    padded = _padded(op, image.astype(np.int32), output, fill)
    windows = _windows(op, padded, output)
    group, outputs = op.integer("group"), weights.shape[0]
    if group == windows.shape[2] == outputs:
        return _depthwise(op, windows, weights, int(np.abs(padded).max(initial=0)))
    rows, columns, channels = windows.shape[:3]
    inner, per_group = channels // group, outputs // group
    reach = np.abs(weights.reshape(outputs, -1).astype(np.int64)).sum(axis=1)
    widest = int(reach.max()) * int(np.abs(padded).max())
    narrow = np.float32 if widest < _FLOAT32_EXACT else np.float64
    whole = widest + int(np.abs(op.consts["bias"].astype(np.int64)).max())
    # [g, I * kh * kw, O/g], the window's values in the same order
    matrix = weights.transpose(0, 3, 1, 2).reshape(group, per_group, -1).astype(narrow)
    dtype = np.int32 if whole <= INT32_MAX else np.float64
    result = np.empty((rows, columns, outputs), dtype=dtype)
    taps = windows.shape[3] * windows.shape[4]
    step = max(_COLUMN_BYTES // (8 * columns * channels * taps), 1)
    for first in range(0, rows, step):
        block = windows[first : first + step]
        for g in range(group):
            part = block[:, :, g * inner : (g + 1) * inner]
            unrolled = part.astype(narrow).reshape(-1, inner * taps)
            target = result[first : first + step, :, g * per_group : (g + 1) * per_group]
            target[...] = (unrolled @ matrix[g].T).reshape(target.shape)
    result += op.consts["bias"]
    return result


def _depthwise(op: Op, windows: np.ndarray, weights: np.ndarray, most: int) -> np.ndarray:
    """One input channel per output channel: int32 where no sum can leave it, else float64.

    most: largest |q| under a window.
    """
    taps = weights.shape[1] * weights.shape[2]
    widest = taps * most * largest(weights) + largest(op.consts["bias"])
    dtype = np.int32 if widest <= INT32_MAX else np.float64
    total = np.zeros(windows.shape[:3], dtype=dtype)
    total += op.consts["bias"]
    for y in range(weights.shape[1]):
        for x in range(weights.shape[2]):
            total += windows[..., y, x] * weights[:, y, x, 0].astype(dtype)
    return total


def unclamped(op: Op, a: Int64Array, output: TensorSpec) -> Int64Array:
    """The value before the last clamp, for accumulators [..., C], by the living definition."""
    wide = dataclasses.replace(output, qmin=-_UNBOUNDED, qmax=_UNBOUNDED)
    if op.kind == "avgpool":
        mult, shift = op.consts["mult"][..., None], op.consts["shift"][..., None]
        rounding = op.text("rounding")
        return requantize(a, mult, shift, wide.zero_point, wide.qmin, wide.qmax, rounding)
    return np.asarray(finish(op, a, wide), dtype=np.int64)


def _is_monotone(op: Op) -> bool:
    """Whether a larger accumulator never gives a smaller output."""
    slope = op.consts.get("slope")
    return op.kind != "avgpool" and (slope is None or int(slope.min()) >= 0)


def clamp_limits(op: Op, output: TensorSpec) -> tuple[Int64Array, Int64Array] | None:
    """(low, high) [C] or [1]: the accumulators below / above which the last clamp cuts.

    Found by bisection over the living definition, whatever rounding and activation it has. None
    where the output does not rise with the accumulator (negative slopes, average pooling).
    """
    if not _is_monotone(op):
        return None
    channels = max(array.size for name, array in op.consts.items() if name in _PER_CHANNEL)
    # largest a whose value is <= qmax, and largest a whose value is < qmin, plus 1
    high = _last(op, output, channels, output.qmax)
    low = _last(op, output, channels, output.qmin - 1) + 1
    return low, high


_PER_CHANNEL = ("mult", "shift", "slope")


def _last(op: Op, output: TensorSpec, channels: int, bound: int) -> Int64Array:
    """Per channel the largest accumulator whose unclamped value is at most `bound`."""
    steepest = max((largest(op.consts.get(name)) for name in ("mult", "slope")), default=1)
    reach = min(_SEARCH, (PRODUCT_LIMIT - 1) // max(steepest, 1) - 1)  # no product wraps
    below = np.full(channels, -reach - 1, dtype=np.int64)  # taken to satisfy the bound
    above = np.full(channels, reach + 1, dtype=np.int64)  # taken to break it
    while (above - below).max() > 1:
        middle = (below + above) >> 1
        holds = unclamped(op, middle, output) <= bound
        below, above = np.where(holds, middle, below), np.where(holds, above, middle)
    return below


def clamped_counts(
    op: Op,
    values: np.ndarray,
    output: TensorSpec,
    limits: tuple[Int64Array, Int64Array] | None,
) -> tuple[int, int]:
    """How many accumulators [..., C] the last clamp cuts at its low and at its high end."""
    if limits is None:
        result = unclamped(op, values.astype(np.int64), output)
        return int((result < output.qmin).sum()), int((result > output.qmax).sum())
    low, high = limits
    below = int((values < low).sum()) if values.min() < low.max() else 0
    above = int((values > high).sum()) if values.max() > high.min() else 0
    return below, above
