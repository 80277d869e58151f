"""What a user may choose about quantisation, with the vendor's names and defaults."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from r329fast.errors import UsageError, nearest
from r329fast.program.spec import ROUNDINGS
from r329fast.quantization.linear import MODES

SCHEMES = ("aqt2021", "compass42")
WEIGHT_METHODS = tuple(f"{kind}_{mode}" for kind in ("per_tensor", "per_channel") for mode in MODES)
ACTIVATION_METHODS = tuple(f"per_tensor_{mode}" for mode in MODES)


@dataclass(frozen=True)
class Scope:
    """A value for some layers only: by IR index range, by vendor layer types, or by name regex.

    The vendor writes `global & <[(first, last), ...]:v> <[OpType, ...]:v> <{regex}:v>`.
    """

    value: str
    ranges: tuple[tuple[int, int], ...] = ()
    types: tuple[str, ...] = ()
    pattern: str = ""

    def covers(self, index: int, layer_type: str, name: str) -> bool:
        if any(first <= index <= last for first, last in self.ranges):
            return True
        if layer_type.lower() in (kind.lower() for kind in self.types):
            return True
        return bool(self.pattern) and re.fullmatch(self.pattern, name) is not None


@dataclass(frozen=True)
class Options:
    """Options of both schemes; the fields after `rounding` bear the vendor's names (spec B.15).

    rounding: of the last shift, which no public file settles for silicon; the vendor's later
    reference model rounds half to even. Fields that a scheme does not use are ignored by it:
    aqt2021 has fixed methods and reads only ops_per_channel, bias_effective_bits and rounding.
    scopes: field name -> values for single layers (weight and activation methods only).
    """

    rounding: str = "half_even"
    quantize_method_for_weight: str = "per_tensor_symmetric_restricted_range"
    quantize_method_for_activation: str = "per_tensor_symmetric_full_range"
    bias_effective_bits: int = 0  # 0: the scheme's own (32 for compass42, 16 for aqt2021)
    multiplier_bits: int = 8
    unify_shifts_for_aiff: bool = True
    force_shift_positive: bool = False
    force_dtype_int: bool = False
    unify_scales_for_concat_threshold: float = 1.05
    ops_per_channel: tuple[str, ...] = ("DepthwiseConv",)
    scopes: Mapping[str, tuple[Scope, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _choice("rounding", self.rounding, ROUNDINGS)
        _choice("quantize_method_for_weight", self.quantize_method_for_weight, WEIGHT_METHODS)
        _choice(
            "quantize_method_for_activation",
            self.quantize_method_for_activation,
            ACTIVATION_METHODS,
        )
        _interval("bias_effective_bits", self.bias_effective_bits, 16, 32, also=0)
        _interval("multiplier_bits", self.multiplier_bits, 2, 15)
        for name, scopes in self.scopes.items():
            allowed = WEIGHT_METHODS if name == "quantize_method_for_weight" else ACTIVATION_METHODS
            for scope in scopes:
                _choice(name, scope.value, allowed)

    def weight_method(self, index: int, layer_type: str, name: str) -> tuple[bool, str]:
        """(per channel?, mode) for the weights of one layer."""
        value = self._value("quantize_method_for_weight", index, layer_type, name)
        return _split_method(value)

    def activation_mode(self, index: int, layer_type: str, name: str) -> str:
        value = self._value("quantize_method_for_activation", index, layer_type, name)
        return _split_method(value)[1]

    def _value(self, field_name: str, index: int, layer_type: str, name: str) -> str:
        value: str = getattr(self, field_name)
        for scope in self.scopes.get(field_name, ()):
            if scope.covers(index, layer_type, name):
                value = scope.value
        return value


def _split_method(method: str) -> tuple[bool, str]:
    per_channel = method.startswith("per_channel_")
    return per_channel, method.removeprefix("per_channel_").removeprefix("per_tensor_")


def _choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UsageError(
            f"{name}: found {value!r}, allowed {', '.join(allowed)}{nearest(value, allowed)}",
            option=name,
        )


def _interval(name: str, value: int, low: int, high: int, also: int | None = None) -> None:
    if not low <= value <= high and value != also:
        raise UsageError(f"{name}: found {value}, allowed {low} to {high}", option=name)
