"""The networks that are timed, with random weights: speed does not depend on what they learnt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from r329fast.bench.onnx_builder import OnnxBuilder
from r329fast.errors import UsageError, nearest

# Weights of a residual branch are scaled down, or 16 blocks would double the variance 16 times.
_BRANCH_GAIN = 0.3


def resnet18_v2(size: int = 224) -> Any:
    """ResNet-18 v2: norm and ReLU in front of each convolution."""
    b = OnnxBuilder("resnet18_v2", size)
    x = b.conv(b.batch_norm("input", act=""), 64, 7, 2, act="", bias=False)
    x = b.max_pool(b.batch_norm(x), 3, 2, 1)
    for stage, width in enumerate((64, 128, 256, 512)):
        for block in range(2):
            stride = 2 if stage and not block else 1
            first = b.batch_norm(x)
            shortcut = x
            if stride == 2:
                shortcut = b.conv(first, width, 1, stride, act="", bias=False)
            y = b.batch_norm(b.conv(first, width, 3, stride, act="", bias=False))
            y = b.conv(y, width, 3, act="", bias=False, gain=_BRANCH_GAIN)
            x = b.add(y, shortcut, act="")
    return b.done(b.dense(b.mean(b.batch_norm(x)), 1000))


def resnet50(size: int = 224) -> Any:
    """ResNet-50 v1.5 (the stride in the 3x3 convolution), norms folded."""
    b = OnnxBuilder("resnet50", size)
    x = b.max_pool(b.conv("input", 64, 7, 2), 3, 2, 1)
    for stage, (width, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            shortcut = x if block else b.conv(x, 4 * width, 1, stride, act="")
            y = b.conv(b.conv(x, width, 1), width, 3, stride)
            x = b.add(b.conv(y, 4 * width, 1, act="", gain=_BRANCH_GAIN), shortcut)
    return b.done(b.dense(b.mean(x), 1000))


def vgg16(size: int = 224) -> Any:
    """VGG-16 with its three fully connected layers (138 million weights at 224)."""
    b = OnnxBuilder("vgg16", size)
    x = "input"
    for width, repeats in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(repeats):
            x = b.conv(x, width)
        x = b.max_pool(x, 2, 2)
    x = b.flatten(x, 512 * (size // 32) ** 2)
    x = b.dense(b.dense(x, 4096, "Relu"), 4096, "Relu")
    return b.done(b.dense(x, 1000))


def mobilenet_v2(size: int = 224) -> Any:
    """MobileNetV2 1.0, norms folded, ReLU6."""
    b = OnnxBuilder("mobilenet_v2", size)
    x = b.conv("input", 32, 3, 2, act="Relu6")
    stages = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1))
    for expand, width, repeats, first in (*stages, (6, 160, 3, 2), (6, 320, 1, 1)):
        for block in range(repeats):
            stride = 1 if block else first
            wide = b.channels[x] * expand
            y = b.conv(x, wide, 1, act="Relu6") if expand > 1 else x
            y = b.conv(y, wide, 3, stride, group=wide, act="Relu6")
            inside = stride == 1 and b.channels[x] == width
            y = b.conv(y, width, 1, act="", gain=_BRANCH_GAIN if inside else None)
            x = b.add(x, y, act="") if inside else y
    return b.done(b.dense(b.mean(b.conv(x, 1280, 1, act="Relu6")), 1000))


def squeezenet(size: int = 227) -> Any:
    """SqueezeNet 1.0."""
    b = OnnxBuilder("squeezenet", size)
    x = b.max_pool(b.conv("input", 96, 7, 2, pad=0), 3, 2)
    fires = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
    for index, (squeeze, expand) in enumerate(fires):
        x = b.conv(x, squeeze, 1)
        x = b.concat(b.conv(x, expand, 1), b.conv(x, expand, 3))
        if index in (2, 6):
            x = b.max_pool(x, 3, 2)
    return b.done(b.mean(b.conv(x, 1000, 1)))


def resnet20_cifar(size: int = 32) -> Any:
    """ResNet-20 for CIFAR-10, projections as 1x1 convolutions, norms folded."""
    b = OnnxBuilder("resnet20_cifar", size)
    x = b.conv("input", 16)
    for stage, width in enumerate((16, 32, 64)):
        for block in range(3):
            stride = 2 if stage and not block else 1
            shortcut = b.conv(x, width, 1, stride, act="") if stride == 2 else x
            y = b.conv(b.conv(x, width, 3, stride), width, 3, act="", gain=_BRANCH_GAIN)
            x = b.add(y, shortcut)
    return b.done(b.dense(b.mean(x), 10))


@dataclass(frozen=True)
class BenchModel:
    """build(size) gives the ONNX model; size: side of the image; batch: images timed at once."""

    build: Callable[[int], Any]
    size: int
    batch: int = 16


MODELS = {
    "resnet18_v2": BenchModel(resnet18_v2, 224),
    "vgg16": BenchModel(vgg16, 224),
    "resnet50": BenchModel(resnet50, 224),
    "mobilenet_v2": BenchModel(mobilenet_v2, 224),
    "squeezenet": BenchModel(squeezenet, 227),
    "resnet20_cifar": BenchModel(resnet20_cifar, 32, 256),
}


def bench_model(name: str) -> BenchModel:
    """The model of that name; UsageError for an unknown one."""
    if name not in MODELS:
        known = ", ".join(MODELS)
        raise UsageError(f"model {name!r}, allowed {known}{nearest(name, MODELS)}", option="models")
    return MODELS[name]
