"""Layers that multiply: convolution, fully connected, matrix product, batch norm."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from r329fast.graph.layers.facts import (
    NO_ACT,
    Act,
    Attrs,
    LayerType,
    Shape,
    Weights,
)


@dataclass(frozen=True)
class ConvAttrs(Attrs):
    """Convolution and DepthwiseConv. pads: (top, left, bottom, right)."""

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    group: int = 1
    act: Act = NO_ACT


@dataclass(frozen=True)
class ConvTransposeAttrs(Attrs):
    """ConvTranspose: each input adds its window to the output, which `pads` crop.

    Constant "weights" (O/group, kh, kw, I); the input channels of a group follow one another.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    group: int = 1
    act: Act = NO_ACT


@dataclass(frozen=True)
class GemmAttrs(Attrs):
    """alpha * A * B of two activations over their last two axes; plus beta * C with a third."""

    trans_a: bool = False
    trans_b: bool = False
    alpha: float = 1.0
    beta: float = 1.0


@dataclass(frozen=True)
class FullyConnectedAttrs(Attrs):
    act: Act = NO_ACT


@dataclass(frozen=True)
class MatMulAttrs(Attrs):
    """Product of two activations over their last two axes."""

    trans_a: bool = False
    trans_b: bool = False
    multiplier: float = 1.0  # a constant Mul behind it, merged (spec B.22)


@dataclass(frozen=True)
class BatchNormAttrs(Attrs):
    """y = x * weights + bias per channel (last axis); constants "weights" (C,) and "bias" (C,)."""

    act: Act = NO_ACT


def _sums(source: Shape, output: Shape, macs: int, group: int) -> int:
    """Two for each product, and one more product for the bias."""
    return 2 * (macs + prod(output))


def _dense_sums(source: Shape, output: Shape, macs: int, group: int) -> int:
    """A grouped convolution counts as dense: all input channels."""
    return 2 * (macs * group + prod(output))


def _products(source: Shape, output: Shape, macs: int, group: int) -> int:
    return 2 * macs


def _channels_left_out(source: Shape, output: Shape, macs: int, group: int) -> int:
    return 2 * prod(output[:-1])  # as the vendor does


def _negative_factor(attrs: Attrs) -> bool | None:
    return True if isinstance(attrs, GemmAttrs) and attrs.alpha < 0 else None


TYPES = {
    "Convolution": LayerType(ConvAttrs, _dense_sums, Weights.WINDOW, signed=True),
    "DepthwiseConv": LayerType(ConvAttrs, _sums, Weights.DEPTHWISE, signed=True),
    "ConvTranspose": LayerType(
        ConvTransposeAttrs, _dense_sums, Weights.TRANSPOSED, signed=True, ops_assumed=True
    ),
    "FullyConnected": LayerType(FullyConnectedAttrs, _sums, Weights.MATRIX, signed=True),
    "MatMul": LayerType(MatMulAttrs, _products, product=True, ops_assumed=True),
    "Gemm": LayerType(
        GemmAttrs, _products, product=True, signed=_negative_factor, ops_assumed=True
    ),
    "BatchNorm": LayerType(BatchNormAttrs, _channels_left_out, Weights.CHANNEL, signed=True),
}
