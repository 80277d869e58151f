"""Scheme compass42: what the vendor's open optimiser 4.2 does for target Z1 (spec B)."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt

from r329fast.calibration.ranges import Ranges
from r329fast.graph.activations import ACTIVATIONS, result_is_signed
from r329fast.graph.ir import (
    ActivationAttrs,
    ArgAttrs,
    ConcatAttrs,
    ConstantAttrs,
    ConvAttrs,
    ConvTransposeAttrs,
    DivAttrs,
    EltwiseAttrs,
    L2NormAttrs,
    Layer,
    MatMulAttrs,
    NegativeAttrs,
    NormAttrs,
    PowAttrs,
    TopKAttrs,
    Weights,
)
from r329fast.program.program import TensorSpec
from r329fast.quantization.fixed_point import (
    F32,
    MAX_MULTIPLIER,
    Int64Array,
    approximate,
    unify_shifts,
)
from r329fast.quantization.given import given_weights
from r329fast.quantization.linear import LinearParams, linear_params, quantize_array
from r329fast.quantization.options import Options
from r329fast.quantization.scheme import EltwiseConstants, LinearConstants, NormConstants

SOFTMAX_LUT, SOFTMAX_FAST_EXP = "LUT", "FAST_EXP"


def own_range(layer: Layer, low: float, high: float) -> tuple[float, float]:
    """The calibrated range, cut where the layer itself clips."""
    if isinstance(layer.attrs, ActivationAttrs) and layer.act.kind == "CLIP":
        return max(low, layer.act.clip_min), min(high, layer.act.clip_max)
    return low, high


def output_is_signed(layer: Layer, inputs: list[TensorSpec], smallest: float) -> bool:
    """Signedness of a layer's output (spec B.2, second table)."""
    if layer.is_input or isinstance(layer.attrs, ConstantAttrs):
        return not smallest >= 0
    by_activation = result_is_signed(layer.act)
    if by_activation is not None:
        return by_activation
    by_type = layer.facts.is_signed(layer.attrs)
    if by_type is not None:
        return by_type
    return any(x.signed for x in inputs)


def exact_tensor(
    layer: Layer, name: str, shape: tuple[int, ...], inputs: list[TensorSpec], force_int: bool
) -> TensorSpec | None:
    """A tensor whose scale no range decides (spec B.19 to B.21); None for all others.

    Constants of whole numbers that fit 8 bits, indices, and what is negated.
    """
    attrs = layer.attrs
    if isinstance(attrs, ConstantAttrs):
        value = layer.consts["value"]
        low, high = float(value.min()), float(value.max())
        if low < -128 or high > (255 if low >= 0 else 127) or (value != np.ceil(value)).any():
            return None
        kind, qmin, qmax = ("uint8", 0, 255) if low >= 0 else ("int8", -128, 127)
        return TensorSpec(name, shape, kind, 1.0, 0, qmin, qmax)
    if isinstance(attrs, TopKAttrs) and name == layer.outputs[0]:
        return _copy(inputs[0], name, shape)
    if isinstance(attrs, ArgAttrs | TopKAttrs):
        if force_int and isinstance(attrs, ArgAttrs):
            return TensorSpec(name, shape, "int16", 1.0, 0, -32768, 32767)
        return TensorSpec(name, shape, "uint16", 1.0, 0, 0, 65535)
    if isinstance(attrs, NegativeAttrs):
        x = inputs[0]
        zero = 1 - x.zero_point if x.signed else -x.zero_point - 127
        return TensorSpec(name, shape, "int8", x.scale, zero, -128, 127)
    return None


def _forcible(layer: Layer) -> bool:
    """Whether force_dtype_int makes the layer's unsigned output signed (spec B.16, B.18)."""
    if isinstance(layer.attrs, EltwiseAttrs):
        return layer.act.kind != "NONE"
    if not ACTIVATIONS[layer.act.kind].forced:
        return False
    return not isinstance(layer.attrs, PowAttrs | DivAttrs | MatMulAttrs | L2NormAttrs)


class Compass42:
    """Answers of spec B; float32 wherever the vendor computes in float32."""

    name = "compass42"

    def __init__(self, options: Options) -> None:
        self.options = options

    # -- tensors ---------------------------------------------------------------------------------

    def tensor(
        self,
        index: int,
        layer: Layer,
        name: str,
        shape: tuple[int, ...],
        inputs: list[TensorSpec],
        ranges: Ranges,
    ) -> TensorSpec:
        exact = exact_tensor(layer, name, shape, inputs, self.options.force_dtype_int)
        if exact is not None:
            return exact
        if layer.facts.keeps(layer.attrs):
            return _copy(inputs[0], name, shape)
        if isinstance(layer.attrs, ConcatAttrs) and _all_alike(inputs):
            return _copy(inputs[0], name, shape)
        low, high = ranges[name]
        low, high = own_range(layer, min(low, 0.0), max(high, 0.0))
        smallest = ranges.smallest(name) if layer.is_input else low
        signed = output_is_signed(layer, inputs, smallest)
        signed = signed or (self.options.force_dtype_int and _forcible(layer))
        act = layer.act.kind if isinstance(layer.attrs, ActivationAttrs) else ""
        mode = self.options.activation_mode(index, layer.type, layer.name, act)
        bits = self.options.bits("activation_bits", index, layer.type, layer.name, act)
        if bits > 8 and mode == "asymmetric":  # 16 bits have no zero points (spec B.23)
            mode = "symmetric_full_range"
        params = linear_params(low, high, bits, signed, mode)
        return TensorSpec(
            name,
            shape,
            f"{'int' if signed else 'uint'}{bits}",
            float(params.scale[0]),
            int(params.zero_point[0]),
            params.qmin,
            params.qmax,
        )

    # -- weights and biases ----------------------------------------------------------------------

    def linear(self, index: int, layer: Layer, x: TensorSpec, y: TensorSpec) -> LinearConstants:
        weights = layer.consts["weights"]
        bits = self._weight_bits(index, layer)
        held = given_weights(layer) if bits == 8 else None
        if held is not None:
            constants = self._given(index, layer, held, x, y)
            if constants is not None:
                return constants
        per_channel, mode = self.options.weight_method(index, layer.type, layer.name)
        per_channel = per_channel or layer.facts.weights is Weights.DEPTHWISE
        grouped = isinstance(layer.attrs, ConvAttrs | ConvTransposeAttrs)
        group = int(getattr(layer.attrs, "group", 1)) if grouped else 1
        rows = len(weights)
        if layer.facts.weights is Weights.TRANSPOSED:
            weights = np.tile(weights, (group, 1, 1, 1))  # the rows of every group are the same
        if per_channel or group > 1:
            groups = len(weights) if per_channel else group
            params, mult, shift = self._per_channel(weights, groups, (bits, mode), x, y)
        else:
            params = linear_params(*_extrema(weights.reshape(1, -1)), bits, True, mode)
            mult, shift = self._linear_rescale(x, y, params)
        column = (-1, *[1] * (weights.ndim - 1))
        scale, zero = params.scale.reshape(column), params.zero_point.reshape(column)
        q = quantize_array(weights, scale, zero, params.qmin, params.qmax) + zero
        bias_scale = (F32(x.scale) * params.scale).astype(F32)
        bias = self._bias(index, layer, bias_scale, q, x.zero_point)
        return LinearConstants(q[:rows], bias, mult, shift, params.scale, bias_scale)

    def _given(
        self,
        index: int,
        layer: Layer,
        held: tuple[Int64Array, np.ndarray],
        x: TensorSpec,
        y: TensorSpec,
    ) -> LinearConstants | None:
        """Constants from a file's own integers; None where a channel's multiplier would be 0."""
        q, scales = held
        grouped = layer.facts.weights is Weights.DEPTHWISE or getattr(layer.attrs, "group", 1) > 1
        rows = len(q) if grouped and len(scales) == 1 else len(scales)
        scale = np.broadcast_to(scales, rows).astype(F32)
        params = LinearParams(scale, np.zeros(rows, np.int64), -128, 127)
        mult, shift = self._linear_rescale(x, y, params)
        if rows > 1 and self.options.unify_shifts_for_aiff:
            mult, shift = unify_shifts(mult, shift)
            if mult.min() == 0:
                return None
        bias_scale = (F32(x.scale) * scale).astype(F32)
        bias = self._bias(index, layer, bias_scale, q, x.zero_point)
        return LinearConstants(q, bias, mult, shift, scale, bias_scale)

    def _per_channel(
        self,
        weights: np.ndarray,
        groups: int,
        form: tuple[int, str],
        x: TensorSpec,
        y: TensorSpec,
    ) -> tuple[LinearParams, Int64Array, Int64Array]:
        """Spec B.4b: one shift for all channels, coarser groups until no multiplier is 0.

        form: (bits, mode) of the weights.
        """
        (bits, mode), channels = form, len(weights)
        low, high = _extrema(weights.reshape(channels, -1))
        while True:
            size = -(-channels // groups)
            padding = (0, groups * size - channels)
            group_low = np.pad(low, padding).reshape(groups, size).min(axis=1)
            group_high = np.pad(high, padding).reshape(groups, size).max(axis=1)
            coarse = linear_params(group_low, group_high, bits, True, mode)
            params = LinearParams(
                np.repeat(coarse.scale, size)[:channels],
                np.repeat(coarse.zero_point, size)[:channels],
                coarse.qmin,
                coarse.qmax,
            )
            mult, shift = self._linear_rescale(x, y, params)
            if not self.options.unify_shifts_for_aiff:
                return params, mult, shift
            mult, shift = unify_shifts(mult, shift)
            if mult.min() > 0 or groups == 1:
                return params, mult, shift
            groups //= 2

    def _weight_bits(self, index: int, layer: Layer) -> int:
        return self.options.bits("weight_bits", index, layer.type, layer.name)

    def _linear_rescale(
        self, x: TensorSpec, y: TensorSpec, params: LinearParams
    ) -> tuple[Int64Array, Int64Array]:
        ratio = F32(y.scale) / (F32(x.scale) * params.scale).astype(F32)
        return self.rescale(ratio, y.bits)

    def _bias(
        self,
        index: int,
        layer: Layer,
        scale: np.ndarray,
        weights: Int64Array | None = None,
        zero_point: int = 0,
    ) -> Int64Array:
        """Float32 bias to integers of `bias_bits`, input zero point absorbed, low bits cleared.

        Spec B.7; weights: whose zero point is absorbed, None where none is.
        """
        bits = self.options.bits("bias_bits", index, layer.type, layer.name)
        low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
        q = quantize_array(layer.consts["bias"], scale, 0, low, high)
        if weights is not None:
            absorbed = zero_point * weights.reshape(len(weights), -1).sum(axis=1)
            q = np.clip(q + absorbed, low, high)
        return clear_low_bits(q, self.options.bias_effective_bits or bits, bits)

    def batchnorm(self, index: int, layer: Layer, x: TensorSpec, y: TensorSpec) -> LinearConstants:
        weights = layer.consts["weights"]
        per_channel, mode = self.options.weight_method(index, layer.type, layer.name)
        rows = weights.reshape(len(weights) if per_channel else 1, -1)
        params = linear_params(*_extrema(rows), 16, True, mode)
        q = quantize_array(weights, params.scale, params.zero_point, params.qmin, params.qmax)
        q = q + params.zero_point
        mult, shift = self._linear_rescale(x, y, params)
        if per_channel and self.options.unify_shifts_for_aiff:
            mult, shift = unify_shifts(mult, shift)
        bias_scale = (F32(x.scale) * params.scale).astype(F32)
        bias = self._bias(index, layer, bias_scale, q, x.zero_point)
        return LinearConstants(q, bias, mult, shift, params.scale, bias_scale)

    def norm(self, index: int, layer: Layer, x: TensorSpec, y: TensorSpec) -> NormConstants:
        attrs, weights = layer.params(NormAttrs), layer.consts["weights"]
        count = math.prod(x.shape[attrs.axis :]) // attrs.groups
        root, wide = math.sqrt(count), x.bits > 8
        adjust = math.ceil(math.log2(127.5 / root / 4)) if root > 127 and not wide else 0
        reach = root * 2.0**adjust
        inner = F32(linear_params(-reach, reach, x.bits, True, "symmetric_full_range").scale[0])
        bits = self._weight_bits(index, layer)
        per_channel, mode = self.options.weight_method(index, layer.type, layer.name)
        rows = weights.reshape(-1, weights.shape[-1]).T if per_channel else weights.reshape(1, -1)
        unit = dataclasses.replace(x, scale=float(inner))
        if per_channel and attrs.one_shift:
            form = (bits, mode)
            params, mult, shift = self._per_channel(rows, len(rows), form, unit, y)
        else:  # every channel keeps its own shift, whatever unify_shifts_for_aiff says
            params = linear_params(*_extrema(rows), bits, True, mode)
            mult, shift = self._linear_rescale(unit, y, params)
        q = quantize_array(weights, params.scale, params.zero_point, params.qmin, params.qmax)
        q = q + params.zero_point
        bias_scale = (inner * params.scale).astype(F32)
        bias = self._bias(index, layer, bias_scale)
        affine = LinearConstants(q, bias, mult, shift, params.scale, bias_scale)
        if wide:
            norm_mult, norm_shift = approximate(inner / F32(127), 15)
            return NormConstants(affine, 0, int(norm_shift[0]), int(norm_mult[0]))
        var_shift = math.ceil(math.log2(count)) - 4
        var_shift += var_shift & 1
        return NormConstants(affine, var_shift, (var_shift >> 1) + adjust)

    # -- requantisation --------------------------------------------------------------------------

    def rescale(self, ratio: npt.ArrayLike, bits: int) -> tuple[Int64Array, Int64Array]:
        return approximate(
            ratio,
            self.options.multiplier_bits or bits,
            force_shift_positive=self.options.force_shift_positive,
        )

    def activation_rescale(self, ratio: npt.ArrayLike, bits: int) -> tuple[Int64Array, Int64Array]:
        return approximate(ratio, bits, force_shift_positive=self.options.force_shift_positive)

    def pooling_rescale(self, areas: Int64Array) -> tuple[Int64Array, Int64Array]:
        mult, shift = approximate(F32(1) / areas.reshape(-1).astype(F32), 8)
        return mult.reshape(areas.shape), shift.reshape(areas.shape)

    def eltwise(self, method: str, a: TensorSpec, b: TensorSpec, y: TensorSpec) -> EltwiseConstants:
        ones = np.ones(2, dtype=np.int64)
        scale_a, scale_b, scale_y = F32(a.scale), F32(b.scale), F32(y.scale)
        if method == "MUL":
            return EltwiseConstants(ones, *self.rescale(scale_y / (scale_a * scale_b), y.bits))
        if scale_a == scale_b and a.zero_point == b.zero_point:
            if method == "ADD":
                return EltwiseConstants(ones, *self.rescale(scale_y / scale_a, y.bits))
            return EltwiseConstants(ones, np.array([1]), np.array([0]))
        mult_a, shift_a = approximate(scale_a, 15)
        mult_b, shift_b = approximate(scale_b, 15)
        common = max(int(shift_a[0]), int(shift_b[0]))
        # Each input is multiplied by the other's scale, so both land on scale_a * scale_b.
        factors = np.array(
            [
                F32(mult_b[0]) * F32(2.0) ** F32(common - shift_b[0]),
                F32(mult_a[0]) * F32(2.0) ** F32(common - shift_a[0]),
            ],
            dtype=F32,
        )
        ratio = F32(scale_y / (scale_b * scale_a)) / F32(2.0) ** F32(common)
        excess = F32(factors.max() / F32(MAX_MULTIPLIER))
        if excess > 1:
            factors = (factors / excess).astype(F32)
            ratio = F32(ratio * excess)
        scales = np.clip(np.rint(factors), 0, MAX_MULTIPLIER).astype(np.int64)
        mult, shift = self.rescale(ratio, y.bits)
        if shift[0] < 0:
            mult = np.clip(mult << -shift, 1, MAX_MULTIPLIER)
            shift = np.zeros_like(shift)
        return EltwiseConstants(scales, mult, shift)

    def concat(self, inputs: list[TensorSpec], y: TensorSpec) -> tuple[Int64Array, Int64Array]:
        unchanged = np.ones(len(inputs), dtype=np.int64), np.zeros(len(inputs), dtype=np.int64)
        scales = [F32(t.scale) for t in (*inputs, y)]
        same_zero = len({t.zero_point for t in (*inputs, y)}) == 1
        threshold = self.options.unify_scales_for_concat_threshold
        if same_zero and max(scales) / min(scales) <= threshold:
            return unchanged
        pairs = [self.rescale(F32(y.scale) / F32(x.scale), y.bits) for x in inputs]
        return np.concatenate([m for m, _ in pairs]), np.concatenate([n for _, n in pairs])

    def splits_means(self) -> bool:
        return False

    def softmax_method(self, feeds_layers: bool) -> str:
        return SOFTMAX_FAST_EXP if feeds_layers else SOFTMAX_LUT


def clear_low_bits(bias: Int64Array, effective_bits: int, bits: int = 32) -> Int64Array:
    """Keep `effective_bits` of a layer's biases: floor away the same low bits in all (spec B.7).

    bits: of the biases; with as many effective ones nothing is lost.
    """
    if effective_bits >= bits:
        return bias
    low, high = min(int(bias.min()), -1), max(int(bias.max()), 1)
    limit = 2.0 ** (effective_bits - 1)
    drop = int(np.ceil(max(np.log2(high / (limit - 1)), np.log2(low / -limit))))
    return (bias >> drop) << drop if drop > 0 else bias


def _copy(x: TensorSpec, name: str, shape: tuple[int, ...]) -> TensorSpec:
    return TensorSpec(name, shape, x.dtype, x.scale, x.zero_point, x.qmin, x.qmax)


def _all_alike(inputs: list[TensorSpec]) -> bool:
    return len({(x.scale, x.zero_point, x.dtype) for x in inputs}) == 1


def _extrema(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest of each row, widened to include 0."""
    return np.minimum(rows.min(axis=1), 0), np.maximum(rows.max(axis=1), 0)
