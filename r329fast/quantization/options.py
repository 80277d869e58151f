"""What a user may choose about quantisation, with the vendor's names and defaults."""

from __future__ import annotations

from dataclasses import dataclass

from r329fast.cfg.scoped import parse_scoped
from r329fast.cfg.values import BadValueError
from r329fast.errors import UsageError, nearest
from r329fast.graph.ir import LINEAR_TYPES
from r329fast.program.ops import ROUNDINGS
from r329fast.quantization.linear import MODES

SCHEMES = ("aqt2021", "compass42")
WEIGHT_METHODS = tuple(f"{kind}_{mode}" for kind in ("per_tensor", "per_channel") for mode in MODES)
ACTIVATION_METHODS = tuple(f"per_tensor_{mode}" for mode in MODES)


@dataclass(frozen=True)
class Options:
    """Options of both schemes; the fields after `rounding` have the vendor's names (spec B.15).

    rounding: of the last shift, which no public file settles for silicon; the vendor's later
    reference model rounds half to even. Fields that a scheme does not use are ignored by it:
    aqt2021 has fixed methods and reads only ops_per_channel, bias_effective_bits and rounding.
    The two methods may differ from layer to layer, in the vendor's words:
    `method & <[(first, last)]:method> <[OpType]:method> <{name regex}:method>`.
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

    def __post_init__(self) -> None:
        _choice("rounding", self.rounding, ROUNDINGS)
        _methods("quantize_method_for_weight", self.quantize_method_for_weight, WEIGHT_METHODS)
        _methods(
            "quantize_method_for_activation",
            self.quantize_method_for_activation,
            ACTIVATION_METHODS,
        )
        for op_type in self.ops_per_channel:
            _choice("ops_per_channel", op_type, LINEAR_TYPES)
        _interval("bias_effective_bits", self.bias_effective_bits, 16, 32, also=0)
        _interval("multiplier_bits", self.multiplier_bits, 2, 15)

    def weight_method(self, index: int, layer_type: str, name: str) -> tuple[bool, str]:
        """(per channel?, mode) for the weights of one layer."""
        scoped = parse_scoped(self.quantize_method_for_weight)
        return _split_method(scoped.for_layer(index, layer_type, name))

    def activation_mode(self, index: int, layer_type: str, name: str, act: str = "") -> str:
        """Mode of a layer's outputs; `act` is the method of an Activation layer."""
        scoped = parse_scoped(self.quantize_method_for_activation)
        return _split_method(scoped.for_layer(index, layer_type, name, act))[1]


def _split_method(method: str) -> tuple[bool, str]:
    per_channel = method.startswith("per_channel_")
    return per_channel, method.removeprefix("per_channel_").removeprefix("per_tensor_")


def _methods(name: str, text: str, allowed: tuple[str, ...]) -> None:
    try:
        scoped = parse_scoped(text)
    except BadValueError as error:
        raise UsageError(f"{name}: {error}", option=name) from error
    for value in (scoped.value, *(scope.value for scope in scoped.scopes)):
        _choice(name, value, allowed)


def _choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UsageError(
            f"{name}: found {value!r}, allowed {', '.join(allowed)}{nearest(value, allowed)}",
            option=name,
        )


def _interval(name: str, value: int, low: int, high: int, also: int | None = None) -> None:
    if type(value) is not int or (not low <= value <= high and value != also):
        raise UsageError(f"{name}: found {value!r}, allowed {low} to {high}", option=name)
