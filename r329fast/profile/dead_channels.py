"""Channels that cannot reach the output, and what their biases cost the others.

A depthwise channel with nearly no weights gets a multiplier of 0. Its bias, huge in its own tiny
scale, still counts for the layer's bias shift in the 2021 tool (spec A), so that all other
channels of the layer lose low bits of theirs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from r329fast.graph.ir import Graph
from r329fast.profile.suggestion import Candidate, Setup
from r329fast.program.program import Op, Program
from r329fast.quantization.aqt2021 import HARDWARE_BIAS_BITS, fit_bias

_NAMED = 8  # channels listed by number in a suggestion


def dead_channels(op: Op) -> npt.NDArray[np.bool_]:
    """(O,) whether a channel's multiplier is 0, for an op with biases."""
    return np.broadcast_to(op.consts["mult"] == 0, op.consts["bias"].shape)


def bits_lost_to_dead(op: Op, bits: int = HARDWARE_BIAS_BITS) -> int:
    """How many low bits the biases would have more if those of dead channels were zero."""
    bias = op.consts["bias"].astype(np.int64)
    live = np.where(dead_channels(op), 0, bias)
    return fit_bias(bias, bits)[1] - fit_bias(live, bits)[1]


def without_dead_biases(graph: Graph, program: Program, names: Sequence[str]) -> Graph:
    """`graph` with zero for the biases of dead channels in the named layers of `program`."""
    dead = {
        op.layer: dead_channels(op)
        for op in program.ops
        if op.layer in names and "bias" in op.consts
    }
    layers = []
    for layer in graph:
        if layer.name in dead:
            bias = np.where(dead[layer.name], 0, layer.consts["bias"]).astype(np.float32)
            layer = dataclasses.replace(layer, consts={**layer.consts, "bias": bias})
        layers.append(layer)
    return dataclasses.replace(graph, layers=layers)


def dead_bias_candidates(program: Program) -> list[Candidate]:
    """One change for all layers that lose bits to dead channels: zero biases there."""
    costs: dict[str, tuple[int, list[int]]] = {}
    linear = [layer for layer in program.layers if layer.facts.linear]
    for op in (op for layer in linear for op in program.ops[slice(*layer.ops)]):
        if program.scheme != "aqt2021" or "bias" not in op.consts:
            continue
        lost = bits_lost_to_dead(op)
        if lost:
            costs[op.layer] = lost, np.flatnonzero(dead_channels(op)).tolist()
    if not costs:
        return []
    words = [f"{lost} in {name}" for name, (lost, _) in costs.items()]
    places = [f"{name}: {_numbers(channels)}" for name, (_, channels) in costs.items()]
    names = tuple(costs)

    def change(setup: Setup) -> Setup:
        return dataclasses.replace(setup, zero_biases=names)

    return [
        Candidate(
            "bias",
            names[0] if len(names) == 1 else "",
            f"channels that cannot reach the output cost the others bias bits: {', '.join(words)}",
            "zero biases in dead channels",
            "in the ONNX, set these channels' biases to zero (bias and mean of a batch norm that "
            f"is folded into the layer): {'; '.join(places)}",
            change,
        )
    ]


def _numbers(channels: list[int]) -> str:
    text = ", ".join(map(str, channels[:_NAMED]))
    rest = len(channels) - _NAMED
    return f"{text} and {rest} more" if rest > 0 else text
