"""Lowering rules of functions of single elements, and of a quotient (spec B.19, B.21)."""

from __future__ import annotations

from r329fast.graph.ir import Layer, PowAttrs
from r329fast.program.program import TensorSpec
from r329fast.quantization.fixed_point import F32
from r329fast.quantization.lower.context import Consts, Lowering, Rule
from r329fast.quantization.tables import (
    UNARY_FUNCTIONS,
    function_table,
    power_table,
    reciprocal_table,
)


def function(
    low: Lowering, layer: Layer, inputs: list[TensorSpec], outputs: list[TensorSpec]
) -> None:
    x, y = inputs[0], outputs[0]
    table = function_table(UNARY_FUNCTIONS[layer.type], x, y, low.table_entries(layer, x))
    low.table_lookup(layer, x, y, table)


def power(low: Lowering, layer: Layer, inputs: list[TensorSpec], outputs: list[TensorSpec]) -> None:
    x, y = inputs[0], outputs[0]
    exponent = layer.params(PowAttrs).exponent
    table = power_table(exponent, x, y, low.table_entries(layer, x))
    low.table_lookup(layer, x, y, table)


def absolute(
    low: Lowering, layer: Layer, inputs: list[TensorSpec], outputs: list[TensorSpec]
) -> None:
    ratio = F32(outputs[0].scale) / F32(inputs[0].scale)
    consts = low.scaled(*low.scheme.activation_rescale(ratio, inputs[0].bits))
    low.emit("abs", layer, inputs, outputs[0], low.rounding, consts)


def negative(
    low: Lowering, layer: Layer, inputs: list[TensorSpec], outputs: list[TensorSpec]
) -> None:
    low.emit("negative", layer, inputs, outputs[0])


def divide(
    low: Lowering, layer: Layer, inputs: list[TensorSpec], outputs: list[TensorSpec]
) -> None:
    a, b = inputs
    ratio = F32(F32(outputs[0].scale) * F32(b.scale)) / F32(F32(a.scale) * F32(65535))
    consts: Consts = {
        **low.scaled(*low.scheme.activation_rescale(ratio, outputs[0].bits)),
        "table": (reciprocal_table(), "int32"),
    }
    low.emit("divide", layer, inputs, outputs[0], low.rounding, consts)


RULES: dict[str, Rule] = {
    **dict.fromkeys(UNARY_FUNCTIONS, function),
    "Abs": absolute,
    "Div": divide,
    "Negative": negative,
    "Pow": power,
}
