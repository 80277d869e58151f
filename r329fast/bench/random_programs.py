"""Whole programs with random weights, built op by op: for simulator tests and benchmarks."""

from __future__ import annotations

from typing import Any

import numpy as np

from r329fast.program.program import LayerRecord, Op, Program, TensorSpec


class NetworkBuilder:
    """Adds layers one by one; multipliers are chosen so that outputs use their range."""

    def __init__(self, shape: tuple[int, ...], seed: int = 0, name: str = "net") -> None:
        self.rng = np.random.default_rng(seed)
        self.program = Program(name, "test", {}, [], [], ("input",), ())
        self.program.tensors["input"] = TensorSpec("input", shape, "int8", 1.0)

    def shape(self, name: str) -> tuple[int, ...]:
        return self.program.tensors[name].shape

    def add(
        self,
        kind: str,
        inputs: tuple[str, ...],
        shape: tuple[int, ...],
        attrs: dict[str, Any],
        consts: dict[str, np.ndarray],
        dtype: str = "int8",
    ) -> str:
        name = f"{kind}_{len(self.program.ops)}"
        low, high = (0, 255) if dtype == "uint8" else (-128, 127)
        self.program.tensors[name] = TensorSpec(name, shape, dtype, 1.0, 0, low, high)
        index = len(self.program.ops)
        self.program.ops.append(Op(kind, name, inputs, (name,), attrs, consts))
        record = LayerRecord(name, kind, inputs, (name,), (index, index + 1))
        self.program.layers.append(record)
        return name

    def requant(self, count: int, reach: float) -> dict[str, np.ndarray]:
        """128..255 over 2**N, so that `reach` becomes about 60."""
        mult = self.rng.integers(128, 256, count).astype(np.int32)
        shift = np.round(np.log2(mult * max(reach, 1) / 60)).astype(np.int32)
        return {"mult": mult, "shift": np.maximum(shift, 0).astype(np.int32)}

    def act(self, act: str, rounding: str = "half_even") -> dict[str, Any]:
        limits = {"clip_min": 0, "clip_max": 100 * 256, "slope_shift": 7}
        return {"rounding": rounding, "act": act, **limits}

    def conv(
        self,
        x: str,
        out: int,
        kernel: int = 3,
        stride: int = 1,
        act: str = "RELU",
        group: int = 1,
        pad: int | None = None,
    ) -> str:
        height, width, channels = self.shape(x)
        pad = kernel // 2 if pad is None else pad
        size = [(n + 2 * pad - kernel) // stride + 1 for n in (height, width)]
        weights = self.rng.integers(-127, 128, (out, kernel, kernel, channels // group))
        reach = 73 * 40 * np.sqrt(weights[0].size)
        consts: dict[str, np.ndarray] = {
            "weights": weights.astype(np.int8),
            "bias": self.rng.integers(-20000, 20000, out).astype(np.int32),
            **self.requant(out, reach),
        }
        attrs = self.act(act) | {
            "kernel": (kernel, kernel),
            "stride": (stride, stride),
            "dilation": (1, 1),
            "pads": (pad, pad, pad, pad),
            "group": group,
            "pad_value": 0,
        }
        kind = "depthwise_conv2d" if group == channels else "conv2d"
        return self.add(kind, (x,), (*size, out), attrs, consts)

    def maxpool(self, x: str, kernel: int, stride: int, pad: int = 0) -> str:
        return self._pool("maxpool", x, kernel, stride, pad, {}, {})

    def avgpool(self, x: str, kernel: int, stride: int, pad: int = 0) -> str:
        area = kernel * kernel
        consts = {
            "mult": np.array([[round(2**12 / area)]], dtype=np.int32),
            "shift": np.array([[12]], dtype=np.int32),
        }
        return self._pool("avgpool", x, kernel, stride, pad, {"rounding": "half_even"}, consts)

    def _pool(
        self,
        kind: str,
        x: str,
        kernel: int,
        stride: int,
        pad: int,
        more: dict[str, Any],
        consts: dict[str, np.ndarray],
    ) -> str:
        height, width, channels = self.shape(x)
        size = [(n + 2 * pad - kernel) // stride + 1 for n in (height, width)]
        attrs: dict[str, Any] = {
            "kernel": (kernel, kernel),
            "stride": (stride, stride),
            "dilation": (1, 1),
            "pads": (pad, pad, pad, pad),
            **more,
        }
        return self.add(kind, (x,), (*size, channels), attrs, consts)

    def eltwise(self, a: str, b: str, act: str = "RELU") -> str:
        consts = {"scales": np.array([200, 171], dtype=np.int32), **self.requant(1, 12000)}
        attrs = self.act(act) | {"method": "ADD"}
        return self.add("eltwise", (a, b), self.shape(a), attrs, consts)

    def mean(self, x: str) -> str:
        height, width, channels = self.shape(x)
        consts = self.requant(1, height * width * 30)
        attrs = {"rounding": "half_even", "axes": (0, 1)}
        return self.add("reduce_sum", (x,), (channels,), attrs, consts)

    def dense(self, x: str, out: int, act: str = "NONE") -> str:
        inner = self.shape(x)[-1]
        consts: dict[str, np.ndarray] = {
            "weights": self.rng.integers(-127, 128, (out, inner)).astype(np.int8),
            "bias": self.rng.integers(-20000, 20000, out).astype(np.int32),
            **self.requant(1, 73 * 40 * np.sqrt(inner)),
        }
        return self.add("fully_connected", (x,), (out,), self.act(act), consts)

    def reshape(self, x: str, shape: tuple[int, ...]) -> str:
        return self.add("reshape", (x,), shape, {}, {})

    def concat(self, *parts: str) -> str:
        height, width, _ = self.shape(parts[0])
        channels = sum(self.shape(part)[2] for part in parts)
        consts: dict[str, np.ndarray] = {
            "mult": np.array([1] + [200] * (len(parts) - 1), dtype=np.int32),
            "shift": np.array([0] + [8] * (len(parts) - 1), dtype=np.int32),
        }
        attrs = {"rounding": "half_even", "axis": 2}
        return self.add("concat", parts, (height, width, channels), attrs, consts)

    def done(self, *outputs: str) -> Program:
        self.program.outputs = outputs
        self.program.verify()
        return self.program


def resnet18(size: int = 224) -> Program:
    b = NetworkBuilder((size, size, 3), name="resnet18")
    x = b.maxpool(b.conv("input", 64, 7, 2), 3, 2, 1)
    for stage, channels in enumerate((64, 128, 256, 512)):
        for block in range(2):
            stride = 2 if stage and not block else 1
            shortcut = b.conv(x, channels, 1, stride, "NONE", pad=0) if stride == 2 else x
            y = b.conv(b.conv(x, channels, 3, stride), channels, 3, 1, "NONE")
            x = b.eltwise(y, shortcut)
    return b.done(b.dense(b.mean(x), 1000))


def resnet20(size: int = 32) -> Program:
    b = NetworkBuilder((size, size, 3), name="resnet20")
    x = b.conv("input", 16)
    for stage, channels in enumerate((16, 32, 64)):
        for block in range(3):
            stride = 2 if stage and not block else 1
            shortcut = b.conv(x, channels, 1, stride, "NONE", pad=0) if stride == 2 else x
            y = b.conv(b.conv(x, channels, 3, stride), channels, 3, 1, "NONE")
            x = b.eltwise(y, shortcut)
    return b.done(b.dense(b.mean(x), 10))


def mobilenet_v2(size: int = 224) -> Program:
    b = NetworkBuilder((size, size, 3), name="mobilenet_v2")
    x = b.conv("input", 32, 3, 2, "CLIP")
    blocks = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2))
    for expand, channels, repeat, first in (
        *blocks,
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):
        for block in range(repeat):
            stride, before = (first if block == 0 else 1), x
            wide = b.shape(x)[2] * expand
            y = b.conv(x, wide, 1, act="CLIP") if expand > 1 else x
            y = b.conv(y, wide, 3, stride, "CLIP", group=wide)
            x = b.conv(y, channels, 1, act="NONE")
            if stride == 1 and b.shape(before) == b.shape(x):
                x = b.eltwise(before, x, "NONE")
    return b.done(b.dense(b.mean(b.conv(x, 1280, 1, act="CLIP")), 1000))


def tiny() -> Program:
    """A few layers of many kinds on 16x16x3, two outputs, a reshape on the way."""
    b = NetworkBuilder((16, 16, 3), name="tiny")
    x = b.conv("input", 20, 3, 2)
    y = b.conv(x, 20, 3, group=20, act="CLIP")
    z = b.concat(b.eltwise(x, y), b.conv(x, 33, 1, act="NONE"))
    pooled = b.maxpool(z, 2, 2)
    flat = b.reshape(pooled, (b.program.tensors[pooled].elements,))
    return b.done(b.dense(flat, 10), b.mean(z))
