"""Layers that work element by element."""

from __future__ import annotations

from dataclasses import dataclass

from r329fast.graph.layers.facts import (
    NO_ACT,
    Act,
    Attrs,
    LayerType,
    each_output,
)


@dataclass(frozen=True)
class ActivationAttrs(Attrs):
    act: Act


@dataclass(frozen=True)
class EltwiseAttrs(Attrs):
    """method: ADD, SUB, MUL, MAX or MIN of two inputs; the second may broadcast (1, 1, C)."""

    method: str
    act: Act = NO_ACT


@dataclass(frozen=True)
class UnaryAttrs(Attrs):
    """A function of each element; the layer's type says which."""


@dataclass(frozen=True)
class NegativeAttrs(UnaryAttrs):
    """-x, with the scale of x."""


@dataclass(frozen=True)
class PowAttrs(Attrs):
    """x ** exponent."""

    exponent: float


@dataclass(frozen=True)
class DivAttrs(Attrs):
    """First input by second, of the same shape."""


def _power_sign(attrs: Attrs) -> bool | None:
    """Signed as the input, except for even exponents (spec B.21)."""
    return False if isinstance(attrs, PowAttrs) and attrs.exponent % 2 == 0 else None


# Type of a layer of one input -> whether its result is signed, None: as the input (spec B.21).
UNARY: dict[str, bool | None] = {
    "Abs": False,
    "Cosine": True,
    "Erf": True,
    "Exp": False,
    "Log": True,
    "Reciprocal": None,
    "Rsqrt": False,
    "Sine": True,
    "Sqrt": False,
    "Square": False,
}


def _difference(attrs: Attrs) -> bool | None:
    return True if isinstance(attrs, EltwiseAttrs) and attrs.method == "SUB" else None


TYPES = {
    "Activation": LayerType(ActivationAttrs, each_output),
    "Eltwise": LayerType(EltwiseAttrs, each_output, signed=_difference),
    **{
        name: LayerType(UnaryAttrs, each_output, signed=signed, ops_assumed=True)
        for name, signed in UNARY.items()
    },
    "Negative": LayerType(NegativeAttrs, each_output, signed=True, ops_assumed=True),
    "Pow": LayerType(PowAttrs, each_output, signed=_power_sign, ops_assumed=True),
    "Div": LayerType(DivAttrs, each_output, ops_assumed=True),
}
