"""Settings of quantisation that tuning may choose: scales per channel, zero points by layer.

Both are the vendor's own words in the cfg: `ops_per_channel` of the 2021 tool, and of [Optimizer]
`quantize_method_for_weight` and, layer by layer, `quantize_method_for_activation`. Widths of 16
bits are left out: they cost time on the chip, and change what an application reads.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from r329fast.graph.ir import LINEAR_TYPES
from r329fast.quantization import Options
from r329fast.tuning.silent import without_silent
from r329fast.tuning.state import State
from r329fast.tuning.weights import scheme_of

SETTINGS = "settings"
PER_CHANNEL, ZERO_POINTS = f"{SETTINGS} per channel", f"{SETTINGS} zero points"
_ASYMMETRIC = "per_tensor_asymmetric"
_FINER = 1.05  # a zero point has to make a layer's steps so much finer

Change = Callable[[State], tuple[State, dict[str, Any]] | None]  # what to record of it


def changes_of(scheme: str, free: bool) -> dict[str, Change]:
    """Name -> what it makes of a state, None where there is nothing to change.

    free: whether the call left open if weights have a scale per channel.
    """
    found: dict[str, Change] = {}
    if free:
        found[PER_CHANNEL] = lambda state: _changed(state, scheme, per_channel(state, scheme))
    if scheme == "compass42":
        found[ZERO_POINTS] = lambda state: _changed(state, scheme, with_zero_points(state, scheme))
    return found


def _changed(
    state: State, scheme: str, options: Options | None
) -> tuple[State, dict[str, Any]] | None:
    """With such options, and weights in channels that are silent under them."""
    if options is None:
        return None
    after = dataclasses.replace(state, options=options)
    graph, silent = without_silent(after.graph, after.program(scheme), scheme_of(scheme, options))
    details = {"options": changed_words(state.options, options), "silent": silent}
    return dataclasses.replace(after, graph=graph), details


def per_channel(state: State, scheme: str) -> Options | None:
    """A scale for every output channel of all linear layers."""
    options = state.options
    if scheme == "aqt2021":
        had = options.ops_per_channel
        present = {layer.type for layer in state.graph}
        types = tuple(t for t in LINEAR_TYPES if t in had or t in present)
        return None if set(types) == set(had) else dataclasses.replace(
            options, ops_per_channel=types
        )  # fmt: skip
    method = options.quantize_method_for_weight
    if "&" in method or not method.startswith("per_tensor_"):
        return None  # what somebody chose layer by layer stays
    wanted = method.replace("per_tensor_", "per_channel_")
    return dataclasses.replace(options, quantize_method_for_weight=wanted)


def with_zero_points(state: State, scheme: str) -> Options | None:
    """Asymmetric activations in the layers whose steps they make finer."""
    method = state.options.quantize_method_for_activation
    if "&" in method or method == _ASYMMETRIC:
        return None
    everywhere = dataclasses.replace(state.options, quantize_method_for_activation=_ASYMMETRIC)
    plain = state.program(scheme)
    other = dataclasses.replace(state, options=everywhere).program(scheme)
    numbers = [
        index
        for index, layer in enumerate(state.graph)
        if other.tensors[layer.outputs[0]].scale > _FINER * plain.tensors[layer.outputs[0]].scale
    ]
    if not numbers:
        return None
    scopes = ", ".join(f"({number}, {number})" for number in numbers)
    text = f"{method} & <[{scopes}]:{_ASYMMETRIC}>"
    return dataclasses.replace(state.options, quantize_method_for_activation=text)


def changed_words(before: Options, after: Options) -> dict[str, Any]:
    """The fields in which two differ, with the values that they have now."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in vars(after).items()
        if value != getattr(before, name)
    }
