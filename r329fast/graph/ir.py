"""The graph: NHWC layers in the vendor's terms, shapes known, batch norms folded, ReLUs fused.

Conventions that every later room relies on:

* Shapes and axes are **per image**: the batch axis is left out. A feature map is (H, W, C), a
  logits vector (C,); axis 0 of a feature map is H and axis -1 its channels.
* A tensor bears the name of the layer that makes it (the vendor's "layer top"); a layer with
  several outputs names them `<layer>_0`, `<layer>_1`, ...
* Layers stand in the order in which the vendor's IR lists them, which is an execution order.
* Constants are float32: convolution weights (O, kh, kw, I/group), depthwise weights
  (C*multiplier, kh, kw, 1), fully connected weights (out, in), biases (O,).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np


@dataclass(frozen=True)
class Act:
    """An activation: its `kind` (a row of `graph/activations.py`) with its parameters.

    alpha: slope of LEAKYRELU, alpha of ELU / HARDSIGMOID; beta: beta of HARDSIGMOID;
    clip_min, clip_max: bounds of CLIP (RELU6 is a kind of its own); tanh_gelu: GELU's tanh form.
    PRELU's slopes are the layer constant "slope" (C,).
    """

    kind: str = "NONE"
    alpha: float = 0.0
    beta: float = 0.0
    clip_min: float = 0.0
    clip_max: float = 0.0
    tanh_gelu: bool = False


NO_ACT = Act()


@dataclass(frozen=True)
class InputAttrs:
    """A graph input; no parameters."""


@dataclass(frozen=True)
class ConvAttrs:
    """Convolution and DepthwiseConv. pads: (top, left, bottom, right)."""

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    group: int = 1
    act: Act = NO_ACT


@dataclass(frozen=True)
class FullyConnectedAttrs:
    act: Act = NO_ACT


@dataclass(frozen=True)
class MatMulAttrs:
    """Product of two activations over their last two axes."""

    trans_a: bool = False
    trans_b: bool = False


@dataclass(frozen=True)
class BatchNormAttrs:
    """y = x * weights + bias per channel (last axis); constants "weights" (C,) and "bias" (C,)."""

    act: Act = NO_ACT


@dataclass(frozen=True)
class ActivationAttrs:
    act: Act


@dataclass(frozen=True)
class EltwiseAttrs:
    """method: ADD, SUB, MUL, MAX or MIN of two inputs; the second may broadcast (1, 1, C)."""

    method: str
    act: Act = NO_ACT


@dataclass(frozen=True)
class PoolingAttrs:
    """method: MAX or AVG; pads: (top, left, bottom, right)."""

    method: str
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    ceil_mode: bool = False
    count_include_pad: bool = False


@dataclass(frozen=True)
class ReduceAttrs:
    """method: MEAN over the per-image `axes`."""

    method: str
    axes: tuple[int, ...]
    keepdims: bool = True


@dataclass(frozen=True)
class ConcatAttrs:
    axis: int


@dataclass(frozen=True)
class ReshapeAttrs:
    """shape: the per-image shape afterwards (also what Flatten, Squeeze, Unsqueeze become)."""

    shape: tuple[int, ...]


@dataclass(frozen=True)
class TransposeAttrs:
    """perm over per-image axes."""

    perm: tuple[int, ...]


@dataclass(frozen=True)
class SliceAttrs:
    """begin (inclusive), end (exclusive), strides (positive), one for each per-image axis."""

    begin: tuple[int, ...]
    end: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True)
class SplitAttrs:
    axis: int
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class PadAttrs:
    """pads: (before, after) for each per-image axis; mode CONSTANT, REFLECT or EDGE."""

    pads: tuple[tuple[int, int], ...]
    mode: str = "CONSTANT"
    value: float = 0.0


@dataclass(frozen=True)
class ChannelShuffleAttrs:
    """[.., C] -> [.., group, C/group] -> swap -> [.., C]."""

    group: int


@dataclass(frozen=True)
class ResizeAttrs:
    """size: output (H, W).

    method: NEAREST or BILINEAR; mode: HALF_PIXEL, PYTORCH_HALF_PIXEL, ALIGN_CORNERS or
    ASYMMETRIC; nearest: ROUND_PREFER_FLOOR, ROUND_PREFER_CEIL, FLOOR or CEIL.
    """

    size: tuple[int, int]
    method: str
    mode: str
    nearest: str = "ROUND_PREFER_FLOOR"


@dataclass(frozen=True)
class SoftmaxAttrs:
    """Softmax and LogSoftmax over one per-image axis."""

    axis: int


@dataclass(frozen=True)
class LrnAttrs:
    """x / (bias + alpha/size * sum of squares over `size` channels) ** beta."""

    size: int
    alpha: float
    beta: float
    bias: float


Attrs = (
    InputAttrs
    | ConvAttrs
    | FullyConnectedAttrs
    | MatMulAttrs
    | BatchNormAttrs
    | ActivationAttrs
    | EltwiseAttrs
    | PoolingAttrs
    | ReduceAttrs
    | ConcatAttrs
    | ReshapeAttrs
    | TransposeAttrs
    | SliceAttrs
    | SplitAttrs
    | PadAttrs
    | ChannelShuffleAttrs
    | ResizeAttrs
    | SoftmaxAttrs
    | LrnAttrs
)

# Vendor layer type -> the attribute class it carries.
LAYER_TYPES: dict[str, type] = {
    "Input": InputAttrs,
    "Convolution": ConvAttrs,
    "DepthwiseConv": ConvAttrs,
    "FullyConnected": FullyConnectedAttrs,
    "MatMul": MatMulAttrs,
    "BatchNorm": BatchNormAttrs,
    "Activation": ActivationAttrs,
    "Eltwise": EltwiseAttrs,
    "Pooling": PoolingAttrs,
    "Reduce": ReduceAttrs,
    "Concat": ConcatAttrs,
    "Reshape": ReshapeAttrs,
    "Transpose": TransposeAttrs,
    "Slice": SliceAttrs,
    "Split": SplitAttrs,
    "Pad": PadAttrs,
    "ChannelShuffle": ChannelShuffleAttrs,
    "Resize": ResizeAttrs,
    "Softmax": SoftmaxAttrs,
    "LogSoftmax": SoftmaxAttrs,
    "LRN": LrnAttrs,
}

AttrsT = TypeVar("AttrsT")
AttrsClass = type[AttrsT]  # an alias, because Layer has a field called `type`


@dataclass
class Layer:
    """One layer. consts: "weights", "bias", "slope", "pad_values" (float32), as the type needs.

    "pad_values" (Cin,) is what a convolution pads with instead of zero: it stands for a batch
    norm in front of the convolution that was folded into its weights (zero after the norm).
    """

    name: str
    type: str
    attrs: Attrs
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    consts: dict[str, np.ndarray] = field(default_factory=dict)

    def params(self, kind: AttrsClass[AttrsT]) -> AttrsT:
        """The attributes, with their class checked (for callers that know the layer's type)."""
        assert isinstance(self.attrs, kind), f"{self.name}: {type(self.attrs)} is not {kind}"
        return self.attrs

    @property
    def act(self) -> Act:
        """The activation that ends this layer (NONE where it has none)."""
        return getattr(self.attrs, "act", NO_ACT)


@dataclass
class Graph:
    """Layers in execution order, the shape of every tensor, and the graph's ends.

    onnx_names: tensor name -> name of the ONNX tensor that holds the same float values, where
    there is one; input_layouts: input name -> "NCHW", "NHWC" or "plain" as the ONNX file has it;
    onnx_axes: tensor name -> for each of our per-image axes the ONNX tensor's one ((1, 2, 0) for a
    feature map that is NCHW there).
    """

    name: str
    layers: list[Layer]
    shapes: dict[str, tuple[int, ...]]
    outputs: tuple[str, ...]
    onnx_names: dict[str, str] = field(default_factory=dict)
    input_layouts: dict[str, str] = field(default_factory=dict)
    onnx_axes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the input tensors."""
        return tuple(layer.outputs[0] for layer in self.layers if layer.type == "Input")

    def producer(self, tensor: str) -> Layer:
        """The layer that makes `tensor`; KeyError if none does."""
        for layer in self.layers:
            if tensor in layer.outputs:
                return layer
        raise KeyError(tensor)

    def consumers(self, tensor: str) -> list[Layer]:
        return [layer for layer in self.layers if tensor in layer.inputs]
