"""Random programs of one op each: the ops of spec B.16 to B.22."""

from __future__ import annotations

from typing import Any

import numpy as np

from r329fast.program.program import Op, Program, TensorSpec
from r329fast.quantization.tables import inverse_root_table, reciprocal_table
from support.kernel_cases_compute import (
    ACTS,
    ROUNDINGS,
    Rng,
    act,
    biases,
    build,
    pick,
    requant,
    spec,
    weights_of,
)


def _same(rng: Rng, kind: str, x: TensorSpec, shape: tuple[int, ...], **attrs: Any) -> Program:
    consts = attrs.pop("consts", {})
    y = TensorSpec("y", shape, x.dtype, 1.0, x.zero_point, x.qmin, x.qmax)
    return build(rng, Op(kind, "layer", ("x",), ("y",), attrs, consts), [x], y)


def constant(rng: Rng) -> Program:
    x, shape = spec(rng, "x", (3,)), pick(rng, (4, 5), (7,), (2, 3, 4))
    y = TensorSpec("y", shape, pick(rng, "int8", "uint8", "uint16", "int32"), 1.0, 0, 0, 100)
    value = rng.integers(0, 101, shape).astype(y.dtype)
    tensors = {"x": x, "y": y}
    op = Op("constant", "layer", (), ("y",), {}, {"value": value})
    program = Program("case", "test", tensors, [op], [], ("x",), ("y",))
    program.verify()
    return program


def tile(rng: Rng) -> Program:
    shape, repeats = (3, 2, 5), tuple(int(v) for v in rng.integers(1, 4, 3))
    y = tuple(n * r for n, r in zip(shape, repeats, strict=True))
    return _same(rng, "tile", spec(rng, "x", shape), y, repeats=repeats)


def gather(rng: Rng) -> Program:
    shape, axis = (4, 5, 6), int(rng.integers(0, 3))
    indices = rng.integers(0, shape[axis], int(rng.integers(1, 9))).astype(np.int32)
    y = (*shape[:axis], len(indices), *shape[axis + 1 :])
    consts = {"indices": indices}
    return _same(rng, "gather", spec(rng, "x", shape), y, axis=axis, consts=consts)


def divide(rng: Rng) -> Program:
    shape = pick(rng, (5, 6, 7), (19,))
    a, b = spec(rng, "x", shape), spec(rng, "b", shape)
    lowest = b.lowest
    zero = pick(rng, 0, -lowest - int(rng.integers(0, 256)))
    zero = min(max(zero, -255 - lowest), -lowest)
    b = TensorSpec("b", shape, b.dtype, 1.0, zero, b.qmin, b.qmax)
    consts = {"table": reciprocal_table().astype(np.int32), **requant(rng, 1, 50.0 * 65535)}
    op = Op("divide", "layer", ("x", "b"), ("y",), {"rounding": pick(rng, *ROUNDINGS)}, consts)
    return build(rng, op, [a, b], spec(rng, "y", shape))


def absolute(rng: Rng) -> Program:
    x, y = spec(rng, "x", (4, 5, 6)), spec(rng, "y", (4, 5, 6))
    attrs, consts = {"rounding": pick(rng, *ROUNDINGS)}, requant(rng, 1, 100.0)
    return build(rng, Op("abs", "layer", ("x",), ("y",), attrs, consts), [x], y)


def negative(rng: Rng) -> Program:
    x, y = spec(rng, "x", (4, 5, 6)), spec(rng, "y", (4, 5, 6))
    return build(rng, Op("negative", "layer", ("x",), ("y",), {}, {}), [x], y)


def _reduced(rng: Rng) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """(shape, axes, shape without them)."""
    shape = pick(rng, (3, 4, 10), (7, 33), (50,), (2, 3, 4, 5))
    count = int(rng.integers(1, len(shape) + 1))
    axes = tuple(sorted(int(v) for v in rng.permutation(len(shape))[:count]))
    kept = tuple(n for axis, n in enumerate(shape) if axis not in axes) or (1,)
    return shape, axes, kept


def reduce_extreme(rng: Rng) -> Program:
    shape, axes, kept = _reduced(rng)
    method = pick(rng, "MAX", "MIN")
    return _same(rng, "reduce_extreme", spec(rng, "x", shape), kept, axes=axes, method=method)


def reduce_norm(rng: Rng) -> Program:
    shape, axes, kept = _reduced(rng)
    method, big = pick(rng, "L1", "L2"), rng.random() < 0.3
    if big:  # sums beyond 16 bits
        shape, axes, kept = (40, 50, 3), (0, 1), (3,)
    attrs = {"rounding": pick(rng, *ROUNDINGS), "axes": axes, "method": method}
    reach = {"L1": 100.0, "L2": 5.0}[method] * np.prod([shape[axis] for axis in axes])
    consts = requant(rng, 1, float(reach))
    if method == "L2":
        consts["table"] = np.sort(rng.integers(-128, 128, 256)).astype(np.int32)
    x, y = spec(rng, "x", shape), spec(rng, "y", kept, "int8" if method == "L2" else None)
    return build(rng, Op("reduce_norm", "layer", ("x",), ("y",), attrs, consts), [x], y)


def reduce_variance(rng: Rng) -> Program:
    shape, axes, kept = _reduced(rng)
    attrs = {"rounding": pick(rng, *ROUNDINGS), "axes": axes}
    consts = requant(rng, 1, 5000.0 * np.prod([shape[axis] for axis in axes]))
    x, y = spec(rng, "x", shape), spec(rng, "y", kept)
    return build(rng, Op("reduce_variance", "layer", ("x",), ("y",), attrs, consts), [x], y)


def reduce_product(rng: Rng) -> Program:
    shape, axes, kept = _reduced(rng)
    x = spec(rng, "x", shape)
    wide = x.qmin + x.zero_point >= 0 and rng.random() < 0.5
    attrs = {
        "rounding": pick(rng, *ROUNDINGS),
        "axes": axes,
        "power": int(rng.integers(-20, 200)),
        "width": "uint16" if wide else "int16",
    }
    consts = {**requant(rng, 1, 100.0), "shift": np.zeros(1, np.int32)}
    op = Op("reduce_product", "layer", ("x",), ("y",), attrs, consts)
    return build(rng, op, [x], spec(rng, "y", kept))


def l2_normalize(rng: Rng) -> Program:
    shape, first = (5, 6, 20), int(rng.integers(0, 3))
    axes = tuple(range(first, int(rng.integers(first + 1, 4))))
    attrs = {
        "rounding": pick(rng, *ROUNDINGS),
        "axes": axes,
        "mult": int(rng.integers(1, 256)),
        "before": int(rng.integers(0, 4)),
        "shift": int(rng.integers(-4, 12)),
    }
    consts = {"table": inverse_root_table().astype(np.int32)}
    op = Op("l2_normalize", "layer", ("x",), ("y",), attrs, consts)
    return build(rng, op, [spec(rng, "x", shape)], spec(rng, "y", shape))


def standardize(rng: Rng) -> Program:
    shape = pick(rng, (3, 4, 12), (5, 72), (2, 2, 3), (6, 5, 40))
    axis, channels = int(rng.integers(0, len(shape))), shape[-1]
    groups = pick(rng, 1, 1, 2 if channels % 2 == 0 else 3, channels)
    form = pick(rng, (channels,), shape[axis:])
    wide = rng.random() < 0.15
    weights = weights_of(rng, form, wide)
    reach = 30.0 * np.abs(weights.astype(float)).mean() + 1
    bias = np.resize(biases(rng, weights.size, reach), form)
    consts = {
        "weights": weights,
        "bias": bias,
        "table": inverse_root_table().astype(np.int32),
        **requant(rng, pick(rng, 1, channels), reach),
    }
    attrs = {
        "rounding": pick(rng, *ROUNDINGS),
        "axis": axis,
        "groups": groups,
        "var_shift": int(rng.integers(-2, 8)),
        "norm_shift": int(pick(rng, rng.integers(-3, 5), -8, -12)),
    }
    op = Op("standardize", "layer", ("x",), ("y",), attrs, consts)
    return build(rng, op, [spec(rng, "x", shape)], spec(rng, "y", shape))


def arg_extreme(rng: Rng) -> Program:
    shape = pick(rng, (4, 5, 20), (300,))
    axis = int(rng.integers(0, len(shape)))
    attrs = {"axis": axis, "method": pick(rng, "MAX", "MIN"), "last": int(rng.integers(0, 2))}
    y = (*shape[:axis], 1, *shape[axis + 1 :])
    out = TensorSpec("y", y, pick(rng, "uint16", "int16", "int32"), 1.0, 0, 0, 32767)
    op = Op("arg_extreme", "layer", ("x",), ("y",), attrs, {})
    return build(rng, op, [spec(rng, "x", shape)], out)


def top_k(rng: Rng) -> Program:
    shape = pick(rng, (4, 5, 20), (300,))
    axis = int(rng.integers(0, len(shape)))
    k = int(rng.integers(1, shape[axis] + 1))
    attrs: dict[str, Any] = {"axis": axis, "k": k, "method": pick(rng, "MAX", "MIN")}
    y = (*shape[:axis], k, *shape[axis + 1 :])
    x = spec(rng, "x", shape)
    if rng.random() < 0.5:
        return _same(rng, "top_k", x, y, result="VALUES", **attrs)
    out = TensorSpec("y", y, "uint16", 1.0, 0, 0, 65535)
    op = Op("top_k", "layer", ("x",), ("y",), {**attrs, "result": "INDICES"}, {})
    return build(rng, op, [x], out)


def conv_transpose2d(rng: Rng) -> Program:
    group = pick(rng, 1, 1, 2, 3)
    channels = group * int(rng.integers(1, 9))
    outs = pick(rng, 1, int(rng.integers(1, 20)))
    kernel, stride, dilation = (
        tuple(int(v) for v in rng.integers(1, high, 2)) for high in (5, 4, 3)
    )
    shape = (int(rng.integers(1, 7)), int(rng.integers(1, 7)), channels)
    size = [(shape[i] - 1) * stride[i] + dilation[i] * (kernel[i] - 1) + 1 for i in (0, 1)]
    pads = [int(rng.integers(0, min(n, 3))) for n in size]
    behind = [int(rng.integers(0, min(n - p, 3))) for n, p in zip(size, pads, strict=True)]
    x = spec(rng, "x", shape)
    weights = weights_of(rng, (outs, *kernel, channels), rng.random() < 0.1)
    reach = float(np.sqrt(weights[0].size) * 75 * np.abs(weights.astype(float)).mean() + 1)
    made = outs * group
    consts = {
        "weights": weights,
        "bias": biases(rng, made, reach),
        **requant(rng, pick(rng, 1, made), reach),
    }
    attrs = act(rng, made, consts, pick(rng, *ACTS)) | {
        "kernel": kernel,
        "stride": stride,
        "dilation": dilation,
        "pads": (*pads, *behind),
        "group": group,
    }
    y = spec(rng, "y", (size[0] - pads[0] - behind[0], size[1] - pads[1] - behind[1], made))
    return build(rng, Op("conv_transpose2d", "layer", ("x",), ("y",), attrs, consts), [x], y)


def word(rng: Rng, name: str, shape: tuple[int, ...]) -> TensorSpec:
    """A tensor of 16 bits."""
    low, high = pick(rng, (0, 65535), (-32768, 32767), (-32767, 32767))
    dtype = "int16" if low else "uint16"
    return TensorSpec(name, shape, dtype, 1.0, 0, low, high)


def lut_line(rng: Rng) -> Program:
    shape, shift = pick(rng, (5, 7, 9), (40,)), int(rng.integers(0, 9))
    x, y = word(rng, "x", shape), pick(rng, word, spec)(rng, "y", shape)
    table = rng.integers(y.qmin, y.qmax + 1, 1 << (16 - shift)).astype(np.int32)
    table = pick(rng, table, np.sort(table))
    op = Op("lut_line", "layer", ("x",), ("y",), {"shift": shift}, {"table": table})
    return build(rng, op, [x], y)


def standardize_words(rng: Rng) -> Program:
    shape = pick(rng, (3, 4, 12), (5, 72), (2, 2, 3), (6, 5, 40))
    axis, channels = int(rng.integers(0, len(shape))), shape[-1]
    form = pick(rng, (channels,), shape[axis:])
    weights = weights_of(rng, form, rng.random() < 0.3)
    reach = 8000.0 * np.abs(weights.astype(float)).mean() + 1
    kind = pick(rng, np.int32, np.int32, np.int64)
    many = requant(rng, pick(rng, 1, channels), reach / 256)
    consts = {
        "weights": weights,
        "bias": np.resize(biases(rng, weights.size, min(reach, 2**30)), form).astype(kind),
        "table": inverse_root_table().astype(np.int32),
        **many,
    }
    attrs = {
        "rounding": pick(rng, *ROUNDINGS),
        "axis": axis,
        "norm_mult": int(rng.integers(0, 32768)),
        "norm_shift": int(pick(rng, 9, rng.integers(-3, 40))),
    }
    op = Op("standardize_words", "layer", ("x",), ("y",), attrs, consts)
    return build(rng, op, [word(rng, "x", shape)], word(rng, "y", shape))


CASES = {
    "constant": constant,
    "tile": tile,
    "gather": gather,
    "divide": divide,
    "abs": absolute,
    "negative": negative,
    "reduce_extreme": reduce_extreme,
    "reduce_norm": reduce_norm,
    "reduce_variance": reduce_variance,
    "reduce_product": reduce_product,
    "l2_normalize": l2_normalize,
    "standardize": standardize,
    "arg_extreme": arg_extreme,
    "top_k": top_k,
    "conv_transpose2d": conv_transpose2d,
    "lut_line": lut_line,
    "standardize_words": standardize_words,
}
