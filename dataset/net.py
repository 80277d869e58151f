"""The bundled network in torch, and its translation to a float32 ONNX graph.

A small residual network for [N, 3, 64, 64] images: a stride-2 3x3 stem, three stages of 16, 32
and 64 channels, global average pooling and one dense layer.  Stages two and three begin with a
stride-2 block whose shortcut is a real 1x1 convolution; the last block widens to 128 channels and
filters each of them alone (depthwise): one int8 scale per tensor suits this kind of layer least.

The ONNX graph is built node by node here, so that BatchNormalization stays a node of its own and
an importer has something to fold.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional

OPSET = 13
IR_VERSION = 7  # the oldest one that carries opset 13: every reader of that age accepts it


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A convolution without bias (the batch normalisation after it has one), same padding."""
    return nn.Conv2d(
        inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False
    )


class Basic(nn.Module):
    """relu(bn(3x3) of relu(bn(3x3)) + shortcut)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        """``stride`` 2, or a change of channels, puts a convolution on the shortcut."""
        super().__init__()
        self.conv1, self.bn1 = conv(inputs, outputs, 3, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = conv(outputs, outputs, 3), nn.BatchNorm2d(outputs)
        self.projects = stride != 1 or inputs != outputs
        if self.projects:
            self.shortcut_conv = conv(inputs, outputs, 1, stride)
            self.shortcut_bn = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """float32 [N, C, H, W] to [N, K, H/stride, W/stride]."""
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.projects:
            x = self.shortcut_bn(self.shortcut_conv(x))
        return functional.relu(y + x)


class Separable(nn.Module):
    """relu(1x1 widening, 3x3 depthwise, 1x1 narrowing + identity)."""

    def __init__(self, channels: int, wide: int) -> None:
        """``wide`` channels between the two 1x1 convolutions."""
        super().__init__()
        self.conv1, self.bn1 = conv(channels, wide, 1), nn.BatchNorm2d(wide)
        self.conv2, self.bn2 = conv(wide, wide, 3, groups=wide), nn.BatchNorm2d(wide)
        self.conv3, self.bn3 = conv(wide, channels, 1), nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """float32 [N, C, H, W] to the same shape."""
        y = functional.relu(self.bn1(self.conv1(x)))
        y = functional.relu(self.bn2(self.conv2(y)))
        return functional.relu(self.bn3(self.conv3(y)) + x)


class Net(nn.Module):
    """Normalised images float32 [N, 3, 64, 64] to logits float32 [N, classes]."""

    def __init__(self, classes: int) -> None:
        """All layers, with torch's own initialisation."""
        super().__init__()
        self.stem_conv, self.stem_bn = conv(3, 16, 3, 2), nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(Basic(16, 16, 1))
        self.layer2 = nn.Sequential(Basic(16, 32, 2), Basic(32, 32, 1))
        self.layer3 = nn.Sequential(Basic(32, 64, 2), Separable(64, 128))
        self.fc = nn.Linear(64, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        x = functional.relu(self.stem_bn(self.stem_conv(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: torch.Tensor = self.fc(x.mean(dim=(2, 3)))
        return logits


class Graph:
    """Collects ONNX nodes and initialisers; every method returns the name of its output."""

    def __init__(self) -> None:
        """An empty graph."""
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, name: str, value: torch.Tensor) -> str:
        """A float32 initialiser."""
        array = value.detach().cpu().numpy().astype(np.float32)
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, kind: str, name: str, inputs: list[str], **attributes: Any) -> str:
        """A node ``/scope/Kind`` whose single output is ``/scope/Kind_output_0``."""
        out = f"{name}_output_0"
        self.nodes.append(helper.make_node(kind, inputs, [out], name=name, **attributes))
        return out

    def conv_bn(
        self, x: str, scope: str, conv_: nn.Conv2d, bn: nn.BatchNorm2d, bn_scope: str
    ) -> str:
        """Conv and BatchNormalization, unfolded."""
        key, bn_key = scope[1:].replace("/", "."), bn_scope[1:].replace("/", ".")
        pad = int(conv_.padding[0])
        x = self.node(
            "Conv",
            f"{scope}/Conv",
            [x, self.weight(f"{key}.weight", conv_.weight)],
            dilations=[1, 1],
            group=conv_.groups,
            kernel_shape=list(conv_.kernel_size),
            pads=[pad] * 4,
            strides=list(conv_.stride),
        )
        assert bn.running_mean is not None
        assert bn.running_var is not None
        values = [bn.weight, bn.bias, bn.running_mean, bn.running_var]
        names = ["weight", "bias", "running_mean", "running_var"]
        inputs = [self.weight(f"{bn_key}.{n}", v) for n, v in zip(names, values, strict=True)]
        return self.node(
            "BatchNormalization", f"{bn_scope}/BatchNormalization", [x, *inputs], epsilon=bn.eps
        )

    def block(self, x: str, scope: str, block: Basic | Separable) -> str:
        """A residual block of either kind."""
        skip = x
        x = self.conv_bn(x, f"{scope}/conv1", block.conv1, block.bn1, f"{scope}/bn1")
        x = self.node("Relu", f"{scope}/relu1/Relu", [x])
        x = self.conv_bn(x, f"{scope}/conv2", block.conv2, block.bn2, f"{scope}/bn2")
        last = "relu2"
        if isinstance(block, Separable):
            x = self.node("Relu", f"{scope}/relu2/Relu", [x])
            x = self.conv_bn(x, f"{scope}/conv3", block.conv3, block.bn3, f"{scope}/bn3")
            last = "relu3"
        elif block.projects:
            skip = self.conv_bn(
                skip,
                f"{scope}/shortcut/conv",
                block.shortcut_conv,
                block.shortcut_bn,
                f"{scope}/shortcut/bn",
            )
        x = self.node("Add", f"{scope}/Add", [x, skip])
        return self.node("Relu", f"{scope}/{last}/Relu", [x])


def to_onnx(net: Net, side: int) -> onnx.ModelProto:
    """The network as ONNX: "input" float32 [N, 3, side, side] to "logits" float32 [N, classes]."""
    graph = Graph()
    classes = net.fc.out_features
    x = graph.conv_bn("input", "/stem/conv", net.stem_conv, net.stem_bn, "/stem/bn")
    x = graph.node("Relu", "/stem/relu/Relu", [x])
    for name in ("layer1", "layer2", "layer3"):
        for number, block in enumerate(getattr(net, name)):
            x = graph.block(x, f"/{name}/block{number}", block)
    x = graph.node("GlobalAveragePool", "/pool/GlobalAveragePool", [x])
    x = graph.node("Flatten", "/Flatten", [x], axis=1)
    inputs = [x, graph.weight("fc.weight", net.fc.weight), graph.weight("fc.bias", net.fc.bias)]
    graph.nodes.append(
        helper.make_node("Gemm", inputs, ["logits"], name="/fc/Gemm", alpha=1.0, beta=1.0, transB=1)
    )
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "shapes",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, side, side])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", classes])],
            graph.weights,
        ),
        producer_name="r329fast",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(model, full_check=True)
    return model
