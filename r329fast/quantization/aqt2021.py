"""Scheme aqt2021: what the 2021 R329 tool did, as decoded from its files (spec A).

float64 unless stated otherwise. Whatever is not defined here is as in compass42.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from r329fast.base.integers import INT32_MAX, INT32_MIN
from r329fast.calibration.ranges import Ranges
from r329fast.graph.ir import ConcatAttrs, Layer, ReduceAttrs
from r329fast.program.program import Program, TensorSpec
from r329fast.quantization.compass42 import (
    SOFTMAX_LUT,
    Compass42,
    exact_tensor,
    output_is_signed,
    own_range,
)
from r329fast.quantization.fixed_point import (
    EPS32,
    MAX_MULTIPLIER,
    Int64Array,
    approximate_8bit,
    unify_shifts,
)
from r329fast.quantization.given import given_weights
from r329fast.quantization.options import Options
from r329fast.quantization.scheme import EltwiseConstants, LinearConstants

ADD_BASE = 256  # multiplier of the eltwise input with the larger scale
CONCAT_SHIFT = 8
HARDWARE_BIAS_BITS = 16


def signed_scale(low: float, high: float) -> float:
    """127 / max(|max|, |min|); 1 for a tensor that is always zero."""
    return _scale(127.0, max(abs(low), abs(high)))


def unsigned_scale(high: float) -> float:
    """255 / max; 1 for a tensor that is always zero."""
    return _scale(255.0, high)


def _scale(levels: float, largest: float) -> float:
    return levels / largest if largest > EPS32 else 1.0


def eltwise_add_params(
    scale_a: float, scale_b: float, scale_out: float
) -> tuple[Int64Array, int, int]:
    """(input multipliers (2,), M, N): k_i = round(256 * s_max / s_i), verified 10 of 10."""
    larger = max(scale_a, scale_b)
    base = float(ADD_BASE)
    factors = np.array([base * larger / scale_a, base * larger / scale_b])
    while np.rint(factors).max() > MAX_MULTIPLIER:
        factors, base = factors / 2, base / 2
    mult, shift = approximate_8bit(scale_out / (larger * base))
    scales = np.maximum(np.rint(factors), 1).astype(np.int64)
    return scales, int(mult[0]), int(shift[0])


def concat_params(scale_in: float, scale_out: float) -> tuple[int, int]:
    """(M, N) of one concat input.

    Ratios s_out / s_in up to 1: M = round(255 * ratio), N = 8 (verified, 10 of 10 layers). Above
    1, where such an M would not fit its 8 bits: the general approximation (inferred).
    """
    ratio = scale_out / scale_in
    if ratio > 1:
        mult, shift = approximate_8bit(ratio)
        return int(mult[0]), int(shift[0])
    return int(np.rint(255.0 * ratio)), CONCAT_SHIFT


def amplified_concats(program: Program) -> list[str]:
    """A line for each Concat of an aqt2021 program that has to amplify an input (see above)."""
    if program.scheme != Aqt2021.name:
        return []
    lines = []
    joins = [layer for layer in program.layers if layer.facts.attrs is ConcatAttrs]
    for op in (op for layer in joins for op in program.ops[slice(*layer.ops)]):
        output = program.tensors[op.outputs[0]]
        ratios = [output.scale / program.tensors[name].scale for name in op.inputs]
        widest = int(np.argmax(ratios))
        if ratios[widest] > 1:
            lines.append(
                f"Concat {op.layer!r}: input {op.inputs[widest]!r} is amplified by "
                f"{ratios[widest]:.3g} to the output's scale; how the 2021 tool does that is not "
                "known (inferred here: its general 8-bit multiplier), compare on the chip or "
                "narrow the range that the input inherits"
            )
    return lines


def mean_params(count: int) -> tuple[int, int]:
    """(M, N) of 1 / count: 1/7 is 146 / 2**10."""
    mult, shift = approximate_8bit(1.0 / count)
    return int(mult[0]), int(shift[0])


def fit_bias(bias: Int64Array, bits: int) -> tuple[Int64Array, int]:
    """(bias with the low bits floored away, the smallest left shift that makes it fit `bits`)."""
    limit = 1 << (bits - 1)
    shift = 0
    while (bias >> shift).min() < -limit or (bias >> shift).max() >= limit:
        shift += 1
    return (bias >> shift) << shift, shift


class Aqt2021(Compass42):
    """Answers of spec A: symmetric int8, uint8 after ReLU, 8-bit multipliers, 16-bit biases."""

    name = "aqt2021"

    def __init__(self, options: Options) -> None:
        # The fixed methods of the 2021 tool; full range so that -128 is reachable.
        super().__init__(
            dataclasses.replace(
                options,
                quantize_method_for_weight="per_tensor_symmetric_restricted_range",
                quantize_method_for_activation="per_tensor_symmetric_full_range",
            )
        )

    def tensor(
        self,
        index: int,
        layer: Layer,
        name: str,
        shape: tuple[int, ...],
        inputs: list[TensorSpec],
        ranges: Ranges,
    ) -> TensorSpec:
        exact = exact_tensor(layer, name, shape, inputs, False)
        if exact is not None:
            return exact
        mean = isinstance(layer.attrs, ReduceAttrs) and layer.attrs.method == "MEAN"
        if mean or layer.facts.keeps(layer.attrs):
            return dataclasses.replace(inputs[0], name=name, shape=shape)
        low, high = own_range(layer, *ranges[name])
        smallest = ranges.smallest(name) if layer.is_input else low
        if output_is_signed(layer, inputs, smallest):
            return TensorSpec(name, shape, "int8", signed_scale(low, high))
        return TensorSpec(name, shape, "uint8", unsigned_scale(high), 0, 0, 255)

    def linear(self, index: int, layer: Layer, x: TensorSpec, y: TensorSpec) -> LinearConstants:
        held = given_weights(layer)
        if held is not None:
            return self._finish(layer, held[0], held[1], x, y, HARDWARE_BIAS_BITS)
        weights = layer.consts["weights"].astype(np.float64)
        rows = len(weights) if layer.type in self.options.ops_per_channel else 1
        largest = np.abs(weights.reshape(rows, -1)).max(axis=1)
        scale = np.array([_scale(127.0, value) for value in largest])
        q = np.rint(weights * scale.reshape(-1, *[1] * (weights.ndim - 1))).astype(np.int64)
        if len(scale) > 1:  # a transposed convolution has the same rows for every group
            scale = np.tile(scale, len(layer.consts["bias"]) // len(scale))
        return self._finish(layer, q, scale, x, y, HARDWARE_BIAS_BITS)

    def batchnorm(self, index: int, layer: Layer, x: TensorSpec, y: TensorSpec) -> LinearConstants:
        weights = layer.consts["weights"].astype(np.float64)
        scale = np.array([_scale(32767.0, float(np.abs(weights).max()))])
        q = np.rint(weights * scale).astype(np.int64)
        return self._finish(layer, q, scale, x, y, 32)

    def _finish(
        self,
        layer: Layer,
        weights: Int64Array,
        scale: np.ndarray,
        x: TensorSpec,
        y: TensorSpec,
        bias_bits: int,
    ) -> LinearConstants:
        mult, shift = approximate_8bit(y.scale / (x.scale * scale))
        if len(scale) > 1:
            mult, shift = unify_shifts(mult, shift)
        bias_scale = x.scale * scale
        rounded = np.rint(layer.consts["bias"].astype(np.float64) * bias_scale)
        bias = np.clip(rounded, INT32_MIN, INT32_MAX).astype(np.int64)
        # A channel whose multiplier fell to 0 cannot reach the output, but its bias, which may be
        # huge, counts for the layer's shift and costs the others their low bits (12 of 26 layers).
        bias, _ = fit_bias(bias, self.options.bias_effective_bits or bias_bits)
        return LinearConstants(weights, bias, mult, shift, scale, bias_scale)

    def rescale(self, ratio: npt.ArrayLike, bits: int) -> tuple[Int64Array, Int64Array]:
        return approximate_8bit(ratio)

    def activation_rescale(self, ratio: npt.ArrayLike, bits: int) -> tuple[Int64Array, Int64Array]:
        return approximate_8bit(ratio)

    def pooling_rescale(self, areas: Int64Array) -> tuple[Int64Array, Int64Array]:
        mult, shift = approximate_8bit(1.0 / areas.reshape(-1))
        return mult.reshape(areas.shape), shift.reshape(areas.shape)

    def eltwise(self, method: str, a: TensorSpec, b: TensorSpec, y: TensorSpec) -> EltwiseConstants:
        if method == "MUL":
            return EltwiseConstants(
                np.ones(2, dtype=np.int64), *approximate_8bit(y.scale / (a.scale * b.scale))
            )
        scales, mult, shift = eltwise_add_params(a.scale, b.scale, y.scale)
        return EltwiseConstants(scales, np.array([mult]), np.array([shift]))

    def concat(self, inputs: list[TensorSpec], y: TensorSpec) -> tuple[Int64Array, Int64Array]:
        # The one real binary marks the layers in which every scale is the output's; its
        # multipliers there would be 255/256 each. Taken to mean: those values pass unchanged.
        if all(x.scale == y.scale for x in inputs):
            return np.ones(len(inputs), dtype=np.int64), np.zeros(len(inputs), dtype=np.int64)
        pairs = np.array([concat_params(x.scale, y.scale) for x in inputs], dtype=np.int64)
        return pairs[:, 0], pairs[:, 1]

    def splits_means(self) -> bool:
        return True

    def softmax_method(self, feeds_layers: bool) -> str:
        return SOFTMAX_LUT
