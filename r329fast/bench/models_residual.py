"""Networks of residual blocks, and those that trained as such: norms folded but for ResNet v2."""

from __future__ import annotations

from typing import Any

from r329fast.bench.onnx_builder import OnnxBuilder

# Weights of a residual branch are scaled down, or 16 blocks would double the variance 16 times.
BRANCH_GAIN = 0.3
Stages = tuple[tuple[int, int], ...]


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
            y = b.conv(y, width, 3, act="", bias=False, gain=BRANCH_GAIN)
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
            x = b.add(b.conv(y, 4 * width, 1, act="", gain=BRANCH_GAIN), shortcut)
    return b.done(b.dense(b.mean(x), 1000))


def resnet20_cifar(size: int = 32) -> Any:
    """ResNet-20 for CIFAR-10, projections as 1x1 convolutions, norms folded."""
    b = OnnxBuilder("resnet20_cifar", size)
    x = b.conv("input", 16)
    for stage, width in enumerate((16, 32, 64)):
        for block in range(3):
            stride = 2 if stage and not block else 1
            shortcut = b.conv(x, width, 1, stride, act="") if stride == 2 else x
            y = b.conv(b.conv(x, width, 3, stride), width, 3, act="", gain=BRANCH_GAIN)
            x = b.add(y, shortcut)
    return b.done(b.dense(b.mean(x), 10))


def resnext50(size: int = 224) -> Any:
    """ResNeXt-50 32x4d: ResNet-50 with 3x3 convolutions of 32 groups."""
    b = OnnxBuilder("resnext50", size)
    x = b.max_pool(b.conv("input", 64, 7, 2), 3, 2, 1)
    for stage, (width, blocks) in enumerate(((128, 3), (256, 4), (512, 6), (1024, 3))):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            shortcut = x if block else b.conv(x, 2 * width, 1, stride, act="")
            y = b.conv(b.conv(x, width, 1), width, 3, stride, group=32)
            x = b.add(b.conv(y, 2 * width, 1, act="", gain=BRANCH_GAIN), shortcut)
    return b.done(b.dense(b.mean(x), 1000))


def _regnet(name: str, size: int, stages: Stages, group: int, squeeze: bool) -> Any:
    """stages: (width, blocks); 3x3 convolutions with `group` channels per group."""
    b = OnnxBuilder(name, size)
    x = b.conv("input", 32, 3, 2)
    for width, blocks in stages:
        for block in range(blocks):
            stride, before = (1, x) if block else (2, x)
            shortcut = x if block else b.conv(x, width, 1, 2, act="")
            y = b.conv(b.conv(x, width, 1), width, 3, stride, group=width // group)
            if squeeze:
                y = b.scale(y, b.channels[before] // 4)
            x = b.add(b.conv(y, width, 1, act="", gain=BRANCH_GAIN), shortcut)
    return b.done(b.dense(b.mean(x), 1000))


def regnetx_400mf(size: int = 224) -> Any:
    """RegNetX-400MF: groups of 16 channels."""
    stages = ((32, 1), (64, 2), (160, 7), (400, 12))
    return _regnet("regnetx_400mf", size, stages, 16, squeeze=False)


def regnety_400mf(size: int = 224) -> Any:
    """RegNetY-400MF: groups of 8 channels, squeeze and excite."""
    stages = ((48, 1), (104, 3), (208, 6), (440, 6))
    return _regnet("regnety_400mf", size, stages, 8, squeeze=True)


def repvgg_a0(size: int = 224) -> Any:
    """RepVGG-A0 as deployed: one 3x3 convolution after the other."""
    b = OnnxBuilder("repvgg_a0", size)
    x = b.conv("input", 48, 3, 2)
    for width, blocks in ((48, 2), (96, 4), (192, 14), (1280, 1)):
        for block in range(blocks):
            x = b.conv(x, width, 3, 1 if block else 2)
    return b.done(b.dense(b.mean(x), 1000))


def xception(size: int = 299) -> Any:
    """Xception: separable convolutions, the rectifier in front of them."""
    b = OnnxBuilder("xception", size)

    def separable(x: str, out: int, act: str = "", gain: float | None = None) -> str:
        return b.conv(b.depthwise(x, 3, act=""), out, 1, act=act, gain=gain)

    x = b.conv(b.conv("input", 32, 3, 2, pad=0), 64, 3, pad=0, act="")
    for out in (128, 256, 728):
        shortcut = b.conv(x, out, 1, 2, act="")
        y = separable(separable(b.activate(x, "Relu"), out, "Relu"), out)
        x = b.add(b.max_pool(y, 3, 2, 1), shortcut, act="")
    for _ in range(8):
        y = b.activate(x, "Relu")
        for act in ("Relu", "Relu", ""):
            y = separable(y, 728, act, None if act else BRANCH_GAIN)
        x = b.add(x, y, act="")
    shortcut = b.conv(x, 1024, 1, 2, act="")
    y = separable(separable(b.activate(x, "Relu"), 728, "Relu"), 1024)
    x = b.add(b.max_pool(y, 3, 2, 1), shortcut, act="")
    x = separable(separable(x, 1536, "Relu"), 2048, "Relu")
    return b.done(b.dense(b.mean(x), 1000))
