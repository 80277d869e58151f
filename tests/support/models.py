"""ONNX models that tests build: topologies and names of networks the vendor's tool compiled.

Weights are random (seeded); names and node order are those of the exports that the vendor's
graph.json files came from, so that whatever does not depend on weights can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 7
FLOAT = TensorProto.FLOAT


class ModelBuilder:
    """Collects nodes and seeded weights; every node is named like its output."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        # Large layers repeat this block: filling 138 million normal deviates takes seconds.
        self.block = self.rng.standard_normal(1 << 16, dtype=np.float32)

    def constant(self, name: str, values: np.ndarray) -> str:
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def random(self, name: str, shape: Sequence[int], fan_in: int) -> str:
        """He-scaled weights; a large tensor repeats a rotated random block."""
        size = int(np.prod(shape))
        block = np.roll(self.block, int(self.rng.integers(self.block.size)))
        values = np.resize(block * np.float32(np.sqrt(2.0 / fan_in)), size)
        return self.constant(name, values.reshape(shape))

    def node(self, op: str, name: str, inputs: Sequence[str], **attributes: object) -> str:
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def conv(
        self,
        name: str,
        source: str,
        channels: tuple[int, int],
        kernel: int,
        stride: int = 1,
        pad: int | None = None,
        bias: bool = False,
    ) -> str:
        """A convolution over (in, out) channels; pad: kernel // 2 unless given."""
        cin, cout = channels
        fan_in = cin * kernel * kernel
        inputs = [source, self.random(f"{name}_weight", (cout, cin, kernel, kernel), fan_in)]
        if bias:
            inputs.append(self.constant(f"{name}_bias", self.vector(cout, -0.1, 0.1)))
        side = kernel // 2 if pad is None else pad
        return self.node(
            "Conv",
            name,
            inputs,
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[side] * 4,
            dilations=[1, 1],
            group=1,
        )

    def vector(self, size: int, low: float, high: float) -> np.ndarray:
        return self.rng.uniform(low, high, size).astype(np.float32)

    def batch_norm(self, name: str, source: str, channels: int, fixed_gamma: bool = False) -> str:
        gamma = np.ones(channels, np.float32) if fixed_gamma else self.vector(channels, 0.5, 1.5)
        values = {
            "gamma": gamma,
            "beta": self.vector(channels, -0.3, 0.3),
            "running_mean": self.vector(channels, -0.3, 0.3),
            "running_var": self.vector(channels, 0.5, 1.5),
        }
        inputs = [self.constant(f"{name}_{key}", value) for key, value in values.items()]
        return self.node("BatchNormalization", name, [source, *inputs], epsilon=1e-5)

    def max_pool(self, name: str, source: str, kernel: int, stride: int, pad: int = 0) -> str:
        return self.node(
            "MaxPool",
            name,
            [source],
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[pad] * 4,
        )

    def dense(self, name: str, source: str, inputs: int, outputs: int) -> str:
        weights = self.random(f"{name}_weight", (outputs, inputs), inputs)
        bias = self.constant(f"{name}_bias", self.vector(outputs, -0.1, 0.1))
        return self.node("Gemm", name, [source, weights, bias], transB=1)

    def model(
        self, name: str, source: tuple[str, list[int]], output: tuple[str, list[int]]
    ) -> onnx.ModelProto:
        """The finished model; source and output are (name, shape with the batch axis)."""
        graph = helper.make_graph(
            self.nodes,
            name,
            [helper.make_tensor_value_info(source[0], FLOAT, source[1])],
            [helper.make_tensor_value_info(output[0], FLOAT, output[1])],
            self.weights,
        )
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8
        )


def _preactivation_stage(
    builder: ModelBuilder, prefix: str, source: str, channels: tuple[int, int], stride: int
) -> str:
    """Two basic blocks of a ResNet v2 stage (norm and ReLU in front of each convolution)."""
    norms = convs = 0
    for block in range(2):
        cin, cout = channels if block == 0 else (channels[1], channels[1])
        step = stride if block == 0 else 1
        shortcut = source
        norm = builder.batch_norm(f"{prefix}_batchnorm{norms}_fwd", source, cin)
        first = builder.node("Relu", f"{prefix}_activation{norms}", [norm])
        x = builder.conv(f"{prefix}_conv{convs}_fwd", first, (cin, cout), 3, step)
        norm = builder.batch_norm(f"{prefix}_batchnorm{norms + 1}_fwd", x, cout)
        x = builder.node("Relu", f"{prefix}_activation{norms + 1}", [norm])
        x = builder.conv(f"{prefix}_conv{convs + 1}_fwd", x, (cout, cout), 3)
        norms, convs = norms + 2, convs + 2
        if cin != cout or step != 1:
            shortcut = builder.conv(f"{prefix}_conv{convs}_fwd", first, (cin, cout), 1, step)
            convs += 1
        source = builder.node("Add", f"{prefix}__plus{block}", [x, shortcut])
    return source


def preactivation_resnet(
    seed: int, widths: Sequence[int], size: int, classes: int, stem_kernel: int, batch: int = 1
) -> onnx.ModelProto:
    """ResNet v2 with two basic blocks a stage; stem_kernel 7 brings stride 2 and a max pool."""
    builder = ModelBuilder(seed)
    prefix = "resnetv22"
    large = stem_kernel == 7
    x = builder.batch_norm(f"{prefix}_batchnorm0_fwd", "data", 3, fixed_gamma=True)
    x = builder.conv(f"{prefix}_conv0_fwd", x, (3, widths[0]), stem_kernel, 2 if large else 1)
    if large:
        x = builder.batch_norm(f"{prefix}_batchnorm1_fwd", x, widths[0])
        x = builder.node("Relu", f"{prefix}_relu0_fwd", [x])
        x = builder.max_pool(f"{prefix}_pool0_fwd", x, 3, 2, 1)
    previous = widths[0]
    for stage, width in enumerate(widths):
        name = f"{prefix}_stage{stage + 1}"
        x = _preactivation_stage(builder, name, x, (previous, width), 1 if stage == 0 else 2)
        previous = width
    x = builder.batch_norm(f"{prefix}_batchnorm2_fwd", x, previous)
    x = builder.node("Relu", f"{prefix}_relu1_fwd", [x])
    x = builder.node("GlobalAveragePool", f"{prefix}_pool1_fwd", [x])
    shape = builder.constant(f"{prefix}_flatten0_shape", np.array([0, -1], np.int64))
    x = builder.node("Reshape", f"{prefix}_flatten0_reshape0", [x, shape])
    output = builder.dense(f"{prefix}_dense0_fwd", x, previous, classes)
    return builder.model("resnetv22", ("data", [batch, 3, size, size]), (output, [batch, classes]))


def resnet18_v2(seed: int = 0) -> onnx.ModelProto:
    """ResNet-18 v2 as the model zoo's MXNet export has it (46 MB)."""
    return preactivation_resnet(seed, (64, 128, 256, 512), 224, 1000, 7)


def tiny_resnet(seed: int = 0) -> onnx.ModelProto:
    """The same topology at 16x16 and a few thousand weights."""
    return preactivation_resnet(seed, (8, 16), 16, 10, 3)


VGG16_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels, convolutions


def vgg16(
    seed: int = 0,
    stages: Sequence[tuple[int, int]] = VGG16_STAGES,
    hidden: int = 4096,
    classes: int = 1000,
    size: int = 224,
) -> onnx.ModelProto:
    """VGG-16, fully convolutional: fc6 is a convolution over the whole map, fc7 and fc8 are 1x1.

    550 MB at full size. Convolutions are named so that `/` to `_` gives the vendor's names.
    """
    builder = ModelBuilder(seed)
    x, previous = "input", 3
    for stage, (width, repeats) in enumerate(stages, start=1):
        for index in range(1, repeats + 1):
            name = f"vgg_16/conv{stage}/conv{stage}_{index}"
            x = builder.conv(f"{name}/Conv2D", x, (previous, width), 3, bias=True)
            x = builder.node("Relu", f"{name}/Relu", [x])
            previous = width
        x = builder.max_pool(f"vgg_16/pool{stage}/MaxPool", x, 2, 2)
    kernel = size >> len(stages)
    x = builder.conv("vgg_16/fc6/Conv2D", x, (previous, hidden), kernel, pad=0, bias=True)
    x = builder.node("Relu", "vgg_16/fc6/Relu", [x])
    x = builder.conv("vgg_16/fc7/Conv2D", x, (hidden, hidden), 1, bias=True)
    x = builder.node("Relu", "vgg_16/fc7/Relu", [x])
    x = builder.conv("vgg_16/fc8/Conv2D", x, (hidden, classes), 1, bias=True)
    return builder.model("vgg_16", ("input", [1, 3, size, size]), (x, [1, classes, 1, 1]))
