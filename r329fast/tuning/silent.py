"""Channels that give zero whatever they read, and what they cost the others of their layer.

With a scale per channel all multipliers of a layer share one shift. A channel without weights has
no largest weight that its scale could come from, so that its multiplier takes all bits of that
shift and leaves the others 2 to 7 (the stems of a ResNet-18 and a MobileNetV2); one with hardly any
weights makes scheme `compass42` join channels in pairs, fours and eights. A weight of the usual
size with a bias that holds the channel below zero, behind its ReLU, changes nothing else.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from r329fast.graph.ir import Graph, Layer
from r329fast.profile.errors import ratio_db
from r329fast.program.program import Program
from r329fast.quantization.fixed_point import real_multiplier
from r329fast.quantization.scheme import Scheme
from r329fast.tuning.walk import with_consts

SILENT = "silent channels"
_ACTIVATIONS = ("RELU", "RELU6")
_HARDLY = 1e-3  # share of the usual largest weight of a channel below which it has hardly any
_ZERO = 1e-5  # share of the output's range that counts as zero
_BEYOND = 1.5  # how far beyond its range an input is followed


def _hardly_any(largest: np.ndarray) -> np.ndarray:
    """bool (O,): channels with hardly any weights; largest: (O,), the largest weight of each."""
    return np.asarray(largest < _HARDLY * np.median(largest[largest > 0]))


def silent_channels(layer: Layer, largest_input: float, largest_output: float) -> np.ndarray:
    """bool (O,): channels with hardly any weights whose output is zero for all inputs of a size.

    largest_input, largest_output: real, magnitudes.
    """
    weights = layer.consts["weights"]
    rows = np.abs(weights.reshape(len(weights), -1).astype(np.float64))
    found = np.zeros(len(rows), dtype=bool)
    if layer.act.kind not in _ACTIVATIONS or len(rows) != len(layer.consts["bias"]):
        return found
    size = rows.max(axis=1)
    if not size.any():
        return found
    highest = layer.consts["bias"] + rows.sum(axis=1) * largest_input
    return np.asarray(_hardly_any(size) & (highest <= _ZERO * largest_output))


def with_weights(layer: Layer, silent: np.ndarray, largest_input: float) -> Layer:
    """The layer with one weight of the usual size in each silent channel, and a bias below all
    that it can bring."""
    weights, bias = layer.consts["weights"].copy(), layer.consts["bias"].copy()
    rows = weights.reshape(len(weights), -1)
    usual = np.float32(np.median(np.abs(rows[~silent]).max(axis=1)))
    rows[silent] = 0
    rows[silent, 0] = usual
    bias[silent] = -usual * np.float32(_BEYOND * largest_input)
    return with_consts(layer, weights, bias)


def without_silent(graph: Graph, program: Program, scheme: Scheme) -> tuple[Graph, dict[str, int]]:
    """(the network with weights in its silent channels, layer -> how many it has).

    Only layers whose channels have scales of their own in `program`.
    """
    layers, found = [], dict[str, int]()
    for index, layer in enumerate(graph):
        if layer.facts.linear and "weights" in layer.consts:
            x, y = program.tensors[layer.inputs[0]], program.tensors[layer.outputs[0]]
            largest = max(abs(x.qmin + x.zero_point), abs(x.qmax + x.zero_point)) / x.scale
            silent = silent_channels(layer, largest, (y.qmax + y.zero_point) / y.scale)
            own = len(scheme.linear(index, layer, x, y).mult) > 1
            if own and silent.any() and not silent.all():
                layer = with_weights(layer, silent, largest)
                found[layer.name] = int(silent.sum())
        layers.append(layer)
    return (dataclasses.replace(graph, layers=layers) if found else graph), found


def steps_gain(before: Program, after: Program, names: dict[str, int], graph: Graph) -> float:
    """dB by which the steps of channels with weights come nearer to what each alone would have.

    before, after: programs of two networks that differ in silent channels; graph: the first;
    names: layers, of both.
    """
    noise = [0.0, 0.0]
    for layer in graph:
        if layer.name not in names:
            continue
        rows = np.abs(layer.consts["weights"].reshape(len(layer.consts["bias"]), -1)).max(axis=1)
        live = ~_hardly_any(rows)
        for side, program in enumerate((before, after)):
            x, y = program.tensors[layer.inputs[0]], program.tensors[layer.outputs[0]]
            op = next(o for o in program.ops if o.layer == layer.name and "weights" in o.consts)
            real = real_multiplier(op.consts["mult"], op.consts["shift"])
            wanted = y.scale * rows / (x.scale * 127.0)
            noise[side] += float(np.square((real / np.maximum(wanted, 1e-30))[live] - 1).sum())
    return ratio_db(max(noise[0], 1e-12), max(noise[1], 1e-12))
