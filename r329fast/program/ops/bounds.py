"""Rules that rows of the op list's table share: shapes, ranges of constants, no step past int64.

Each is a function that returns a complaint, or "" where the rule is kept. They count in Python's
integers, which never wrap.
"""

from __future__ import annotations

from math import prod

import numpy as np

from r329fast.base.integers import INT32_MAX
from r329fast.base.limits import ACTIVATION
from r329fast.program.op import Op, TensorSpec

PRODUCT_LIMIT = 1 << 62  # `round_shift` is exact below it
MAX_MULT = 32767
_FARTHEST = 1 << 40  # elements, whatever the user allows: offsets times small sizes stay in int64


def shape_is(expected: tuple[int, ...], output: TensorSpec) -> str:
    """A complaint where the output has another shape."""
    return "" if output.shape == expected else f"output shape {output.shape}, expected {expected}"


def const_is(op: Op, name: str, *shapes: tuple[int, ...]) -> str:
    """A complaint where the constant, if there is one, has none of the shapes."""
    if name not in op.consts or op.consts[name].shape in shapes:
        return ""
    return f"{name} has shape {op.consts[name].shape}, expected {' or '.join(map(str, shapes))}"


def const_in(op: Op, name: str, low: int, high: int) -> str:
    """A complaint where a value of the constant, if there is one, leaves low..high."""
    values = op.consts.get(name)
    if values is None or not values.size:
        return ""
    if low <= int(values.min()) and int(values.max()) <= high:
        return ""
    return f"{name} outside {low}..{high}"


def dtype_range(spec: TensorSpec) -> tuple[int, int]:
    """Lowest and highest integer of a tensor's dtype."""
    return spec.lowest, spec.lowest + (1 << 8 * spec.itemsize) - 1


def reach(spec: TensorSpec) -> int:
    """Largest |q + zero point| of a tensor."""
    return max(abs(end + spec.zero_point) for end in dtype_range(spec))


def span(spec: TensorSpec) -> int:
    """Largest |q| of a tensor, whichever of the signs its width is stored with."""
    return (1 << spec.bits) - 1


def largest(values: np.ndarray | None) -> int:
    """Largest absolute value, exact; 0 where there is none."""
    if values is None or not values.size:
        return 0
    return max(abs(int(values.min())), abs(int(values.max())))


def largest_sum(weights: np.ndarray) -> int:
    """Largest sum of absolute values over all axes but the first."""
    flat = weights.reshape(len(weights), -1)
    return int(np.abs(flat.astype(np.int64)).sum(axis=1).max(initial=0))


def size_is(shape: tuple[int, ...], what: str, itemsize: int = 1) -> str:
    """A complaint about more bytes than one activation of one image may have."""
    size = prod(shape) * itemsize
    if size <= min(ACTIVATION.bytes(), _FARTHEST):
        return ""
    return f"{what} {shape} has {size:,} bytes per image, {ACTIVATION.advice()}"


def same_dtype(inputs: list[TensorSpec], output: TensorSpec) -> str:
    """A complaint where an op that keeps integers has inputs and output of different dtypes."""
    found = sorted({x.dtype for x in (*inputs, output)})
    return "" if len(found) == 1 else f"dtypes {' and '.join(found)}, allowed the same for all"


def requant_ranges(op: Op) -> str:
    """A complaint about values of a requantisation's constants."""
    if op.attrs.get("act") == "LEAKY" and "slope" not in op.consts:
        return "act LEAKY needs the constant slope"
    return const_in(op, "mult", 0, MAX_MULT) or const_in(op, "shift", -31, 63)


def requant_lengths(op: Op, channels: int) -> str:
    """A complaint about the constants of a requantisation of so many channels."""
    for name in ("mult", "shift", "slope"):
        complaint = const_is(op, name, (1,), (channels,))
        if complaint:
            return complaint
    return requant_ranges(op)


def requant_rules(op: Op, channels: int, most: int) -> str:
    """The same, and one about accumulators up to `most` whose products would leave int64."""
    return requant_lengths(op, channels) or products_fit(op, most)


def products_fit(op: Op, most: int) -> str:
    """A complaint where |accumulators| up to `most` would leave int64 on their way."""
    sloped, widest = 0, most
    if op.attrs.get("act") == "LEAKY":
        sloped, shift = most * largest(op.consts["slope"]), op.integer("slope_shift")
        cut = sloped >> shift if shift >= 0 else min(sloped, INT32_MAX + 1) << min(-shift, 31)
        widest = max(most, cut + 1)
    if max(sloped, widest * max(largest(op.consts.get("mult")), 1)) < PRODUCT_LIMIT:
        return ""
    return f"accumulators up to {most} pass 62 bits when they are requantised"


def window_output(op: Op, x: TensorSpec) -> tuple[int, int]:
    """(rows, columns) of the windows that fit whole."""
    kernel, stride = op.integers("kernel"), op.integers("stride")
    dilation, pads = op.integers("dilation"), op.integers("pads")
    height = x.shape[0] + pads[0] + pads[2] - (kernel[0] - 1) * dilation[0] - 1
    width = x.shape[1] + pads[1] + pads[3] - (kernel[1] - 1) * dilation[1] - 1
    return height // stride[0] + 1, width // stride[1] + 1


def check_window(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    """Rank, and the size of an image with its padding and of what windows reach beyond it."""
    if len(inputs[0].shape) != 3 or len(output.shape) != 3:
        return f"shapes {inputs[0].shape} and {output.shape}: input and output must be (H, W, C)"
    kernel, stride = op.integers("kernel"), op.integers("stride")
    dilation, pads = op.integers("dilation"), op.integers("pads")
    sizes = []
    for i in (0, 1):
        padded = inputs[0].shape[i] + pads[i] + pads[i + 2]
        # ceil mode's last window ends past the padding; a stride is never walked in vain
        windows = (output.shape[i] - 1) * stride[i] + (kernel[i] - 1) * dilation[i] + 1
        sizes.append(max(padded, windows, stride[i]))
    return size_is((*sizes, inputs[0].shape[2]), "the image with padding, or stride,")


def check_channelwise(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    """One input, constants per channel of its last axis."""
    if not inputs[0].shape:
        return "needs an input with at least one axis"
    channels = inputs[0].shape[-1]
    for name in ("weights", "bias"):
        complaint = const_is(op, name, (channels,))
        if complaint:
            return complaint
    if "weights" in op.consts:
        most = span(inputs[0]) * largest(op.consts["weights"]) + largest(op.consts["bias"])
    else:
        most = reach(inputs[0])
    return shape_is(inputs[0].shape, output) or requant_rules(op, channels, most)


def check_same_shape(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    """One input with a last axis, the shape kept."""
    if not inputs[0].shape:
        return "needs an input with at least one axis"
    return shape_is(inputs[0].shape, output)


def check_table(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    """A table of 256 entries, the shape kept."""
    return const_is(op, "table", (256,)) or check_same_shape(op, inputs, output)


def check_axis(op: Op, shape: tuple[int, ...]) -> str:
    """A complaint where `axis` is none of the shape."""
    inside = 0 <= op.integer("axis") < len(shape)
    return "" if inside else f"axis {op.integer('axis')} outside {shape}"


def axes_are(op: Op, shape: tuple[int, ...]) -> str:
    """A complaint where `axes` are not different axes of the shape."""
    axes = op.integers("axes")
    inside = all(0 <= axis < len(shape) for axis in axes)
    if not axes or not inside or len(set(axes)) < len(axes):
        return f"axes {axes}, allowed different ones of the {len(shape)} axes of the input"
    return ""
