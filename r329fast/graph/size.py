"""How large a layer is: multiply-accumulates and parameters, counted from shapes (exact)."""

from __future__ import annotations

from math import prod

from r329fast.graph.ir import ConvAttrs, Graph, Layer, MatMulAttrs


def layer_macs(layer: Layer, graph: Graph) -> int:
    """Multiply-accumulates for one image; 0 for layers without weights, but for MatMul.

    Positions in the padding count, as they do in every usual account.
    """
    if isinstance(layer.attrs, ConvAttrs):
        rows, cols, channels = graph.shapes[layer.outputs[0]]
        return rows * cols * channels * prod(layer.consts["weights"].shape[1:])
    if layer.type == "FullyConnected":
        return int(layer.consts["weights"].size)
    if layer.type == "MatMul":
        trans = layer.params(MatMulAttrs).trans_a
        inner = graph.shapes[layer.inputs[0]][-2 if trans else -1]
        return prod(graph.shapes[layer.outputs[0]]) * inner
    return 0


def layer_params(layer: Layer) -> int:
    """Numbers in the layer's constants."""
    return sum(int(values.size) for values in layer.consts.values())
