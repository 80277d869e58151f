"""Scales, zero points and integer weights of a quantised file, taken as they stand where they fit.

A scheme decides what it can hold: aqt2021 has no zero points, and layers that only move integers
have those of their input. What could not be taken is reported, and then chosen by the scheme.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict

import numpy as np

from r329fast.graph.ir import (
    ActivationAttrs,
    ConcatAttrs,
    EltwiseAttrs,
    Given,
    Graph,
    InputAttrs,
    Layer,
    Weights,
)
from r329fast.program.program import Program, TensorSpec
from r329fast.quantization.fixed_point import Int64Array

# Layers whose result may be of either sign and have a zero point, whatever the scheme would choose.
_FREE = (ActivationAttrs, ConcatAttrs, EltwiseAttrs, InputAttrs)
_WHOLE = 1e-3  # how far from a whole number a weight may lie, in steps


def given_spec(given: Given, layer: Layer, spec: TensorSpec, symmetric: bool) -> TensorSpec | str:
    """The tensor that a file describes in place of the scheme's `spec`, or why it cannot be.

    symmetric: whether the scheme has no zero points. A zero point above 127 becomes one below by
    storing every integer 128 less, which is the same number.
    """
    if layer.facts.keeps(layer.attrs):
        return "its layer keeps the scale of its input"
    if spec.itemsize > 1:
        return "16 bits are asked for"
    low = 0 if given.dtype == "uint8" else -128
    zero = given.zero - low  # as if it were unsigned: 0 to 255
    if zero == 0:
        made = dataclasses.replace(spec, dtype="uint8", zero_point=0, qmin=0, qmax=255)
    elif symmetric and zero != 128:
        return f"zero point {given.zero}, and the scheme has none"
    elif given.dtype == "uint8" and 0 < zero < 128:
        made = dataclasses.replace(spec, dtype="uint8", zero_point=-zero, qmin=0, qmax=255)
    else:
        made = dataclasses.replace(spec, dtype="int8", zero_point=128 - zero, qmin=-128, qmax=127)
    made = dataclasses.replace(made, scale=float(np.float32(1.0 / given.step)))
    free = layer.facts.weighted or isinstance(layer.attrs, _FREE)
    if not free and (made.dtype, made.zero_point) != (spec.dtype, spec.zero_point):
        return f"its layer type has {spec.dtype}, zero point {spec.zero_point}"
    return made


def given_weights(layer: Layer) -> tuple[Int64Array, np.ndarray] | None:
    """(the file's integers in the layer's own shape, scales float64 (1,) or (O,)) of a layer.

    None where the file has none, or where what was folded into the weights (a batch norm, a
    factor) made other numbers of them.
    """
    steps = np.asarray(layer.weight_steps, np.float64)
    weights = layer.consts.get("weights")
    if weights is None or not steps.size or layer.facts.weights is Weights.TRANSPOSED:
        return None
    if steps.size not in (1, len(weights)) or not layer.facts.linear:
        return None
    real = weights.astype(np.float64) / steps.reshape(-1, *[1] * (weights.ndim - 1))
    whole = np.rint(real)
    if np.abs(real - whole).max() > _WHOLE or whole.min() < -128 or whole.max() > 127:
        return None
    return whole.astype(np.int64), 1.0 / steps


def given_report(graph: Graph, program: Program) -> list[str]:
    """What of a quantised file the program could not hold, with each reason; empty if nothing."""
    layers = {name: layer for layer in graph for name in layer.outputs}
    refused: dict[str, list[str]] = defaultdict(list)
    taken = 0
    for name, given in graph.given.items():
        spec, layer = program.tensors[name], layers[name]
        found = given_spec(given, layer, spec, program.scheme == "aqt2021")
        if found == spec or _means(given, spec):
            taken += 1
        else:
            refused[found if isinstance(found, str) else "its layer has a scale of its own"].append(
                name
            )
    weights = [layer for layer in graph if layer.weight_steps]
    kept = 0
    for layer in weights:
        held = given_weights(layer)
        constants = {
            index: op.consts["weights"]
            for index, op in enumerate(program.ops)
            if op.layer == layer.name and "weights" in op.consts
        }
        if held is not None and any(np.array_equal(held[0], w) for w in constants.values()):
            kept += 1
        elif held is None:
            refused["something else is folded into its weights"].append(layer.name)
        else:
            refused["a channel's multiplier would be 0, or wide weights are asked for"].append(
                layer.name
            )
    if graph.given_again:
        reason = "the file quantises it a second time, with another scale, which is left out"
        refused[reason] += graph.given_again
    if not refused:
        return []
    lines = [
        f"quantised file: {taken} of {len(graph.given)} scales, {kept} of {len(weights)} integer "
        "weights are taken as they stand, for the others the scheme chooses"
    ]
    for reason, names in refused.items():
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        lines.append(
            f"quantised file: {', '.join(map(repr, names[:3]))}{more} not as it stands: {reason}"
        )
    return lines


def _means(given: Given, spec: TensorSpec) -> bool:
    """Whether a tensor's integers mean what the file's do, perhaps 128 away."""
    offset = spec.zero_point + given.zero
    return offset in (-128, 0, 128) and bool(np.isclose(spec.scale * given.step, 1.0, rtol=1e-6))
