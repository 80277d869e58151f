"""Scales of a binary's tensors from its float network: biases tell them.

A stored bias is b * s_in * s_w, floored to its low bits; b and s_w follow from the float network,
so that s_in is the slope of a least-squares line over all channels of all layers that read the
tensor. What no biased layer reads follows from multipliers, to their 8 bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from r329fast.graph.ir import Graph, Layer, ReduceAttrs
from r329fast.program.program import Op
from r329fast.quantization.aqt2021 import ADD_BASE, fit_bias
from r329fast.quantization.fixed_point import real_multiplier

_FULL = 255.0  # a concat's multipliers are 255 * ratio, in 8 bits


@dataclass(frozen=True)
class Scale:
    """Levels per real unit; exact: from `points` biases, else from 8-bit multipliers."""

    value: float
    exact: bool
    points: int = 0


def scale_sources(graph: Graph) -> dict[str, str]:
    """Tensor -> the tensor that it takes its scale from (itself where it has its own)."""
    source: dict[str, str] = {}
    for layer in graph:
        for name in layer.outputs:
            inherits = layer.facts.keeps_scale or isinstance(layer.attrs, ReduceAttrs)
            source[name] = source[layer.inputs[0]] if inherits else name
    return source


def recover_scales(
    graph: Graph, theirs: Mapping[str, Op], weight_scales: Mapping[str, np.ndarray]
) -> dict[str, Scale]:
    """Scale of every tensor of `graph`, as far as it can be told.

    theirs: layer name -> the binary's op for it (layers that only move have none); weight_scales:
    layer name -> (1,) or (O,) levels per unit of its weights.
    """
    source = scale_sources(graph)
    found: dict[str, Scale] = {}
    points: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for layer in graph:
        if layer.name in weight_scales and layer.name in theirs:
            pair = _bias_points(layer, theirs[layer.name], weight_scales[layer.name])
            points.setdefault(source[layer.inputs[0]], []).append(pair)
    for name, pairs in points.items():
        real = np.concatenate([pair[0] for pair in pairs])
        stored = np.concatenate([pair[1] for pair in pairs])
        if float(real @ real) > 0:
            found[name] = Scale(float(real @ stored / (real @ real)), True, len(real))
    for _ in range(2):  # forwards, and once more for what was found backwards
        for layer in graph:
            _follow(layer, theirs.get(layer.name), weight_scales, source, found)
    return {name: found[origin] for name, origin in source.items() if origin in found}


def _bias_points(layer: Layer, op: Op, weight_scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(b * s_w, stored bias in the middle of what its low bits were floored from)."""
    bias = op.consts["bias"].astype(np.int64)
    _, shift = fit_bias(bias, 16)
    live = np.broadcast_to(op.consts["mult"] > 0, bias.shape)
    middle = bias + (2**shift - 1) / 2
    return (layer.consts["bias"].astype(np.float64) * weight_scale)[live], middle[live]


def _follow(
    layer: Layer,
    op: Op | None,
    weight_scales: Mapping[str, np.ndarray],
    source: Mapping[str, str],
    found: dict[str, Scale],
) -> None:
    """Scales that a layer's multipliers tell from those that are known."""
    if op is None or not layer.inputs:
        return
    inputs = [source[name] for name in layer.inputs]
    output = source[layer.outputs[0]]
    ratio = real_multiplier(op.consts["mult"], op.consts["shift"])
    if layer.name in weight_scales and inputs[0] in found:
        live = np.broadcast_to(op.consts["mult"] > 0, ratio.shape)
        values = (ratio * found[inputs[0]].value * weight_scales[layer.name])[live]
        found.setdefault(output, Scale(float(np.median(values)), False))
    elif op.kind == "eltwise":
        factors = op.consts["scales"].astype(np.float64)
        for name, factor in zip(inputs, factors, strict=True):
            if name in found:
                largest = found[name].value * factor / ADD_BASE
                for other, its in zip(inputs, factors, strict=True):
                    found.setdefault(other, Scale(largest * ADD_BASE / its, False))
                found.setdefault(output, Scale(float(ratio[0]) * ADD_BASE * largest, False))
                break
    elif op.kind == "concat":
        shares = np.where(op.consts["shift"] == 0, _FULL, op.consts["mult"]).astype(np.float64)
        shares = shares / _FULL
        for name, share in zip(inputs, shares, strict=True):
            if name in found:
                found.setdefault(output, Scale(found[name].value * share, False))
        if output in found:
            for name, share in zip(inputs, shares, strict=True):
                found.setdefault(name, Scale(found[output].value / share, False))
