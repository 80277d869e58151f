"""What a scheme answers: real numbers to integer parameters, and nothing else.

`lowering.py` asks these questions layer by layer and writes the ops; kernels never learn which
scheme made an op. `compass42.py` answers them all; `aqt2021.py` overrides what it does otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from r329fast.calibration.ranges import Ranges
from r329fast.graph.ir import Layer
from r329fast.program.program import TensorSpec
from r329fast.quantization.fixed_point import Int64Array
from r329fast.quantization.options import Options


@dataclass(frozen=True)
class LinearConstants:
    """Integer constants of a convolution, fully connected or batch norm layer.

    weights: int64 in the layer's own shape (with any weight zero point added); bias: int64 (O,),
    input zero point absorbed; mult, shift: int64 (1,) or (O,); scales are float32 (1,) or (O,).
    """

    weights: Int64Array
    bias: Int64Array
    mult: Int64Array
    shift: Int64Array
    weight_scale: np.ndarray
    bias_scale: np.ndarray


@dataclass(frozen=True)
class NormConstants:
    """LayerNorm, InstanceNorm, GroupNorm: affine part, and how a deviation is scaled (spec B.17).

    affine: weights and bias in the layer's own shape; var_shift, norm_shift: see the op
    `standardize`; norm_mult: of 16 bits, see the op `standardize_words` (0: 8 bits).
    """

    affine: LinearConstants
    var_shift: int
    norm_shift: int
    norm_mult: int = 0


@dataclass(frozen=True)
class EltwiseConstants:
    """Two input multipliers and the output's (M, N)."""

    scales: Int64Array
    mult: Int64Array
    shift: Int64Array


class Scheme(Protocol):
    """The questions. `index` is the layer's position in the IR (for the vendor's scopes)."""

    name: str
    options: Options

    def tensor(
        self,
        index: int,
        layer: Layer,
        name: str,
        shape: tuple[int, ...],
        inputs: list[TensorSpec],
        ranges: Ranges,
    ) -> TensorSpec:
        """Scale, zero point, dtype and range of one output of `layer`."""

    def linear(self, index: int, layer: Layer, x: TensorSpec, y: TensorSpec) -> LinearConstants:
        """Constants of Convolution, DepthwiseConv, ConvTranspose and FullyConnected."""

    def batchnorm(self, index: int, layer: Layer, x: TensorSpec, y: TensorSpec) -> LinearConstants:
        """Constants of a stand-alone BatchNorm (weights (C,))."""

    def norm(self, index: int, layer: Layer, x: TensorSpec, y: TensorSpec) -> NormConstants:
        """Constants of LayerNorm, InstanceNorm and GroupNorm."""

    def eltwise(self, method: str, a: TensorSpec, b: TensorSpec, y: TensorSpec) -> EltwiseConstants:
        """Input multipliers and requantisation of an Eltwise."""

    def concat(self, inputs: list[TensorSpec], y: TensorSpec) -> tuple[Int64Array, Int64Array]:
        """(M, N), one entry per input; (1, 0) passes a value unchanged."""

    def rescale(self, ratio: npt.ArrayLike, bits: int) -> tuple[Int64Array, Int64Array]:
        """(M, N) of a positive real rescale, with `multiplier_bits`; bits: of the activations."""

    def activation_rescale(self, ratio: npt.ArrayLike, bits: int) -> tuple[Int64Array, Int64Array]:
        """(M, N) of layers that take the activations' bits instead (spec B.16, widths)."""

    def pooling_rescale(self, areas: Int64Array) -> tuple[Int64Array, Int64Array]:
        """(M, N) of 1 / area for every output position of an average pooling."""

    def splits_means(self) -> bool:
        """Whether a mean over H and W is two requantised means, one axis after the other."""

    def softmax_method(self, feeds_layers: bool) -> str:
        """LUT or FAST_EXP, by whether other layers read the softmax (spec B.12)."""
