"""Batch norms, which are also what arithmetic with constants becomes."""

from __future__ import annotations

import numpy as np

from r329fast.graph.activations import activate
from r329fast.graph.ir import BatchNormAttrs, Layer
from r329fast.graph.lower.builder import Builder, Value
from r329fast.graph.lower.operator import LayerWriter, Operator
from r329fast.graph.lower.rules import (
    constraint_constant_weights,
    constraint_first_output,
    constraint_inference,
)
from r329fast.graph.onnx.model import Node
from r329fast.graph.onnx.writer import Writer


def import_batchnorm(builder: Builder, node: Node) -> None:
    """BatchNormalization -> BatchNorm, still as (x - mean) * scale + shift (see `affine`)."""
    model = builder.model
    gamma, beta, mean, var = (model.floats(name).reshape(-1) for name in node.inputs[1:5])
    epsilon = np.float32(node.attr("epsilon", 1e-5))
    with np.errstate(all="ignore"):  # what is not finite is reported once layers are settled
        scale = gamma / np.sqrt(var + epsilon)
    source = builder.channels_last(builder.held(node.inputs[0]))
    affine(builder, node, source, scale, beta, mean)


def affine(
    builder: Builder,
    node: Node,
    source: Value,
    scale: np.ndarray,
    shift: np.ndarray,
    mean: np.ndarray | None = None,
) -> None:
    """A BatchNorm layer in the form (x - mean) * scale + shift, per channel of the last axis.

    The form keeps the float32 rounding of a norm that is folded into a convolution afterwards;
    `fusion.settle_norms` turns what is left into y = x * weights + bias.
    """
    channels = builder.stored(source)[-1] if builder.stored(source) else 1

    def spread(values: np.ndarray) -> np.ndarray:
        flat = np.asarray(values, np.float32).reshape(-1)
        return np.ascontiguousarray(np.broadcast_to(flat, (channels,)))

    builder.like(
        node,
        "BatchNorm",
        BatchNormAttrs(),
        source,
        {
            "scale": spread(scale),
            "shift": spread(shift),
            "mean": spread(np.zeros(1) if mean is None else mean),
        },
    )


def write_batch_norm(w: Writer, layer: Layer) -> str:
    source = w.names[layer.inputs[0]]
    weights, bias = layer.consts["weights"], layer.consts["bias"]
    if w.is_map(layer.inputs[0]):
        # one pass instead of two; with mean 0, variance 1 and epsilon 0 it is x * w + b
        zero, one = w.const(np.zeros_like(bias)), w.const(np.ones_like(bias))
        consts = [w.const(weights), w.const(bias), zero, one]
        result = w.node("BatchNormalization", [source, *consts], epsilon=0.0)
    else:
        result = w.node("Add", [w.node("Mul", [source, w.const(weights)]), w.const(bias)])
    return activate(w, result, layer)


OPERATORS = {
    "BatchNormalization": Operator(
        import_batchnorm,
        "folded into the convolution before it, or BatchNorm",
        (constraint_constant_weights, constraint_inference, constraint_first_output),
    ),
}

WRITERS: dict[str, LayerWriter] = {"BatchNorm": write_batch_norm}
