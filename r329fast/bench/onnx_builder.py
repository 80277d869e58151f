"""A small writer of float ONNX models with random weights, as exporters would write them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

_OPSET = 13
_IR_VERSION = 8
Pair = tuple[int, int]  # of height and width
_BLOCK = 1 << 18  # deviates drawn; large layers repeat them, drawing 138 million takes seconds


class OnnxBuilder:
    """Adds nodes to one image-in, logits-out network; every method returns the new tensor's name.

    Channels and sides of each tensor are remembered, so that callers name only outputs.
    """

    def __init__(
        self, name: str, size: int, seed: int = 0, channels: int = 3, width: int | None = None
    ) -> None:
        self.name = name
        self.height, self.width = size, size if width is None else width
        self.rng = np.random.default_rng(seed)
        self.deviates = self.rng.standard_normal(_BLOCK, dtype=np.float32)
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.channels = {"input": channels}
        self.sides = {"input": (self.height, self.width)}  # (height, width) of feature maps

    def conv(
        self,
        x: str,
        out: int,
        kernel: int | Pair = 3,
        stride: int | Pair = 1,
        *,
        pad: int | Pair | None = None,
        group: int = 1,
        act: str = "Relu",
        bias: bool = True,
        gain: float | None = None,
    ) -> str:
        """Convolution and activation (a name that `activate` knows, or an empty string).

        pad: kernel // 2 by default. gain: factor on unit-variance weights; by default He's
        sqrt(2) in front of a rectifier and 1 elsewhere, so that activations neither grow nor die.
        """
        cin = self.channels[x]
        kernel, stride = _pair(kernel), _pair(stride)
        sides = (kernel[0] // 2, kernel[1] // 2) if pad is None else _pair(pad)
        fan_in = cin // group * kernel[0] * kernel[1]
        inputs = [x, self._random((out, cin // group, *kernel), fan_in, act, gain)]
        if bias:
            inputs.append(self._uniform(out, -0.1, 0.1))
        y = self._node(
            "Conv",
            inputs,
            out,
            self._slid(x, kernel, stride, sides),
            kernel_shape=list(kernel),
            strides=list(stride),
            pads=[*sides, *sides],
            group=group,
        )
        return self.activate(y, act)

    def depthwise(
        self,
        x: str,
        kernel: int | Pair = 3,
        stride: int = 1,
        act: str = "Relu",
        multiplier: int = 1,
    ) -> str:
        """A filter for each channel, or `multiplier` of them."""
        channels = self.channels[x]
        return self.conv(x, channels * multiplier, kernel, stride, group=channels, act=act)

    def activate(self, x: str, act: str) -> str:
        """Spelled out as exporters of this operator set do: Relu6, HardSwish, Swish, Gelu."""
        channels = self.channels[x]
        if not act:
            return x
        if act == "Relu6":
            bounds = [self._constant(np.array(value, np.float32)) for value in (0, 6)]
            return self._node("Clip", [x, *bounds], channels)
        if act == "HardSigmoid":
            return self._node(act, [x], channels, alpha=1 / 6, beta=0.5)
        if act in ("HardSwish", "Swish"):
            return self.mul(x, self.activate(x, "HardSigmoid" if act == "HardSwish" else "Sigmoid"))
        if act == "Gelu":
            root, one, half = (
                self._constant(np.array(v, np.float32)) for v in (np.sqrt(2.0), 1.0, 0.5)
            )
            bent = self._node("Erf", [self._node("Div", [x, root], channels)], channels)
            product = self.mul(x, self._node("Add", [bent, one], channels))
            return self._node("Mul", [product, half], channels)
        return self._node(act, [x], channels)

    def batch_norm(self, x: str, act: str = "Relu") -> str:
        """A norm with statistics as after training: it leaves the scale about as it is."""
        size = self.channels[x]
        bounds = ((0.8, 1.2), (-0.2, 0.2), (-0.2, 0.2), (0.8, 1.2))  # gamma, beta, mean, variance
        inputs = [x, *(self._uniform(size, *pair) for pair in bounds)]
        return self.activate(self._node("BatchNormalization", inputs, size, epsilon=1e-5), act)

    def max_pool(self, x: str, kernel: int, stride: int, pad: int = 0, ceil: bool = False) -> str:
        return self._pool("MaxPool", x, kernel, stride, pad, ceil)

    def average_pool(self, x: str, kernel: int, stride: int, pad: int = 0) -> str:
        """Mean over windows; what lies outside the map does not count."""
        return self._pool("AveragePool", x, kernel, stride, pad, False)

    def _pool(self, op: str, x: str, kernel: int, stride: int, pad: int, ceil: bool) -> str:
        return self._node(
            op,
            [x],
            self.channels[x],
            self._slid(x, _pair(kernel), _pair(stride), _pair(pad), ceil),
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[pad] * 4,
            ceil_mode=int(ceil),
        )

    def add(self, a: str, b: str, act: str = "Relu") -> str:
        return self.activate(self._node("Add", [a, b], self.channels[a]), act)

    def mul(self, a: str, b: str) -> str:
        """Product; b may have one value per channel."""
        return self._node("Mul", [a, b], self.channels[a], self.sides.get(a))

    def concat(self, *parts: str) -> str:
        channels = sum(self.channels[p] for p in parts)
        return self._node("Concat", parts, channels, self.sides[parts[0]], axis=1)

    def split(self, x: str, *sizes: int) -> list[str]:
        """The channels in parts of these sizes."""
        names = [f"split_{len(self.nodes)}_{index}" for index in range(len(sizes))]
        inputs = [x, self._constant(np.array(sizes, np.int64))]
        self.nodes.append(helper.make_node("Split", inputs, names, name=names[0], axis=1))
        self.channels.update(zip(names, sizes, strict=True))
        self.sides.update((name, self.sides[x]) for name in names)
        return names

    def shuffle(self, x: str, groups: int) -> str:
        """Channels of the groups in turn: reshape, transpose, reshape."""
        channels, (height, width) = self.channels[x], self.sides[x]
        apart = [0, groups, channels // groups, height, width]
        y = self._node("Reshape", [x, self._constant(np.array(apart, np.int64))], channels)
        y = self._node("Transpose", [y], channels, perm=[0, 2, 1, 3, 4])
        whole = self._constant(np.array([0, channels, height, width], np.int64))
        return self._node("Reshape", [y, whole], channels, (height, width))

    def resize(self, x: str, sides: Pair) -> str:
        """To these sides, by the nearest pixel."""
        factors = [np.float32(to / size) for to, size in zip(sides, self.sides[x], strict=True)]
        # a third is rounded up, or the size that it gives would be rounded down
        grown = [f if f % 1 == 0 else np.nextafter(f, np.float32(np.inf)) for f in factors]
        inputs = [x, "", self._constant(np.array([1, 1, *grown], np.float32))]
        return self._node(
            "Resize",
            inputs,
            self.channels[x],
            sides,
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )

    def scale(self, x: str, squeezed: int, gate: str = "Sigmoid", act: str = "Relu") -> str:
        """Squeeze and excite: channels weighted by what a small network makes of their means."""
        y = self._node("GlobalAveragePool", [x], self.channels[x], (1, 1))
        y = self.conv(self.conv(y, squeezed, 1, act=act), self.channels[x], 1, act=gate)
        return self.mul(x, y)

    def mean(self, x: str) -> str:
        """Mean over the map, flattened."""
        pooled = self._node("GlobalAveragePool", [x], self.channels[x])
        return self.flatten(pooled, self.channels[x])

    def flatten(self, x: str, elements: int) -> str:
        return self._node("Flatten", [x], elements, axis=1)

    def dense(self, x: str, out: int, act: str = "") -> str:
        inner = self.channels[x]
        weights = self._random((out, inner), inner, act, None)
        inputs = [x, weights, self._uniform(out, -0.1, 0.1)]
        return self.activate(self._node("Gemm", inputs, out, transB=1), act)

    def done(self, output: str) -> Any:
        """The model: input "input" [N, channels, height, width], one output [N, ...]."""
        shape: list[str | int | None] = ["N", self.channels["input"], self.height, self.width]
        ends = [
            helper.make_tensor_value_info("input", TensorProto.FLOAT, shape),
            helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", self.channels[output]]),
        ]
        graph = helper.make_graph(self.nodes, self.name, ends[:1], ends[1:], self.weights)
        opset = helper.make_opsetid("", _OPSET)
        return helper.make_model(graph, opset_imports=[opset], ir_version=_IR_VERSION)

    def _node(
        self,
        op: str,
        inputs: Sequence[str],
        channels: int,
        sides: Pair | None = None,
        **attributes: Any,
    ) -> str:
        """Append a node; its map is that of its first input where no sides are given."""
        name = f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        self.channels[name] = channels
        sides = sides or self.sides.get(inputs[0])
        if sides is not None:
            self.sides[name] = sides
        return name

    def _slid(self, x: str, kernel: Pair, stride: Pair, pad: Pair, ceil: bool = False) -> Pair:
        """Sides of the map after a window went over x."""
        rows, columns = (
            (size + 2 * edge - side + (step - 1 if ceil else 0)) // step + 1
            for size, side, step, edge in zip(self.sides[x], kernel, stride, pad, strict=True)
        )
        return rows, columns

    def _constant(self, values: np.ndarray) -> str:
        name = f"const_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def _uniform(self, size: int, low: float, high: float) -> str:
        return self._constant(self.rng.uniform(low, high, size).astype(np.float32))

    def _random(self, shape: Sequence[int], fan_in: int, act: str, gain: float | None) -> str:
        scale = (np.sqrt(2.0) if act else 1.0) if gain is None else gain
        block = np.roll(self.deviates, int(self.rng.integers(_BLOCK)))
        values = np.resize(block * np.float32(scale / np.sqrt(fan_in)), int(np.prod(shape)))
        return self._constant(values.reshape(shape))


def _pair(value: int | Pair) -> Pair:
    return (value, value) if isinstance(value, int) else value
