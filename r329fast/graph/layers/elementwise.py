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


def _difference(attrs: Attrs) -> bool | None:
    return True if isinstance(attrs, EltwiseAttrs) and attrs.method == "SUB" else None


TYPES = {
    "Activation": LayerType(ActivationAttrs, each_output),
    "Eltwise": LayerType(EltwiseAttrs, each_output, signed=_difference),
}
