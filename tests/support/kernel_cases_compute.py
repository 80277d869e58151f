"""Random programs of one op each: ops that compute, and what all cases share."""

from __future__ import annotations

from typing import Any

import numpy as np

from r329fast.program.program import Op, Program, TensorSpec

Rng = np.random.Generator
ROUNDINGS = ("half_even", "half_up", "floor")
ACTS = ("NONE", "RELU", "CLIP", "LEAKY", "RELU_FLOAT32")


def pick(rng: Rng, *choices: Any) -> Any:
    return choices[int(rng.integers(len(choices)))]


def spec(rng: Rng, name: str, shape: tuple[int, ...], dtype: str | None = None) -> TensorSpec:
    """A tensor of random dtype and zero point; its range is now and then narrower."""
    dtype = dtype or pick(rng, "int8", "int8", "uint8")
    low, high = (0, 255) if dtype == "uint8" else (-128, 127)
    if rng.random() < 0.2:
        low, high = low + 3, high - 5
    zero = pick(rng, 0, 0, int(rng.integers(-128, 128)))
    return TensorSpec(name, shape, dtype, 1.0, zero, low, high)


def requant(rng: Rng, count: int | tuple[int, ...], reach: float) -> dict[str, np.ndarray]:
    """mult, shift that bring accumulators of size `reach` near the output's range, or not at all.

    Small multipliers with matching shifts make many exact ties.
    """
    mult = rng.integers(0, pick(rng, 4, 256, 32768), count).astype(np.int32)
    around = np.log2(np.maximum(mult, 1) * max(reach, 1.0) / 100)
    shift = np.round(around + rng.normal(0, 1, count)).astype(np.int32)
    if rng.random() < 0.15:
        shift = rng.integers(-31, 64, count).astype(np.int32)
    return {"mult": mult, "shift": np.clip(shift, -31, 63).astype(np.int32)}


def act(rng: Rng, channels: int, consts: dict[str, np.ndarray], chosen: str) -> dict[str, Any]:
    """Attributes of act and rounding; adds the slope where it is needed."""
    attrs: dict[str, Any] = {"act": chosen, "rounding": pick(rng, *ROUNDINGS)}
    low, high = sorted(int(v) for v in rng.integers(-40000, 40000, 2))
    attrs |= {"clip_min": pick(rng, 0, low), "clip_max": high}
    attrs["slope_shift"] = int(rng.integers(8, 20))  # with fewer, wide sums would pass 62 bits
    if chosen == "LEAKY":
        count = pick(rng, 1, channels)
        consts["slope"] = rng.integers(-100, 32768, count).astype(np.int32)
    return attrs


def biases(rng: Rng, count: int, reach: float) -> np.ndarray:
    """int32 biases: of the accumulators' size, or near the ends of int32."""
    if rng.random() < 0.15:
        ends = np.array([-(2**31), 2**31 - 1, 2**31 - 100, 0])
        return rng.choice(ends, count).astype(np.int32)
    return rng.integers(-int(reach) - 1, int(reach) + 2, count).astype(np.int32)


def build(rng: Rng, op: Op, inputs: list[TensorSpec], output: TensorSpec) -> Program:
    tensors = {t.name: t for t in (*inputs, output)}
    names = tuple(t.name for t in inputs)
    program = Program("case", "test", tensors, [op], [], names, (output.name,))
    program.verify()
    return program


def weights_of(rng: Rng, shape: tuple[int, ...], wide: bool) -> np.ndarray:
    kind = np.int16 if wide else np.int8
    low, high = np.iinfo(kind).min, np.iinfo(kind).max
    if rng.random() < 0.2:
        return rng.choice(np.array([low, high, 0], dtype=kind), shape)
    return rng.integers(low, high + 1, shape).astype(kind)


def convolution(
    rng: Rng,
    shape: tuple[int, int, int],
    out: int,
    kernel: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    group: int = 1,
    chosen: str = "NONE",
    wide: bool = False,
    dtype: str | None = None,
    kind: str = "conv2d",
) -> Program:
    """A convolution; the window must fit the padded image."""
    x = spec(rng, "x", shape, dtype)
    weights = weights_of(rng, (out, *kernel, shape[2] // group), wide)
    reach = float(np.sqrt(weights[0].size) * 75 * np.abs(weights.astype(float)).mean() + 1)
    count = pick(rng, 1, out)
    consts = {"weights": weights, "bias": biases(rng, out, reach), **requant(rng, count, reach)}
    low = 0 if x.dtype == "uint8" else -128
    if rng.random() < 0.3:
        consts["pad_values"] = rng.integers(low, low + 256, shape[2]).astype(np.int32)
    attrs = act(rng, out, consts, chosen) | {
        "kernel": kernel,
        "stride": stride,
        "dilation": dilation,
        "pads": pads,
        "group": group,
        "pad_value": int(pick(rng, -x.zero_point, int(rng.integers(low, low + 256)), 0)),
    }
    height = (shape[0] + pads[0] + pads[2] - (kernel[0] - 1) * dilation[0] - 1) // stride[0] + 1
    width = (shape[1] + pads[1] + pads[3] - (kernel[1] - 1) * dilation[1] - 1) // stride[1] + 1
    y = spec(rng, "y", (height, width, out))
    return build(rng, Op(kind, "layer", ("x",), ("y",), attrs, consts), [x], y)


def conv2d(rng: Rng) -> Program:
    kernel = (int(rng.integers(1, 5)), int(rng.integers(1, 5)))
    dilation = pick(rng, (1, 1), (1, 1), (2, 1), (1, 3), (2, 2))
    group = pick(rng, 1, 1, 1, 2, 3)
    channels = group * int(rng.integers(1, 71 // group))
    least = [(kernel[i] - 1) * dilation[i] + 1 for i in (0, 1)]
    shape = (int(rng.integers(1, 12)) + least[0], int(rng.integers(1, 12)) + least[1], channels)
    return convolution(
        rng,
        shape,
        group * int(rng.integers(1, 70 // group)),
        kernel,
        (int(rng.integers(1, 4)), int(rng.integers(1, 4))),
        dilation,
        tuple(int(v) for v in rng.integers(0, 4, 4)),  # type: ignore[arg-type]
        group,
        pick(rng, *ACTS),
        wide=rng.random() < 0.15,
    )


def depthwise_conv2d(rng: Rng) -> Program:
    channels = int(rng.integers(1, 70))
    kernel = pick(rng, (3, 3), (3, 3), (5, 5), (2, 4), (7, 1))
    shape = (int(rng.integers(13, 18)), int(rng.integers(13, 18)), channels)
    return convolution(
        rng,
        shape,
        channels * pick(rng, 1, 1, 1, 2),
        kernel,
        pick(rng, (1, 1), (2, 2), (1, 3)),
        pick(rng, (1, 1), (1, 1), (2, 1), (1, 2)),
        pick(rng, (1, 1, 1, 1), (0, 2, 1, 0), (2, 2, 2, 2)),
        channels,
        pick(rng, *ACTS),
        wide=rng.random() < 0.15,
        kind="depthwise_conv2d",
    )


def fully_connected(rng: Rng) -> Program:
    inner, out = int(rng.integers(1, 2000)), int(rng.integers(1, 80))
    rows = pick(rng, (), (), (5,), (2, 3))
    x, y = spec(rng, "x", (*rows, inner)), spec(rng, "y", (*rows, out))
    weights = weights_of(rng, (out, inner), rng.random() < 0.1)
    reach = float(np.sqrt(inner) * 75 * np.abs(weights.astype(float)).mean() + 1)
    consts = {
        "weights": weights,
        "bias": biases(rng, out, reach),
        **requant(rng, pick(rng, 1, out), reach),
    }
    attrs = act(rng, out, consts, pick(rng, *ACTS))
    return build(rng, Op("fully_connected", "layer", ("x",), ("y",), attrs, consts), [x], y)


def matmul(rng: Rng) -> Program:
    rows, inner, columns = (int(v) for v in rng.integers(1, 40, 3))
    pairs = pick(rng, (), (3,), (2, 2))
    trans_a, trans_b = (int(v) for v in rng.integers(0, 2, 2))
    a = spec(rng, "a", (*pairs, *((inner, rows) if trans_a else (rows, inner))))
    b = spec(rng, "b", (*pairs, *((columns, inner) if trans_b else (inner, columns))))
    y = spec(rng, "y", (*pairs, rows, columns))
    consts = requant(rng, 1, float(np.sqrt(inner) * 5000))
    attrs = {"rounding": pick(rng, *ROUNDINGS), "trans_a": trans_a, "trans_b": trans_b}
    return build(rng, Op("matmul", "layer", ("a", "b"), ("y",), attrs, consts), [a, b], y)


def some_shape(rng: Rng) -> tuple[int, ...]:
    channels = int(rng.integers(1, 71))
    return pick(rng, (5, 7, channels), (1, 1, channels), (channels,), (30, 20, channels), (9, 3))


def eltwise(rng: Rng) -> Program:
    shape = some_shape(rng)
    method = pick(rng, "ADD", "SUB", "MUL", "MAX", "MIN")
    second = pick(rng, shape, shape, (*(1,) * (len(shape) - 1), shape[-1]))
    a, b, y = spec(rng, "a", shape), spec(rng, "b", second), spec(rng, "y", shape)
    scales = rng.integers(-50, pick(rng, 2, 256, 32767, 2**31 - 1), 2).astype(np.int32)
    reach = 5000.0 if method == "MUL" else 100.0 * float(np.abs(scales).max())
    consts = {"scales": scales, **requant(rng, pick(rng, 1, shape[-1]), reach)}
    attrs = act(rng, shape[-1], consts, pick(rng, *ACTS)) | {"method": method}
    return build(rng, Op("eltwise", "layer", ("a", "b"), ("y",), attrs, consts), [a, b], y)


def batchnorm(rng: Rng) -> Program:
    shape = some_shape(rng)
    channels = shape[-1]
    size = pick(rng, 100, 2**15, 2**31 - 1)
    consts = {
        "weights": rng.integers(-size, size, channels).astype(np.int32),
        "bias": biases(rng, channels, size),
        **requant(rng, pick(rng, 1, channels), size * 60.0),
    }
    attrs = act(rng, channels, consts, pick(rng, *ACTS))
    x, y = spec(rng, "x", shape), spec(rng, "y", shape)
    return build(rng, Op("batchnorm", "layer", ("x",), ("y",), attrs, consts), [x], y)


def requantize(rng: Rng) -> Program:
    shape = some_shape(rng)
    consts = requant(rng, pick(rng, 1, shape[-1]), 100.0)
    attrs = act(rng, shape[-1], consts, pick(rng, *ACTS))
    x, y = spec(rng, "x", shape), spec(rng, "y", shape)
    return build(rng, Op("requantize", "layer", ("x",), ("y",), attrs, consts), [x], y)


def lut(rng: Rng) -> Program:
    shape = some_shape(rng)
    x, y = spec(rng, "x", shape), spec(rng, "y", shape)
    consts = {"table": rng.integers(y.qmin, y.qmax + 1, 256).astype(np.int16)}
    return build(rng, Op("lut", "layer", ("x",), ("y",), {}, consts), [x], y)


def _pool(rng: Rng, kind: str) -> Program:
    kernel, stride = (int(rng.integers(1, 4)), 2), (pick(rng, 1, 2), int(rng.integers(1, 4)))
    dilation = pick(rng, (1, 1), (2, 1))
    pads = tuple(int(v) for v in rng.integers(0, 2, 4))
    shape = (int(rng.integers(6, 14)), int(rng.integers(6, 14)), int(rng.integers(1, 71)))
    size = [
        (shape[i] + pads[i] + pads[i + 2] - (kernel[i] - 1) * dilation[i] - 1) // stride[i] + 1
        for i in (0, 1)
    ]
    ceil = int(rng.integers(0, 2))
    x = spec(rng, "x", shape)
    low, high = x.qmin, x.qmax
    y_shape = (size[0] + ceil, size[1] + int(rng.integers(0, 2)), shape[2])
    y = TensorSpec("y", y_shape, x.dtype, 1.0, x.zero_point, low, high)
    attrs: dict[str, Any] = {"kernel": kernel, "stride": stride, "dilation": dilation}
    attrs["pads"] = pads
    consts: dict[str, np.ndarray] = {}
    if kind == "avgpool":
        attrs["rounding"] = pick(rng, *ROUNDINGS)
        y = spec(rng, "y", y_shape)
        consts = requant(rng, pick(rng, (1, 1), y_shape[:2]), 100.0 * kernel[0] * kernel[1])
    return build(rng, Op(kind, "layer", ("x",), ("y",), attrs, consts), [x], y)


def maxpool(rng: Rng) -> Program:
    return _pool(rng, "maxpool")


def avgpool(rng: Rng) -> Program:
    return _pool(rng, "avgpool")


def reduce_sum(rng: Rng) -> Program:
    shape = (int(rng.integers(1, 9)), int(rng.integers(1, 9)), int(rng.integers(1, 71)))
    axes = pick(rng, (0, 1), (0, 1), (2,), (0, 2), (1,), (0,), (0, 1, 2), (1, 2))
    kept = tuple(n for axis, n in enumerate(shape) if axis not in axes)
    y_shape = pick(rng, kept or (1,), tuple(1 if i in axes else n for i, n in enumerate(shape)))
    summed = int(np.prod([shape[axis] for axis in axes]))
    consts = requant(rng, pick(rng, 1, kept[-1] if kept else 1), summed**0.5 * 80)
    attrs = {"rounding": pick(rng, *ROUNDINGS), "axes": axes}
    x, y = spec(rng, "x", shape), spec(rng, "y", y_shape)
    return build(rng, Op("reduce_sum", "layer", ("x",), ("y",), attrs, consts), [x], y)


def concat(rng: Rng) -> Program:
    count, axis = int(rng.integers(1, 5)), int(rng.integers(0, 3))
    base = [int(v) for v in rng.integers(1, 9, 3)]
    inputs, total = [], 0
    for i in range(count):
        shape = list(base)
        shape[axis] = int(rng.integers(1, 40))
        total += shape[axis]
        inputs.append(spec(rng, f"x{i}", tuple(shape)))
    y_shape = tuple(total if i == axis else n for i, n in enumerate(base))
    consts = requant(rng, count, 100.0)
    if rng.random() < 0.3:
        consts = {"mult": np.ones(count, np.int32), "shift": np.zeros(count, np.int32)}
    attrs = {"rounding": pick(rng, *ROUNDINGS), "axis": axis}
    names = tuple(x.name for x in inputs)
    op = Op("concat", "layer", names, ("y",), attrs, consts)
    return build(rng, op, inputs, spec(rng, "y", y_shape))


def feeds(rng: Rng, program: Program, count: int) -> dict[str, np.ndarray]:
    """Inputs [count, ...]: uniform over the dtype, or only its ends."""
    arrays = {}
    for name in program.inputs:
        t = program.tensors[name]
        info = np.iinfo(t.dtype)
        shape = (count, *t.shape)
        if rng.random() < 0.2:
            arrays[name] = rng.choice(np.array([info.min, info.max], dtype=t.dtype), shape)
        else:
            arrays[name] = rng.integers(info.min, info.max + 1, shape).astype(t.dtype)
    return arrays
