"""Networks for small devices: depthwise convolutions, squeeze and excite, splits and shuffles."""

from __future__ import annotations

from typing import Any

from r329fast.bench.models_residual import BRANCH_GAIN
from r329fast.bench.onnx_builder import OnnxBuilder


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
            y = b.conv(y, width, 1, act="", gain=BRANCH_GAIN if inside else None)
            x = b.add(x, y, act="") if inside else y
    return b.done(b.dense(b.mean(b.conv(x, 1280, 1, act="Relu6")), 1000))


def mobilenet_v1(size: int = 224) -> Any:
    """MobileNetV1 1.0."""
    b = OnnxBuilder("mobilenet_v1", size)
    x = b.conv("input", 32, 3, 2, act="Relu6")
    stages = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5)
    for width, stride in (*stages, (1024, 2), (1024, 1)):
        x = b.conv(b.depthwise(x, 3, stride, "Relu6"), width, 1, act="Relu6")
    return b.done(b.dense(b.mean(x), 1000))


def _inverted(
    b: OnnxBuilder,
    x: str,
    kernel: int,
    wide: int,
    out: int,
    stride: int,
    act: str,
    squeezed: int,
    gate: str,
    shrink: str,
) -> str:
    """Inverted residual: 1x1 up, depthwise, squeeze and excite, 1x1 down."""
    y = b.conv(x, wide, 1, act=act) if wide > b.channels[x] else x
    y = b.depthwise(y, kernel, stride, act)
    if squeezed:
        y = b.scale(y, squeezed, gate, shrink)
    inside = stride == 1 and b.channels[x] == out
    y = b.conv(y, out, 1, act="", gain=BRANCH_GAIN if inside else None)
    return b.add(x, y, act="") if inside else y


# kernel, width inside, width, squeezed (0: none), HardSwish, stride
_V3_SMALL = (
    (3, 16, 16, 8, 0, 2), (3, 72, 24, 0, 0, 2), (3, 88, 24, 0, 0, 1), (5, 96, 40, 24, 1, 2),
    (5, 240, 40, 64, 1, 1), (5, 240, 40, 64, 1, 1), (5, 120, 48, 32, 1, 1), (5, 144, 48, 40, 1, 1),
    (5, 288, 96, 72, 1, 2), (5, 576, 96, 144, 1, 1), (5, 576, 96, 144, 1, 1),
)  # fmt: skip
_V3_LARGE = (
    (3, 16, 16, 0, 0, 1), (3, 64, 24, 0, 0, 2), (3, 72, 24, 0, 0, 1), (5, 72, 40, 24, 0, 2),
    (5, 120, 40, 32, 0, 1), (5, 120, 40, 32, 0, 1), (3, 240, 80, 0, 1, 2), (3, 200, 80, 0, 1, 1),
    (3, 184, 80, 0, 1, 1), (3, 184, 80, 0, 1, 1), (3, 480, 112, 120, 1, 1),
    (3, 672, 112, 168, 1, 1), (5, 672, 160, 168, 1, 2), (5, 960, 160, 240, 1, 1),
    (5, 960, 160, 240, 1, 1),
)  # fmt: skip


def _mobilenet_v3(name: str, size: int, blocks: Any, last: int, wide: int) -> Any:
    b = OnnxBuilder(name, size)
    x = b.conv("input", 16, 3, 2, act="HardSwish")
    for kernel, inside, out, squeezed, swish, stride in blocks:
        act = "HardSwish" if swish else "Relu"
        x = _inverted(b, x, kernel, inside, out, stride, act, squeezed, "HardSigmoid", "Relu")
    x = b.mean(b.conv(x, last, 1, act="HardSwish"))
    return b.done(b.dense(b.dense(x, wide, "HardSwish"), 1000))


def mobilenet_v3_small(size: int = 224) -> Any:
    """MobileNetV3-Small 1.0."""
    return _mobilenet_v3("mobilenet_v3_small", size, _V3_SMALL, 576, 1024)


def mobilenet_v3_large(size: int = 224) -> Any:
    """MobileNetV3-Large 1.0."""
    return _mobilenet_v3("mobilenet_v3_large", size, _V3_LARGE, 960, 1280)


# factor of the width inside, width, blocks, stride of the first, kernel
_MNASNET = (
    (3, 24, 3, 2, 3), (3, 40, 3, 2, 5), (6, 80, 3, 2, 5), (6, 96, 2, 1, 3), (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)  # fmt: skip
_EFFICIENTNET = (
    (1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5), (6, 320, 1, 1, 3),
)  # fmt: skip


def _stages(b: OnnxBuilder, x: str, stages: Any, act: str, squeeze: bool) -> str:
    """Inverted residuals; what is squeezed has a quarter of a block's input channels."""
    for factor, out, blocks, first, kernel in stages:
        for block in range(blocks):
            channels = b.channels[x]
            squeezed = max(channels // 4, 1) if squeeze else 0
            stride = 1 if block else first
            wide = factor * channels
            x = _inverted(b, x, kernel, wide, out, stride, act, squeezed, "Sigmoid", act)
    return x


def mnasnet(size: int = 224) -> Any:
    """MNASNet-B1 1.0."""
    b = OnnxBuilder("mnasnet", size)
    x = b.depthwise(b.conv("input", 32, 3, 2), 3)
    x = _stages(b, b.conv(x, 16, 1, act=""), _MNASNET, "Relu", squeeze=False)
    return b.done(b.dense(b.mean(b.conv(x, 1280, 1)), 1000))


def efficientnet_lite0(size: int = 224) -> Any:
    """EfficientNet-Lite0: ReLU6, nothing squeezed."""
    b = OnnxBuilder("efficientnet_lite0", size)
    x = b.conv("input", 32, 3, 2, act="Relu6")
    x = _stages(b, x, _EFFICIENTNET, "Relu6", squeeze=False)
    return b.done(b.dense(b.mean(b.conv(x, 1280, 1, act="Relu6")), 1000))


def efficientnet_b0(size: int = 224) -> Any:
    """EfficientNet-B0: Swish, squeeze and excite."""
    b = OnnxBuilder("efficientnet_b0", size)
    x = b.conv("input", 32, 3, 2, act="Swish")
    x = _stages(b, x, _EFFICIENTNET, "Swish", squeeze=True)
    return b.done(b.dense(b.mean(b.conv(x, 1280, 1, act="Swish")), 1000))


def _parts(channels: int, count: int) -> list[int]:
    """Channels in `count` parts, the first takes what is left over."""
    each = channels // count
    return [channels - (count - 1) * each, *[each] * (count - 1)]


def _mixed(b: OnnxBuilder, x: str, out: int, kernels: int, stride: int, act: str) -> str:
    """Convolutions side by side on parts of the channels: depthwise 3x3, 5x5, .. or 1x1.

    out: 0 for depthwise convolutions of `kernels` sizes, else 1x1 in `kernels` parts to as many
    channels.
    """
    if kernels == 1:
        return b.conv(x, out, 1, act=act) if out else b.depthwise(x, 3, stride, act)
    parts = b.split(x, *_parts(b.channels[x], kernels))
    if out:
        widths = _parts(out, kernels)
        return b.concat(*(b.conv(p, w, 1, act=act) for p, w in zip(parts, widths, strict=True)))
    return b.concat(*(b.depthwise(p, 3 + 2 * i, stride, act) for i, p in enumerate(parts)))


# width, stride, depthwise kernels, factor inside, parts of the first and last 1x1, squeezed as
# 1/n of the input (0: none), act
_MIXNET_S = (
    (24, 2, 1, 6, 2, 2, 0, "Relu"), (24, 1, 1, 3, 2, 2, 0, "Relu"),
    (40, 2, 3, 6, 1, 1, 2, "Swish"), *[(40, 1, 2, 6, 2, 2, 2, "Swish")] * 3,
    (80, 2, 3, 6, 1, 2, 4, "Swish"), *[(80, 1, 2, 6, 1, 2, 4, "Swish")] * 2,
    (120, 1, 3, 6, 2, 2, 2, "Swish"), *[(120, 1, 4, 3, 2, 2, 2, "Swish")] * 2,
    (200, 2, 5, 6, 1, 1, 2, "Swish"), *[(200, 1, 4, 6, 1, 2, 2, "Swish")] * 2,
)  # fmt: skip


def mixnet_s(size: int = 224) -> Any:
    """MixNet-S: depthwise kernels of several sizes side by side on splits of the channels."""
    b = OnnxBuilder("mixnet_s", size)
    x = b.conv("input", 16, 3, 2)
    x = b.conv(b.depthwise(x, 3), 16, 1, act="")
    for out, stride, kernels, factor, first, last, squeezed, act in _MIXNET_S:
        channels = b.channels[x]
        y = _mixed(b, x, factor * channels, first, 1, act)
        y = _mixed(b, y, 0, kernels, stride, act)
        if squeezed:
            y = b.scale(y, max(channels // squeezed, 1), "Sigmoid", act)
        y = _mixed(b, y, out, last, 1, "")
        x = b.add(x, y, act="") if stride == 1 and channels == out else y
    return b.done(b.dense(b.mean(b.conv(x, 1536, 1)), 1000))


def shufflenet_v2(size: int = 224) -> Any:
    """ShuffleNetV2 1.0: half of the channels pass by, then all are shuffled."""
    b = OnnxBuilder("shufflenet_v2", size)
    x = b.max_pool(b.conv("input", 24, 3, 2), 3, 2, 1)
    for out, blocks in ((116, 4), (232, 8), (464, 4)):
        half = out // 2
        left = b.conv(b.depthwise(x, 3, 2, ""), half, 1)
        right = b.conv(b.depthwise(b.conv(x, half, 1), 3, 2, ""), half, 1)
        x = b.shuffle(b.concat(left, right), 2)
        for _ in range(blocks - 1):
            left, right = b.split(x, half, half)
            right = b.conv(b.depthwise(b.conv(right, half, 1), 3, 1, ""), half, 1)
            x = b.shuffle(b.concat(left, right), 2)
    return b.done(b.dense(b.mean(b.conv(x, 1024, 1)), 1000))


def _ghost(b: OnnxBuilder, x: str, out: int, act: str, gain: float | None = None) -> str:
    """Half of the channels by 1x1, the other half by a cheap depthwise filter of them."""
    y = b.conv(x, out // 2, 1, act=act, gain=gain)
    return b.concat(y, b.depthwise(y, 3, 1, act))


def _attention(b: OnnxBuilder, x: str, out: int) -> str:
    """GhostNetV2's: at half of the sides, long filters each way, and back by the nearest pixel."""
    y = b.conv(b.average_pool(x, 2, 2), out, 1, act="")
    y = b.depthwise(b.depthwise(y, (1, 5), act=""), (5, 1), act="Sigmoid")
    return b.resize(y, b.sides[x])


# kernel, width inside, width, squeezed (0: none), stride
_GHOSTNET = (
    (3, 16, 16, 0, 1), (3, 48, 24, 0, 2), (3, 72, 24, 0, 1), (5, 72, 40, 20, 2),
    (5, 120, 40, 32, 1), (3, 240, 80, 0, 2), (3, 200, 80, 0, 1), (3, 184, 80, 0, 1),
    (3, 184, 80, 0, 1), (3, 480, 112, 120, 1), (3, 672, 112, 168, 1), (5, 672, 160, 168, 2),
    (5, 960, 160, 0, 1), (5, 960, 160, 240, 1), (5, 960, 160, 0, 1), (5, 960, 160, 240, 1),
)  # fmt: skip


def ghostnet_v2(size: int = 224) -> Any:
    """GhostNetV2 1.0: ghost modules, the attention of all blocks but the first two."""
    b = OnnxBuilder("ghostnet_v2", size)
    x = b.conv("input", 16, 3, 2)
    for index, (kernel, wide, out, squeezed, stride) in enumerate(_GHOSTNET):
        channels = b.channels[x]
        y = _ghost(b, x, wide, "Relu")
        if index > 1:
            y = b.mul(y, _attention(b, x, wide))
        if stride == 2:
            y = b.depthwise(y, kernel, 2, "")
        if squeezed:
            y = b.scale(y, squeezed, "HardSigmoid")
        same = stride == 1 and channels == out
        y = _ghost(b, y, out, "", BRANCH_GAIN if same else None)
        if not same:
            x = b.conv(b.depthwise(x, kernel, stride, ""), out, 1, act="")
        x = b.add(x, y, act="")
    x = b.mean(b.conv(x, 960, 1))
    return b.done(b.dense(b.dense(x, 1280, "Relu"), 1000))


def fastvit(size: int = 256) -> Any:
    """Like FastViT-T8 as deployed: depthwise 3x3 and 7x7, some with two filters per channel."""
    b = OnnxBuilder("fastvit", size)
    x = b.conv("input", 48, 3, 2, act="Gelu")
    x = b.conv(b.depthwise(x, 3, 2, "Gelu"), 48, 1, act="Gelu")
    for stage, (width, blocks) in enumerate(((48, 2), (96, 2), (192, 4), (384, 2))):
        if stage:  # the stride, and twice the channels, in a 7x7 filter
            x = b.conv(b.depthwise(x, 7, 2, "Gelu", multiplier=2), width, 1, act="Gelu")
        for _ in range(blocks):
            x = b.depthwise(x, 3, act="")
            y = b.conv(b.depthwise(x, 7, act=""), 3 * width, 1, act="Gelu")
            x = b.add(x, b.conv(y, width, 1, act="", gain=BRANCH_GAIN), act="")
    x = b.scale(b.depthwise(x, 3, act="", multiplier=2), 48)
    return b.done(b.dense(b.mean(b.activate(x, "Gelu")), 1000))


def ds_cnn(size: int = 49) -> Any:
    """DS-CNN for keyword spotting: 49 windows of 10 coefficients, 12 words."""
    b = OnnxBuilder("ds_cnn", size, channels=1, width=-(-size // 5))
    x = b.conv("input", 64, (10, 4), 2, pad=(5, 1))
    for _ in range(4):
        x = b.conv(b.depthwise(x, 3), 64, 1)
    return b.done(b.dense(b.mean(x), 12))
