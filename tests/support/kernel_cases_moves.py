"""Random programs of one op each: ops that move integers, softmax, LRN."""

from __future__ import annotations

from typing import Any

import numpy as np

from r329fast.program.program import Op, Program, TensorSpec
from support.kernel_cases_compute import ROUNDINGS, Rng, build, pick, requant, spec


def _moved(
    rng: Rng, kind: str, shape: tuple[int, ...], y_shape: tuple[int, ...], **rest: Any
) -> Program:
    x = spec(rng, "x", shape)
    y = TensorSpec("y", y_shape, x.dtype, 1.0, x.zero_point, x.qmin, x.qmax)
    consts = rest.pop("consts", {})
    return build(rng, Op(kind, "layer", ("x",), ("y",), rest, consts), [x], y)


def reshape(rng: Rng) -> Program:
    return _moved(rng, "reshape", (4, 5, 6), pick(rng, (120,), (20, 6), (4, 30)))


def transpose(rng: Rng) -> Program:
    shape = tuple(int(v) for v in rng.integers(1, 9, pick(rng, 2, 3, 4)))
    perm = tuple(int(v) for v in rng.permutation(len(shape)))
    return _moved(rng, "transpose", shape, tuple(shape[i] for i in perm), perm=perm)


def slice_(rng: Rng) -> Program:
    shape = (9, 8, 20)
    begin = tuple(int(rng.integers(0, n)) for n in shape)
    end = tuple(int(rng.integers(b + 1, n + 1)) for b, n in zip(begin, shape, strict=True))
    strides = tuple(int(v) for v in rng.integers(1, 4, 3))
    y = tuple(-(-(e - b) // s) for b, e, s in zip(begin, end, strides, strict=True))
    return _moved(rng, "slice", shape, y, begin=begin, end=end, strides=strides)


def pad(rng: Rng) -> Program:
    shape = (6, 5, 7)
    before, after = (tuple(int(v) for v in rng.integers(0, 4, 3)) for _ in range(2))
    y = tuple(b + n + a for b, n, a in zip(before, shape, after, strict=True))
    mode = pick(rng, "CONSTANT", "REFLECT", "EDGE")
    value = int(rng.integers(0, 128))
    return _moved(rng, "pad", shape, y, before=before, after=after, mode=mode, value=value)


def channel_shuffle(rng: Rng) -> Program:
    group = int(rng.integers(1, 5))
    shape = (3, 4, group * int(rng.integers(1, 12)))
    return _moved(rng, "channel_shuffle", shape, shape, group=group)


def depth_to_space(rng: Rng) -> Program:
    height, width, block = (int(v) for v in rng.integers(1, 5, 3))
    channels = pick(rng, 1, 3, 16, 21)
    deep, wide = (height, width, channels * block**2), (height * block, width * block, channels)
    inverse = int(rng.integers(0, 2))
    x, y = (wide, deep) if inverse else (deep, wide)
    mode = pick(rng, "DCR", "CRD")
    return _moved(rng, "depth_to_space", x, y, block=block, mode=mode, inverse=inverse)


def resize_nearest(rng: Rng) -> Program:
    rows, columns = (int(v) for v in rng.integers(1, 15, 2))
    consts = {
        "rows": rng.integers(0, 6, rows).astype(np.int32),
        "columns": rng.integers(0, 5, columns).astype(np.int32),
    }
    return _moved(rng, "resize_nearest", (6, 5, 9), (rows, columns, 9), consts=consts)


def resize_bilinear(rng: Rng) -> Program:
    rows, columns = (int(v) for v in rng.integers(1, 15, 2))
    bits = int(rng.integers(0, 15))
    consts = {
        "weights": rng.integers(0, (1 << bits) + 1, (rows, columns, 4)).astype(np.int32),
        **{name: rng.integers(0, 6, rows).astype(np.int32) for name in ("y0", "y1")},
        **{name: rng.integers(0, 5, columns).astype(np.int32) for name in ("x0", "x1")},
    }
    attrs = {"rounding": pick(rng, *ROUNDINGS), "weight_shift": bits}
    return _moved(rng, "resize_bilinear", (6, 5, 9), (rows, columns, 9), consts=consts, **attrs)


def softmax_lut(rng: Rng, kind: str = "softmax_lut") -> Program:
    shape = pick(rng, (1000,), (3, 4, 21), (1,))
    form, bits = int(rng.integers(0, 2)), int(rng.integers(1, 16))
    consts = {
        "table": np.sort(rng.integers(0, 1 << 16, 256)).astype(np.int32),
        **requant(rng, 1, 1.0),
    }
    consts["shift"] = np.clip(consts["shift"], -16, 31).astype(np.int32)
    if kind == "log_softmax":
        consts["log_table"] = rng.integers(-128, 128, 256).astype(np.int16)
    attrs = {"rounding": pick(rng, *ROUNDINGS), "form": form, "bits": bits}
    attrs["axis"] = int(rng.integers(0, len(shape)))
    x, y = spec(rng, "x", shape), spec(rng, "y", shape)
    if kind == "log_softmax":
        y = spec(rng, "y", shape, "int8")
    return build(rng, Op(kind, "layer", ("x",), ("y",), attrs, consts), [x], y)


def log_softmax(rng: Rng) -> Program:
    return softmax_lut(rng, "log_softmax")


def softmax_fast_exp(rng: Rng) -> Program:
    shape = pick(rng, (1000,), (3, 4, 21), (2,))
    attrs = {
        "axis": int(rng.integers(0, len(shape))),
        "mult_in": int(rng.integers(1, 256)),
        "shift_in": int(rng.integers(0, 12)),
        "q_bits": int(rng.integers(4, 20)),
    }
    x, y = spec(rng, "x", shape), spec(rng, "y", shape, "uint8")
    return build(rng, Op("softmax_fast_exp", "layer", ("x",), ("y",), attrs, {}), [x], y)


def lrn(rng: Rng) -> Program:
    shape = (3, 4, int(rng.integers(1, 40)))
    consts = {
        "table": np.sort(rng.integers(0, 65536, 256))[::-1].astype(np.int32),
        **requant(rng, pick(rng, 1, shape[2]), 100.0 * 30000),
    }
    attrs = {
        "rounding": pick(rng, *ROUNDINGS),
        "size": int(rng.integers(1, 8)),
        "sum_mult": int(rng.integers(0, 32768)),
        "sum_shift": int(rng.integers(0, 24)),
    }
    x, y = spec(rng, "x", shape), spec(rng, "y", shape)
    return build(rng, Op("lrn", "layer", ("x",), ("y",), attrs, consts), [x], y)
