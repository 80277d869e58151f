"""The first cell of NASNet-mobile with random weights, in the order and names of the vendor's IR.

Eleven channels behind a stem of 32: what the hardware cannot hold as it is. Layers 40 to 50 of the
real network are stood for by poolings; layer 51 is the next cell's ReLU on the stem.
"""

from __future__ import annotations

import numpy as np

from r329fast.calibration import Ranges
from r329fast.graph import ir
from r329fast.program.program import Program
from r329fast.quantization import quantize

CELL = "cell_stem_0"
STEM, WIDTH = 32, 11


class _Stem:
    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.layers: list[ir.Layer] = []
        self.shapes: dict[str, tuple[int, ...]] = {}

    def add(
        self,
        kind: str,
        name: str,
        attrs: ir.Attrs,
        inputs: tuple[str, ...],
        shape: tuple[int, ...],
        **consts: np.ndarray,
    ) -> str:
        self.layers.append(ir.Layer(name, kind, attrs, inputs, (name,), consts))
        self.shapes[name] = shape
        return name

    def relu(self, name: str, source: str) -> str:
        attrs = ir.ActivationAttrs(ir.Act("RELU"))
        return self.add("Activation", name, attrs, (source,), self.shapes[source])

    def conv(self, name: str, source: str, cout: int, kernel: int = 1, stride: int = 1) -> str:
        height, width, channels = self.shapes[source]
        shape = ((height - kernel) // stride + 1, (width - kernel) // stride + 1, cout)
        attrs = ir.ConvAttrs((kernel, kernel), (stride, stride))
        weights = self.rng.normal(size=(cout, kernel, kernel, channels)).astype(np.float32)
        bias = np.zeros(cout, np.float32)
        return self.add("Convolution", name, attrs, (source,), shape, weights=weights, bias=bias)

    def same(
        self, source: str, kernel: int, stride: int
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """(output (H, W), pads) of TensorFlow's SAME."""
        size = self.shapes[source][0]
        out = -(-size // stride)
        total = max((out - 1) * stride + kernel - size, 0)
        low, high = total // 2, total - total // 2
        return (out, out), (low, low, high, high)

    def depthwise(self, name: str, source: str, kernel: int, stride: int) -> str:
        channels = self.shapes[source][2]
        size, pads = self.same(source, kernel, stride)
        attrs = ir.ConvAttrs((kernel, kernel), (stride, stride), (1, 1), pads, channels)  # type: ignore[arg-type]
        weights = self.rng.normal(size=(channels, kernel, kernel, 1)).astype(np.float32)
        bias = np.zeros(channels, np.float32)
        return self.add(
            "DepthwiseConv", name, attrs, (source,), (*size, channels), weights=weights, bias=bias
        )

    def pool(self, name: str, source: str, method: str, stride: int) -> str:
        size, pads = self.same(source, 3, stride)
        attrs = ir.PoolingAttrs(method, (3, 3), (stride, stride), (1, 1), pads)  # type: ignore[arg-type]
        return self.add("Pooling", name, attrs, (source,), (*size, self.shapes[source][2]))

    def separable(self, prefix: str, source: str, kernel: int, relu: bool = True) -> str:
        """Twice depthwise and pointwise, the first with stride 2; a ReLU in front and between."""
        x = self.relu(f"{prefix}/Relu", source) if relu else source
        size = f"{kernel}x{kernel}"
        for number, stride in ((1, 2), (2, 1)):
            name = f"{prefix}/separable_{size}_{number}/separable_conv2d"
            x = self.depthwise(f"{name}/depthwise", x, kernel, stride)
            x = self.conv(name, x, WIDTH)
            if number == 1:  # fused into the pointwise convolution
                attrs = self.layers[-1].attrs
                assert isinstance(attrs, ir.ConvAttrs)
                self.layers[-1].attrs = ir.ConvAttrs(attrs.kernel, act=ir.Act("RELU"))
        return x

    def total(self, name: str, a: str, b: str) -> str:
        return self.add("Eltwise", name, ir.EltwiseAttrs("ADD"), (a, b), self.shapes[a])


def nasnet_stem() -> Program:
    s = _Stem()
    s.add("Input", "input", ir.InputAttrs(), (), (224, 224, 3))
    conv0 = s.conv("conv0/Conv2D", "input", STEM, 3, 2)
    part = f"{CELL}/comb_iter"
    h = s.conv(f"{CELL}/1x1/Conv2D", s.relu(f"{CELL}/Relu", conv0), WIDTH)
    left = s.pool(f"{part}_1/left/MaxPool2D/MaxPool", h, "MAX", 2)
    right = s.separable(f"{part}_1/right", conv0, 7)
    first = s.total(f"{part}_1/combine/add", left, right)
    left = s.pool(f"{part}_2/left/AvgPool2D/AvgPool", h, "AVG", 2)
    right = s.separable(f"{part}_2/right", conv0, 5)
    second = s.total(f"{part}_2/combine/add", left, right)
    left = s.separable(f"{part}_0/left", h, 5)
    right = s.separable(f"{part}_0/right", conv0, 7)
    zero = s.total(f"{part}_0/combine/add", left, right)
    right = s.pool(f"{part}_3/right/AvgPool2D/AvgPool", zero, "AVG", 1)
    third = s.total(f"{part}_3/combine/add", first, right)
    right = s.pool(f"{part}_4/right/MaxPool2D/MaxPool", h, "MAX", 2)
    x = s.relu(f"{part}_4/left/Relu", zero)
    for number in (1, 2):
        name = f"{part}_4/left/separable_3x3_{number}/separable_conv2d"
        x = s.conv(name, s.depthwise(f"{name}/depthwise", x, 3, 1), WIDTH)
        if number == 1:
            s.layers[-1].attrs = ir.ConvAttrs((1, 1), act=ir.Act("RELU"))
    fourth = s.total(f"{part}_4/combine/add", x, right)
    parts = (first, second, third, fourth)
    shape = (56, 56, 4 * WIDTH)
    x = s.add("Concat", f"{CELL}/cell_output/concat", ir.ConcatAttrs(2), parts, shape)
    x = s.relu("cell_0/Relu", x)
    for number in range(40, 51):
        x = s.pool(f"later_{number}", x, "MAX", 1)
    last = s.relu("cell_stem_1/Relu", conv0)
    graph = ir.Graph("nasnet", s.layers, s.shapes, (x, last))
    ranges = Ranges({
        layer.name: (0.0 if layer.act.kind == "RELU" else -1.0, 1.0) for layer in s.layers
    })  # fmt: skip
    return quantize(graph, ranges)
