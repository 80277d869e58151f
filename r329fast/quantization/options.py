"""What a user may choose about quantisation, with the vendor's names and defaults."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from r329fast.cfg.scoped import Scoped, parse_scoped
from r329fast.cfg.values import BadValueError
from r329fast.errors import UsageError, nearest
from r329fast.graph.ir import LINEAR_TYPES
from r329fast.program.ops import ROUNDINGS
from r329fast.quantization.linear import MODES

SCHEMES = ("aqt2021", "compass42")
WEIGHT_METHODS = tuple(f"{kind}_{mode}" for kind in ("per_tensor", "per_channel") for mode in MODES)
ACTIVATION_METHODS = tuple(f"per_tensor_{mode}" for mode in MODES)
# What each width may be, by the vendor's field: the widths that spec B.23 has rules for.
WIDTHS: dict[str, tuple[str, ...]] = {
    "activation_bits": ("8", "16"),
    "weight_bits": ("8", "16"),
    "bias_bits": tuple(str(bits) for bits in range(16, 49)),
    "lut_items_in_bits": tuple(str(bits) for bits in range(8, 17)),
}


@dataclass(frozen=True)
class Options:
    """Options of both schemes; the fields after `rounding` have the vendor's names (spec B.15).

    rounding: of the last shift, which no public file settles for silicon; the vendor's later
    reference model rounds half to even. Fields that a scheme does not use are ignored by it:
    aqt2021 has fixed methods and reads only ops_per_channel, bias_effective_bits and rounding.
    The two methods and the widths (`*_bits`) may differ from layer to layer, in the vendor's words:
    `value & <[(first, last)]:value> <[OpType]:value> <{name regex}:value>`. activation_bits: of a
    layer's outputs, 8 or 16 (spec B.23); weight_bits: 8 or 16; bias_bits: 16 to 48;
    lut_items_in_bits: a table that 16-bit integers read has 2 ** that many entries;
    multiplier_bits: 0 takes the width of the layer's activations (15 at most).
    """

    rounding: str = "half_even"
    quantize_method_for_weight: str = "per_tensor_symmetric_restricted_range"
    quantize_method_for_activation: str = "per_tensor_symmetric_full_range"
    activation_bits: str = "8"
    weight_bits: str = "8"
    bias_bits: str = "32"
    lut_items_in_bits: str = "8"
    bias_effective_bits: int = 0  # 0: the scheme's own (bias_bits for compass42, 16 for aqt2021)
    multiplier_bits: int = 0
    unify_shifts_for_aiff: bool = True
    force_shift_positive: bool = False
    force_dtype_int: bool = False
    unify_scales_for_concat_threshold: float = 1.05
    ops_per_channel: tuple[str, ...] = ("DepthwiseConv",)

    def __post_init__(self) -> None:
        _choice("rounding", self.rounding, ROUNDINGS)
        _scoped("quantize_method_for_weight", self.quantize_method_for_weight, WEIGHT_METHODS)
        _scoped(
            "quantize_method_for_activation",
            self.quantize_method_for_activation,
            ACTIVATION_METHODS,
        )
        for op_type in self.ops_per_channel:
            _choice("ops_per_channel", op_type, LINEAR_TYPES)
        for name, allowed in WIDTHS.items():
            _scoped(name, getattr(self, name), allowed)
        _interval("bias_effective_bits", self.bias_effective_bits, 16, 48, also=0)
        _interval("multiplier_bits", self.multiplier_bits, 2, 15, also=0)

    def weight_method(self, index: int, layer_type: str, name: str) -> tuple[bool, str]:
        """(per channel?, mode) for the weights of one layer."""
        scoped = _parsed(self.quantize_method_for_weight)
        return _split_method(scoped.for_layer(index, layer_type, name))

    def activation_mode(self, index: int, layer_type: str, name: str, act: str = "") -> str:
        """Mode of a layer's outputs; `act` is the method of an Activation layer."""
        scoped = _parsed(self.quantize_method_for_activation)
        return _split_method(scoped.for_layer(index, layer_type, name, act))[1]

    def bits(self, name: str, index: int, layer_type: str, layer: str, act: str = "") -> int:
        """The width `name` (a key of WIDTHS) of one layer; `act` as in `activation_mode`."""
        return int(_parsed(getattr(self, name)).for_layer(index, layer_type, layer, act))

    @property
    def wide(self) -> bool:
        """Whether any layer is asked to have more than 8-bit activations or weights."""
        return any(
            value != "8"
            for name in ("activation_bits", "weight_bits")
            for value in _values(_parsed(getattr(self, name)))
        )


@lru_cache(maxsize=64)
def _parsed(text: str) -> Scoped:
    return parse_scoped(text)


def _values(scoped: Scoped) -> tuple[str, ...]:
    return scoped.value, *(scope.value for scope in scoped.scopes)


def _split_method(method: str) -> tuple[bool, str]:
    per_channel = method.startswith("per_channel_")
    return per_channel, method.removeprefix("per_channel_").removeprefix("per_tensor_")


def _scoped(name: str, text: str, allowed: tuple[str, ...]) -> None:
    try:
        scoped = _parsed(str(text))
    except BadValueError as error:
        raise UsageError(f"{name}: {error}", option=name) from error
    for value in _values(scoped):
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
