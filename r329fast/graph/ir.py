"""The graph: NHWC layers in the vendor's terms, shapes known, batch norms folded, ReLUs fused.

Conventions that every later room relies on:

* Shapes and axes are **per image**: the batch axis is left out. A feature map is (H, W, C), a
  logits vector (C,); axis 0 of a feature map is H and axis -1 its channels.
* A tensor has the name of the layer that computes it (the vendor's "layer top"); a layer with
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

from r329fast.base.tabular import html_table
from r329fast.graph.layers import LAYER_TYPES, LINEAR_TYPES, LayerType
from r329fast.graph.layers.elementwise import (
    ActivationAttrs,
    DivAttrs,
    EltwiseAttrs,
    NegativeAttrs,
    PowAttrs,
    UnaryAttrs,
)
from r329fast.graph.layers.facts import NO_ACT, Act, Attrs, Weights
from r329fast.graph.layers.linear import (
    BatchNormAttrs,
    ConvAttrs,
    ConvTransposeAttrs,
    FullyConnectedAttrs,
    GemmAttrs,
    MatMulAttrs,
)
from r329fast.graph.layers.movement import (
    ChannelShuffleAttrs,
    ConcatAttrs,
    ConstantAttrs,
    CropAttrs,
    DepthToSpaceAttrs,
    GatherAttrs,
    InputAttrs,
    PadAttrs,
    ReshapeAttrs,
    SliceAttrs,
    SplitAttrs,
    TileAttrs,
    TransposeAttrs,
)
from r329fast.graph.layers.normalise import (
    ArgAttrs,
    L2NormAttrs,
    LrnAttrs,
    NormAttrs,
    SoftmaxAttrs,
    TopKAttrs,
)
from r329fast.graph.layers.windows import PoolingAttrs, ReduceAttrs, ResizeAttrs

__all__ = [
    "LAYER_TYPES",
    "LINEAR_TYPES",
    "NO_ACT",
    "Act",
    "ActivationAttrs",
    "ArgAttrs",
    "Attrs",
    "BatchNormAttrs",
    "ChannelShuffleAttrs",
    "ConcatAttrs",
    "ConstantAttrs",
    "ConvAttrs",
    "ConvTransposeAttrs",
    "CropAttrs",
    "DepthToSpaceAttrs",
    "DivAttrs",
    "EltwiseAttrs",
    "FullyConnectedAttrs",
    "GatherAttrs",
    "GemmAttrs",
    "Given",
    "Graph",
    "InputAttrs",
    "L2NormAttrs",
    "Layer",
    "LayerType",
    "LrnAttrs",
    "MatMulAttrs",
    "NegativeAttrs",
    "NormAttrs",
    "PadAttrs",
    "PoolingAttrs",
    "PowAttrs",
    "ReduceAttrs",
    "ReshapeAttrs",
    "ResizeAttrs",
    "SliceAttrs",
    "SoftmaxAttrs",
    "SplitAttrs",
    "TileAttrs",
    "TopKAttrs",
    "TransposeAttrs",
    "UnaryAttrs",
    "Weights",
]

AttrsT = TypeVar("AttrsT")
AttrsClass = type[AttrsT]  # an alias, because Layer has a field called `type`


@dataclass(frozen=True)
class Given:
    """What a quantised file says of a tensor: real = step * (integer - zero), dtype uint8, int8."""

    step: float
    zero: int
    dtype: str


@dataclass
class Layer:
    """One layer. consts: "weights", "bias", "slope", "pad_values", "value" (float32), "indices".

    "pad_values" (Cin,) is what a convolution pads with instead of zero: it stands for a batch
    norm in front of the convolution that was folded into its weights (zero after the norm).
    weight_steps: real value of one step of integer weights that the file has, () or one or one for
    each output. parts: names of the ONNX nodes that it stands for besides its own: a shuffle's
    Reshape and Transpose, the Transpose that moved data.
    """

    name: str
    type: str
    attrs: Attrs
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    consts: dict[str, np.ndarray] = field(default_factory=dict)
    parts: tuple[str, ...] = ()
    weight_steps: tuple[float, ...] = ()

    def params(self, kind: AttrsClass[AttrsT]) -> AttrsT:
        """The attributes, with their class checked (for callers that know the layer's type)."""
        assert isinstance(self.attrs, kind), f"{self.name}: {type(self.attrs)} is not {kind}"
        return self.attrs

    @property
    def facts(self) -> LayerType:
        """What is known of the layer's type."""
        return LAYER_TYPES[self.type]

    @property
    def is_input(self) -> bool:
        return isinstance(self.attrs, InputAttrs)

    @property
    def act(self) -> Act:
        """The activation that ends this layer (NONE where it has none)."""
        return getattr(self.attrs, "act", NO_ACT)


@dataclass
class Graph:
    """A float network in the vendor's layers: what `load_model` reads from an ONNX file.

    layers: in execution order, norms folded and activations fused; `for layer in graph` goes over
    them. shapes: of every tensor, for one image and without the batch: (H, W, C) for a feature map.
    outputs: names of tensors; a tensor has the name of the layer that makes it. onnx_names: tensor
    name -> name of the ONNX tensor that holds the same float values, where there is one;
    input_layouts: input name -> "NCHW", "NHWC" or "plain" as the ONNX file has it; onnx_axes:
    tensor name -> for each of our per-image axes the ONNX tensor's one ((1, 2, 0) for a feature map
    that is NCHW there); given: tensor name -> scale and zero point of a quantised file;
    given_again: ONNX tensors that the file quantises a second time, with another scale.
    """

    name: str
    layers: list[Layer]
    shapes: dict[str, tuple[int, ...]]
    outputs: tuple[str, ...]
    onnx_names: dict[str, str] = field(default_factory=dict)
    input_layouts: dict[str, str] = field(default_factory=dict)
    onnx_axes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    given: dict[str, Given] = field(default_factory=dict)
    given_again: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def __repr__(self) -> str:
        ends = ", ".join(f"{name} {list(self.shapes[name])}" for name in self.inputs)
        return (
            f"<Graph {self.name!r}: {len(self.layers)} layers, {ends} -> {', '.join(self.outputs)}>"
        )

    def _repr_html_(self) -> str:
        rows = [
            [layer.name, layer.type, layer.act.kind, list(self.shapes[layer.outputs[0]])]
            for layer in self.layers
        ]
        return html_table(repr(self)[1:-1], ["layer", "type", "activation", "output"], rows)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the input tensors."""
        return tuple(layer.outputs[0] for layer in self.layers if layer.is_input)

    def producer(self, tensor: str) -> Layer:
        """The layer that makes `tensor`; KeyError if none does."""
        for layer in self.layers:
            if tensor in layer.outputs:
                return layer
        raise KeyError(tensor)

    def consumers(self, tensor: str) -> list[Layer]:
        """The layers that read `tensor`, in execution order."""
        return [layer for layer in self.layers if tensor in layer.inputs]
