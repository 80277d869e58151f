"""How much of an error in a channel arrives at the network's output: from the float network.

The error of one value in channel c of a tensor changes the outputs by the derivatives there; the
energy that arrives is the sum of their squares over all outputs. Summed over outputs by random
signs (v^T J, whose square has the sum of squares as its mean), it is one pass from the outputs
back to the inputs. The same for the differences between the first classes of each image, so that
what changes their order counts as much as what moves the many low outputs.
"""

from __future__ import annotations

import numpy as np

from r329fast.graph.export.float_session import FloatSession
from r329fast.graph.ir import (
    ActivationAttrs,
    ConcatAttrs,
    ConvAttrs,
    EltwiseAttrs,
    Graph,
    Layer,
    PoolingAttrs,
    ReduceAttrs,
    ReshapeAttrs,
    Weights,
)
from r329fast.tuning.patches import is_fitted
from r329fast.tuning.score import FIRST, centred, first_classes

_IMAGES = 24
_DRAWS = 2  # of signs, for each image and objective
_SIGNS = np.array([-1, 1], np.float32)
_BLOCK = 4  # images at a time
_ACTS = ("NONE", "RELU", "RELU6")


def can_follow(graph: Graph) -> bool:
    """Whether errors can be followed through every layer of the network."""
    return all(layer.is_input or _followed(layer, graph) for layer in graph)


def _followed(layer: Layer, graph: Graph) -> bool:
    attrs = layer.attrs
    if layer.act.kind not in _ACTS or len(layer.outputs) != 1:
        return False
    if is_fitted(layer):
        dense = layer.facts.weights is not Weights.DEPTHWISE
        return not (dense and isinstance(attrs, ConvAttrs) and attrs.group > 1)
    if isinstance(attrs, EltwiseAttrs):
        alike = len({graph.shapes[name] for name in layer.inputs}) == 1
        return attrs.method in ("ADD", "SUB") and alike
    if isinstance(attrs, PoolingAttrs):
        return not attrs.ceil_mode or attrs.method == "MAX"
    if isinstance(attrs, ConcatAttrs):
        return attrs.axis in (-1, len(graph.shapes[layer.outputs[0]]) - 1)
    if isinstance(attrs, ReduceAttrs):
        return attrs.method == "MEAN"
    return isinstance(attrs, ActivationAttrs | ReshapeAttrs)


def arrivals(
    graph: Graph, x: np.ndarray, seed: int, threads: int = 1, order: bool = True
) -> dict[str, np.ndarray]:
    """Tensor -> float64 (C,): output energy per unit of energy in one value of the channel, summed
    over the places of a map, mean over images of x, float32 [N, ...].

    With `order`, and more classes than `score.FIRST`, the energy in the differences between the
    first ones is added, in relation to theirs as the other is to that of all. {} where a layer of
    the network cannot be followed.
    """
    if not can_follow(graph):
        return {}
    chosen = x[:: max(len(x) // _IMAGES, 1)][:_IMAGES]
    session = FloatSession(graph, keep="all", threads=threads)
    rng = np.random.default_rng(seed)
    totals: list[dict[str, np.ndarray]] = [{}, {}]
    energies = np.zeros(2)
    for first in range(0, len(chosen), _BLOCK):
        block = np.ascontiguousarray(chosen[first : first + _BLOCK])
        values = {graph.inputs[0]: block, **session.run(block)}
        output = values[graph.outputs[0]]
        energies += _energies(output)
        for _ in range(_DRAWS):
            for total, signs in zip(totals, _signs(rng, output)[: 1 + order], strict=False):
                for name, slope in output_slopes(graph, values, signs).items():
                    each = np.square(slope.reshape(-1, slope.shape[-1]), dtype=np.float64)
                    total[name] = total.get(name, 0.0) + each.sum(axis=0)
    share = energies[0] / max(energies[1], 1e-30)
    count = _DRAWS * len(chosen)
    return {
        name: (total + share * totals[1].get(name, 0.0)) / count
        for name, total in totals[0].items()
    }


def _energies(output: np.ndarray) -> np.ndarray:
    """float64 (2,): of all values, of the differences between the first classes."""
    rows = output.reshape(-1, output.shape[-1]).astype(np.float64)
    whole = float(np.square(rows).sum())
    if rows.shape[-1] <= FIRST:
        return np.array([whole, 0.0])
    best = np.take_along_axis(rows, first_classes(rows), 1)
    return np.array([whole, float(np.square(centred(best)).sum())])


def _signs(rng: np.random.Generator, output: np.ndarray) -> list[np.ndarray]:
    """Random signs for all outputs; and, where there are more, for the first classes of each row,
    less their mean, so that only differences count."""
    found = [rng.choice(_SIGNS, output.shape)]
    rows = output.reshape(-1, output.shape[-1])
    if rows.shape[-1] > FIRST:
        signs = np.zeros(rows.shape, np.float32)
        drawn = centred(rng.choice(_SIGNS, (len(rows), FIRST)))
        np.put_along_axis(signs, first_classes(rows), drawn, 1)
        found.append(signs.reshape(output.shape))
    return found


def output_slopes(
    graph: Graph, values: dict[str, np.ndarray], signs: np.ndarray
) -> dict[str, np.ndarray]:
    """Tensor -> float32 [N, ...], the derivatives of the sum of signs * output, as `values` are."""
    slopes = {graph.outputs[0]: signs}
    for layer in reversed(graph.layers):
        name = layer.outputs[0]
        if layer.is_input or name not in slopes:
            continue
        slope = slopes[name]
        if layer.act.kind in ("RELU", "RELU6"):
            open_ = values[name] > 0
            if layer.act.kind == "RELU6":
                open_ &= values[name] < 6
            slope = slope * open_
        for source, part in zip(layer.inputs, _back(layer, slope, values), strict=True):
            slopes[source] = slopes[source] + part if source in slopes else part
    return slopes


def _back(layer: Layer, slope: np.ndarray, values: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Slopes with respect to the layer's inputs."""
    attrs, source = layer.attrs, values[layer.inputs[0]]
    if layer.facts.weights is Weights.MATRIX:
        return [(slope @ layer.consts["weights"]).reshape(source.shape)]
    if is_fitted(layer):
        return [_conv_back(layer, slope, source)]
    if isinstance(attrs, EltwiseAttrs):
        return [slope, -slope if attrs.method == "SUB" else slope]
    if isinstance(attrs, PoolingAttrs):
        return [_pool_back(attrs, slope, source, values[layer.outputs[0]])]
    if isinstance(attrs, ConcatAttrs):
        ends = np.cumsum([values[name].shape[-1] for name in layer.inputs])[:-1]
        return np.split(slope, ends, axis=-1)
    if isinstance(attrs, ReduceAttrs):
        axes = tuple(axis + 1 for axis in attrs.axes)
        count = np.prod([source.shape[axis] for axis in axes])
        shape = [1 if i in axes else size for i, size in enumerate(source.shape)]
        return [np.broadcast_to(slope.reshape(shape) / np.float32(count), source.shape)]
    return [slope.reshape(source.shape)]


def _windows(attrs: ConvAttrs | PoolingAttrs, size: tuple[int, int], out: tuple[int, int]):  # type: ignore[no-untyped-def]
    """(row slice, column slice) in the padded map of each tap, and the padded size."""
    spans = [
        (kernel - 1) * dilation + 1 + (count - 1) * stride
        for kernel, dilation, stride, count in zip(
            attrs.kernel, attrs.dilation, attrs.stride, out, strict=True
        )
    ]
    padded = tuple(
        max(have + before + after, span)
        for have, before, after, span in zip(
            size, attrs.pads[:2], attrs.pads[2:], spans, strict=True
        )
    )
    taps = [
        tuple(
            slice(start, start + (count - 1) * stride + 1, stride)
            for start, count, stride in zip(
                (row * attrs.dilation[0], column * attrs.dilation[1]),
                out,
                attrs.stride,
                strict=True,
            )
        )
        for row in range(attrs.kernel[0])
        for column in range(attrs.kernel[1])
    ]
    return taps, padded


def _cropped(attrs: ConvAttrs | PoolingAttrs, found: np.ndarray, like: np.ndarray) -> np.ndarray:
    top, left = attrs.pads[:2]
    return found[:, top : top + like.shape[1], left : left + like.shape[2]]


def _conv_back(layer: Layer, slope: np.ndarray, source: np.ndarray) -> np.ndarray:
    attrs, weights = layer.params(ConvAttrs), layer.consts["weights"]
    taps, padded = _windows(attrs, source.shape[1:3], slope.shape[1:3])
    found = np.zeros((len(source), *padded, source.shape[-1]), np.float32)
    flat = weights.reshape(len(weights), -1, weights.shape[-1])
    for index, (rows, columns) in enumerate(taps):
        if layer.facts.weights is Weights.DEPTHWISE:
            part = slope * flat[:, index, 0]
            part = part.reshape(*part.shape[:-1], source.shape[-1], -1).sum(axis=-1)
        else:
            part = slope @ flat[:, index]
        found[:, rows, columns] += part
    return _cropped(attrs, found, source)


def _pool_back(
    attrs: PoolingAttrs, slope: np.ndarray, source: np.ndarray, output: np.ndarray
) -> np.ndarray:
    taps, padded = _windows(attrs, source.shape[1:3], output.shape[1:3])
    shape = (len(source), *padded, source.shape[-1])
    found = np.zeros(shape, np.float32)
    top, left = attrs.pads[:2]
    inside = (slice(None), slice(top, top + source.shape[1]), slice(left, left + source.shape[2]))
    if attrs.method == "MAX":
        filled = np.full(shape, -np.inf, np.float32)
        filled[inside] = source
        open_ = np.ones(output.shape, dtype=bool)
        for rows, columns in taps:  # the first of equal values
            first = open_ & (filled[:, rows, columns] == output)
            found[:, rows, columns] += slope * first
            open_ &= ~first
    else:
        ones = np.zeros(shape, np.float32)
        ones[inside] = 1
        if attrs.count_include_pad:
            ones[:] = 1
        count = sum(ones[:, rows, columns] for rows, columns in taps)
        for rows, columns in taps:
            found[:, rows, columns] += slope / count
    return _cropped(attrs, found, source)
