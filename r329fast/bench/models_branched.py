"""Networks of plain layers, and of branches that a concat joins."""

from __future__ import annotations

from typing import Any

from r329fast.bench.onnx_builder import OnnxBuilder


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


def densenet121(size: int = 224) -> Any:
    """DenseNet-121: norm and rectifier in front of the 1x1 convolutions."""
    b = OnnxBuilder("densenet121", size)
    x = b.max_pool(b.conv("input", 64, 7, 2), 3, 2, 1)
    for stage, blocks in enumerate((6, 12, 24, 16)):
        for _ in range(blocks):
            y = b.conv(b.batch_norm(x), 128, 1)
            x = b.concat(x, b.conv(y, 32, act="", bias=False))
        x = b.batch_norm(x)
        if stage < 3:
            x = b.average_pool(b.conv(x, b.channels[x] // 2, 1, act="", bias=False), 2, 2)
    return b.done(b.dense(b.mean(x), 1000))


_GOOGLENET = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)


def googlenet(size: int = 224) -> Any:
    """GoogLeNet (Inception-v1) with norms folded, 3x3 instead of 5x5, as torchvision has it."""
    b = OnnxBuilder("googlenet", size)
    x = b.max_pool(b.conv("input", 64, 7, 2), 3, 2, 0, ceil=True)
    x = b.max_pool(b.conv(b.conv(x, 64, 1), 192), 3, 2, 0, ceil=True)
    for stage, blocks in enumerate(_GOOGLENET):
        for one, three_in, three, five_in, five, pool in blocks:
            x = b.concat(
                b.conv(x, one, 1),
                b.conv(b.conv(x, three_in, 1), three),
                b.conv(b.conv(x, five_in, 1), five),
                b.conv(b.max_pool(x, 3, 1, 1), pool, 1),
            )
        if stage < 2:
            kernel = 2 if stage else 3
            x = b.max_pool(x, kernel, 2, 0, ceil=True)
    return b.done(b.dense(b.mean(x), 1000))


def inception_v3(size: int = 299) -> Any:
    """Inception-v3: 1x7 and 7x1 convolutions, average pools of 3x3."""
    b = OnnxBuilder("inception_v3", size)
    x = b.conv(b.conv(b.conv("input", 32, 3, 2, pad=0), 32, 3, pad=0), 64)
    x = b.conv(b.conv(b.max_pool(x, 3, 2), 80, 1), 192, 3, pad=0)
    x = b.max_pool(x, 3, 2)
    for pool in (32, 64, 64):
        x = b.concat(
            b.conv(x, 64, 1),
            b.conv(b.conv(x, 48, 1), 64, 5),
            b.conv(b.conv(b.conv(x, 64, 1), 96), 96),
            b.conv(b.average_pool(x, 3, 1, 1), pool, 1),
        )
    y = b.conv(b.conv(b.conv(x, 64, 1), 96), 96, 3, 2, pad=0)
    x = b.concat(b.conv(x, 384, 3, 2, pad=0), y, b.max_pool(x, 3, 2))
    for width in (128, 160, 160, 192):
        y = b.conv(b.conv(b.conv(x, width, 1), width, (1, 7)), 192, (7, 1))
        z = b.conv(b.conv(b.conv(x, width, 1), width, (7, 1)), width, (1, 7))
        z = b.conv(b.conv(z, width, (7, 1)), 192, (1, 7))
        pooled = b.conv(b.average_pool(x, 3, 1, 1), 192, 1)
        x = b.concat(b.conv(x, 192, 1), y, z, pooled)
    y = b.conv(b.conv(x, 192, 1), 320, 3, 2, pad=0)
    z = b.conv(b.conv(b.conv(x, 192, 1), 192, (1, 7)), 192, (7, 1))
    x = b.concat(y, b.conv(z, 192, 3, 2, pad=0), b.max_pool(x, 3, 2))
    for _ in range(2):
        y = b.conv(x, 384, 1)
        z = b.conv(b.conv(x, 448, 1), 384)
        x = b.concat(
            b.conv(x, 320, 1),
            b.concat(b.conv(y, 384, (1, 3)), b.conv(y, 384, (3, 1))),
            b.concat(b.conv(z, 384, (1, 3)), b.conv(z, 384, (3, 1))),
            b.conv(b.average_pool(x, 3, 1, 1), 192, 1),
        )
    return b.done(b.dense(b.mean(x), 1000))
