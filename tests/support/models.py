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


# --- the model zoo's caffe2 exports: nodes without names, so that outputs name the layers ---------


class _Caffe2(ModelBuilder):
    """Convolution with its norm (and ReLU), named as the exports are."""

    def normed(
        self,
        name: str,
        source: str,
        channels: tuple[int, int],
        kernel: int,
        stride: int = 1,
        group: int = 1,
        relu: bool = True,
    ) -> str:
        cin, cout = channels
        shape = (cout, cin // group, kernel, kernel)
        weights = self.random(f"{name}_w", shape, shape[1] * kernel * kernel)
        x = self.node(
            "Conv",
            name,
            [source, weights],
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            pads=[kernel // 2] * 4,
            group=group,
        )
        x = self.batch_norm(f"{name}_bn", x, cout)
        return self.node("Relu", f"{name}_relu", [x]) if relu else x

    def shape(self, name: str, *sizes: int) -> str:
        return self.constant(name, np.array(sizes, np.int64))


def shufflenet(seed: int = 0) -> onnx.ModelProto:
    """ShuffleNet v1, 4 groups (5 MB), as the model zoo's caffe2 export has it."""
    b = _Caffe2(seed)
    x = b.normed("gpu_0/conv3_0_1", "gpu_0/data_0", (3, 24), 3, 2)
    x = b.max_pool("gpu_0/pool_0_1", x, 3, 2, 1)
    channels, side, conv, block, pool = 24, 56, 0, 0, 1
    for width, repeats in ((136, 4), (272, 8), (544, 4)):
        for repeat in range(repeats):
            first = repeat == 0
            stride, side = (2, side) if first else (1, side)
            inner = width - channels if first else width
            y = b.normed(f"gpu_0/gconv1_{conv}_1", x, (channels, inner), 1, group=4)
            split = b.shape(f"split_{block}", -1, 4, inner // 4, side, side)
            whole = b.shape(f"whole_{block}", -1, inner, side, side)
            y = b.node("Reshape", f"OC2_DUMMY_{4 * block}", [y, split])
            y = b.node("Transpose", f"OC2_DUMMY_{4 * block + 2}", [y], perm=[0, 2, 1, 3, 4])
            y = b.node("Reshape", f"gpu_0/shuffle_{block}_1", [y, whole])
            name = f"gpu_0/gconv3_{block}_1"
            y = b.normed(name, y, (inner, inner), 3, stride, group=inner, relu=False)
            name = f"gpu_0/gconv1_{conv + 1}_1"
            y = b.normed(name, y, (inner, inner), 1, group=4, relu=False)
            if first:
                window = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4}
                short = b.node("AveragePool", f"gpu_0/pool_{pool}_1", [x], **window)
                y = b.node("Concat", f"gpu_0/block{block}_1", [y, short], axis=1)
                channels, side, pool = channels + inner, side // 2, pool + 1
            else:
                y = b.node("Sum", f"gpu_0/block{block}_1", [y, x])
            x = b.node("Relu", f"gpu_0/block{block}_2", [y])
            conv, block = conv + 2, block + 1
    x = b.node("AveragePool", "gpu_0/final_avg_1", [x], kernel_shape=[7, 7])
    x = b.node("Reshape", f"OC2_DUMMY_{4 * block}", [x, b.shape("flat", 1, channels)])
    x = b.dense("gpu_0/pred_1", x, channels, 1000)
    return unnamed(b.model("net", ("gpu_0/data_0", [1, 3, 224, 224]), (x, [1, 1000])))


def resnet50_caffe2(seed: int = 0) -> onnx.ModelProto:
    """ResNet-50 (100 MB) as the model zoo's caffe2 export has it."""
    b = _Caffe2(seed)
    x = b.normed("gpu_0/conv1_1", "gpu_0/data_0", (3, 64), 7, 2)
    x = b.max_pool("gpu_0/pool1_1", x, 3, 2, 1)
    channels = 64
    for stage, (width, repeats) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), start=2):
        for repeat in range(repeats):
            name, stride = f"gpu_0/res{stage}_{repeat}", 2 if repeat == 0 and stage > 2 else 1
            y = b.normed(f"{name}_branch2a_1", x, (channels, width), 1)
            y = b.normed(f"{name}_branch2b_1", y, (width, width), 3, stride)
            y = b.normed(f"{name}_branch2c_1", y, (width, 4 * width), 1, relu=False)
            if repeat == 0:
                x = b.normed(f"{name}_branch1_1", x, (channels, 4 * width), 1, stride, relu=False)
            y = b.node("Sum", f"{name}_branch2c_bn_2", [y, x])
            x, channels = b.node("Relu", f"{name}_relu", [y]), 4 * width
    x = b.node("AveragePool", "gpu_0/pool5_1", [x], kernel_shape=[7, 7])
    x = b.node("Reshape", "OC2_DUMMY_0", [x, b.shape("flat", 1, channels)])
    x = b.dense("gpu_0/pred_1", x, channels, 1000)
    x = b.node("Softmax", "gpu_0/softmax_1", [x], axis=1)
    return unnamed(b.model("net", ("gpu_0/data_0", [1, 3, 224, 224]), (x, [1, 1000])))


def unnamed(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model with nodes that have no names."""
    for node in model.graph.node:
        node.ClearField("name")
    return model
