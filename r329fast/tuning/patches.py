"""Places of a layer's output that stand for all, and what the layer reads there."""

from __future__ import annotations

import numpy as np

from r329fast.graph.ir import ConvAttrs, Graph, Layer, Weights

_LEAST, _MOST = 6_000, 12_000  # samples of a layer over all images, whatever its width
_PER_WEIGHT = 2  # samples for each weight of an output channel


_FORMS = (Weights.WINDOW, Weights.DEPTHWISE, Weights.MATRIX)


def is_fitted(layer: Layer) -> bool:
    """Whether tuning changes the layer's weights: convolutions and fully connected layers."""
    return layer.facts.weights in _FORMS


def sample_count(layer: Layer) -> int:
    """How many samples of a layer's output its weights are fitted to (all, where there are few)."""
    width = int(np.prod(layer.consts["weights"].shape[1:])) if is_fitted(layer) else 0
    return int(np.clip(_PER_WEIGHT * width, _LEAST, _MOST))


def choose_places(graph: Graph, layer: Layer, images: int, seed: int) -> np.ndarray:
    """int64 [N, P]: for each image, sorted flat places (h * W + w) of the layer's first output.

    Depends on nothing but the arguments, so that a run that is resumed chooses the same.
    """
    shape = graph.shapes[layer.outputs[0]]
    area = int(np.prod(shape[:-1]))
    each = min(area, -(-sample_count(layer) // images))
    if each == area:
        return np.broadcast_to(np.arange(area), (images, area))
    index = next(i for i, other in enumerate(graph) if other is layer)
    rng = np.random.default_rng([seed, index])
    return np.sort(rng.permuted(np.tile(np.arange(area), (images, 1)), axis=1)[:, :each], axis=1)


def at_places(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """[N, ..., C] at the places: [N, P, C]. A view in another order is read where it stands."""
    image = np.arange(len(values))[:, None]
    if values.ndim == 4:
        rows, columns = np.divmod(places, values.shape[2])
        return np.asarray(values[image, rows, columns])
    return np.asarray(values.reshape(len(values), -1, values.shape[-1])[image, places])


def layer_inputs(
    layer: Layer,
    x: np.ndarray,
    images: np.ndarray,
    places: np.ndarray,
    width: int,
    zero_point: int = 0,
    pad: np.ndarray | float = 0.0,
) -> np.ndarray:
    """What the layer multiplies by its weights at each place: float32 [S * P, kh * kw, Cin].

    x: [N, H, W, C] (or [N, Cin] of a fully connected layer: [S, 1, Cin]); images: int64 [S] of x,
    places: [S, P] of the output; width: W of the
    output; zero_point: added to what is read; pad: what stands outside the map.
    """
    if layer.facts.weights is Weights.MATRIX:
        return x[images].reshape(len(images), 1, -1).astype(np.float32) + np.float32(zero_point)
    attrs = layer.params(ConvAttrs)
    rows, columns = np.divmod(places, width)
    (high, wide), (top, left) = x.shape[1:3], attrs.pads[:2]
    iy = rows[..., None] * attrs.stride[0] - top + np.arange(attrs.kernel[0]) * attrs.dilation[0]
    ix = (
        columns[..., None] * attrs.stride[1] - left + np.arange(attrs.kernel[1]) * attrs.dilation[1]
    )
    inside = ((iy >= 0) & (iy < high))[..., :, None] & ((ix >= 0) & (ix < wide))[..., None, :]
    image = images[:, None, None, None]
    found = x[image, np.clip(iy, 0, high - 1)[..., :, None], np.clip(ix, 0, wide - 1)[..., None, :]]
    result = found.astype(np.float32)
    result += np.float32(zero_point)
    if not inside.all():
        result[~inside] = pad
    return result.reshape(-1, attrs.kernel[0] * attrs.kernel[1], x.shape[-1])
