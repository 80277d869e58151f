"""A small writer of float ONNX models with random weights, as exporters would write them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

_OPSET = 13
_IR_VERSION = 8
_BLOCK = 1 << 18  # deviates drawn; large layers repeat them, drawing 138 million takes seconds


class OnnxBuilder:
    """Adds nodes to one image-in, logits-out network; every method returns the new tensor's name.

    The number of channels of each tensor is remembered, so that callers name only outputs.
    """

    def __init__(self, name: str, size: int, seed: int = 0) -> None:
        self.name = name
        self.size = size
        self.rng = np.random.default_rng(seed)
        self.deviates = self.rng.standard_normal(_BLOCK, dtype=np.float32)
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.channels = {"input": 3}

    def conv(
        self,
        x: str,
        out: int,
        kernel: int = 3,
        stride: int = 1,
        *,
        pad: int | None = None,
        group: int = 1,
        act: str = "Relu",
        bias: bool = True,
        gain: float | None = None,
    ) -> str:
        """Convolution and activation (Relu, Relu6, or an empty string).

        pad: kernel // 2 by default. gain: factor on unit-variance weights; by default He's
        sqrt(2) in front of a rectifier and 1 elsewhere, so that activations neither grow nor die.
        """
        cin = self.channels[x]
        side = kernel // 2 if pad is None else pad
        fan_in = cin // group * kernel * kernel
        inputs = [x, self._random((out, cin // group, kernel, kernel), fan_in, act, gain)]
        if bias:
            inputs.append(self._uniform(out, -0.1, 0.1))
        y = self._node(
            "Conv",
            inputs,
            out,
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[side] * 4,
            group=group,
        )
        return self.activate(y, act)

    def activate(self, x: str, act: str) -> str:
        if not act:
            return x
        if act == "Relu6":
            bounds = [self._constant(np.array(value, np.float32)) for value in (0, 6)]
            return self._node("Clip", [x, *bounds], self.channels[x])
        return self._node(act, [x], self.channels[x])

    def batch_norm(self, x: str, act: str = "Relu") -> str:
        """A norm with statistics as after training: it leaves the scale about as it is."""
        size = self.channels[x]
        bounds = ((0.8, 1.2), (-0.2, 0.2), (-0.2, 0.2), (0.8, 1.2))  # gamma, beta, mean, variance
        inputs = [x, *(self._uniform(size, *pair) for pair in bounds)]
        return self.activate(self._node("BatchNormalization", inputs, size, epsilon=1e-5), act)

    def max_pool(self, x: str, kernel: int, stride: int, pad: int = 0) -> str:
        return self._node(
            "MaxPool",
            [x],
            self.channels[x],
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[pad] * 4,
        )

    def add(self, a: str, b: str, act: str = "Relu") -> str:
        return self.activate(self._node("Add", [a, b], self.channels[a]), act)

    def concat(self, *parts: str) -> str:
        return self._node("Concat", parts, sum(self.channels[p] for p in parts), axis=1)

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
        """The model: input "input" [N, 3, size, size], one output [N, ...]."""
        shape: list[str | int | None] = ["N", 3, self.size, self.size]
        ends = [
            helper.make_tensor_value_info("input", TensorProto.FLOAT, shape),
            helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", self.channels[output]]),
        ]
        graph = helper.make_graph(self.nodes, self.name, ends[:1], ends[1:], self.weights)
        opset = helper.make_opsetid("", _OPSET)
        return helper.make_model(graph, opset_imports=[opset], ir_version=_IR_VERSION)

    def _node(self, op: str, inputs: Sequence[str], channels: int, **attributes: Any) -> str:
        name = f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        self.channels[name] = channels
        return name

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
