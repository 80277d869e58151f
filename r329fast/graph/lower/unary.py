"""Functions of single elements that are layers of their own."""

from __future__ import annotations

from r329fast.graph.ir import Layer, PowAttrs, UnaryAttrs
from r329fast.graph.lower.builder import Builder
from r329fast.graph.lower.operator import LayerWriter, Operator
from r329fast.graph.onnx.model import Node
from r329fast.graph.onnx.writer import Writer

# ONNX operator -> layer type.
TYPES = {
    "Abs": "Abs",
    "Cos": "Cosine",
    "Erf": "Erf",
    "Exp": "Exp",
    "Log": "Log",
    "Reciprocal": "Reciprocal",
    "Sin": "Sine",
    "Sqrt": "Sqrt",
}
_OPERATORS = {kind: op for op, kind in TYPES.items()}


def import_unary(builder: Builder, node: Node) -> None:
    """Abs, Exp, Log, ... -> the layer of that name."""
    builder.like(node, TYPES[node.op], UnaryAttrs(), builder.held(node.inputs[0]))


def write_unary(w: Writer, layer: Layer) -> str:
    return str(w.node(_OPERATORS[layer.type], [w.names[layer.inputs[0]]]))


def write_negative(w: Writer, layer: Layer) -> str:
    return str(w.node("Neg", [w.names[layer.inputs[0]]]))


def write_square(w: Writer, layer: Layer) -> str:
    source = w.names[layer.inputs[0]]
    return str(w.node("Mul", [source, source]))


def write_rsqrt(w: Writer, layer: Layer) -> str:
    return str(w.node("Reciprocal", [w.node("Sqrt", [w.names[layer.inputs[0]]])]))


def write_power(w: Writer, layer: Layer) -> str:
    exponent = w.scalar(layer.params(PowAttrs).exponent)
    return str(w.node("Pow", [w.names[layer.inputs[0]], exponent]))


OPERATORS = {op: Operator(import_unary, kind) for op, kind in TYPES.items()}

WRITERS: dict[str, LayerWriter] = {
    **dict.fromkeys(_OPERATORS, write_unary),
    "Negative": write_negative,
    "Square": write_square,
    "Rsqrt": write_rsqrt,
    "Pow": write_power,
}
