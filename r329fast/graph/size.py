"""How large a layer is: multiply-accumulates and parameters, counted from shapes (exact)."""

from __future__ import annotations

from math import prod

from r329fast.graph.ir import Graph, Layer
from r329fast.graph.layers.facts import Shape, Weights


def sum_macs(outputs: int, weights: Shape) -> int:
    """Of `outputs` sums: weights are (outputs or channels, ...), each sum takes one such row.

    Positions in the padding count, as they do in every usual account.
    """
    return outputs * prod(weights[1:])


def transposed_macs(inputs: int, weights: Shape) -> int:
    """Of a transposed convolution: each of `inputs` elements meets (O/group, kh, kw) weights."""
    return inputs * prod(weights[:3])


def product_macs(outputs: int, first: Shape, transposed: bool) -> int:
    """Of a product of two activations; first: shape of the left one, perhaps transposed."""
    return outputs * first[-2 if transposed else -1]


def layer_macs(layer: Layer, graph: Graph) -> int:
    """Multiply-accumulates for one image; 0 for layers without sums of products."""
    outputs = prod(graph.shapes[layer.outputs[0]])
    if layer.facts.weights is Weights.TRANSPOSED:
        inputs = prod(graph.shapes[layer.inputs[0]])
        return transposed_macs(inputs, layer.consts["weights"].shape)
    if layer.facts.linear:
        return sum_macs(outputs, layer.consts["weights"].shape)
    if layer.facts.product:
        transposed = bool(getattr(layer.attrs, "trans_a", False))
        return product_macs(outputs, graph.shapes[layer.inputs[0]], transposed)
    return 0


def layer_params(layer: Layer) -> int:
    """Numbers in the layer's constants."""
    return sum(int(values.size) for values in layer.consts.values())
