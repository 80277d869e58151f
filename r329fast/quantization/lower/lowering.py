"""Graph layers -> ops of the flat list, with the integer parameters that a scheme answers."""

from __future__ import annotations

import dataclasses
import re

from r329fast.calibration.ranges import Ranges
from r329fast.errors import DataError, ProgramError, R329Error, UnsupportedModelError
from r329fast.graph.ir import LAYER_TYPES, Graph, Layer
from r329fast.program.program import AttrValue, LayerRecord, Program
from r329fast.quantization.given import given_spec
from r329fast.quantization.lower import compute as lower_compute
from r329fast.quantization.lower import movement as lower_movement
from r329fast.quantization.lower import normalise as lower_normalise
from r329fast.quantization.lower import reduce as lower_reduce
from r329fast.quantization.lower import unary as lower_unary
from r329fast.quantization.lower.context import Lowering, Rule
from r329fast.quantization.scheme import Scheme

# Layer type -> the function that writes its ops.
RULES: dict[str, Rule] = {
    **{name: lower_movement.moved for name, facts in LAYER_TYPES.items() if facts.op},
    **lower_compute.RULES,
    **lower_movement.RULES,
    **lower_normalise.RULES,
    **lower_reduce.RULES,
    **lower_unary.RULES,
}


def lower(graph: Graph, ranges: Ranges, scheme: Scheme) -> Program:
    """Quantise every layer of `graph`; the result is verified against the op list's spec."""
    low = Lowering(graph, ranges, scheme)
    try:
        for low.index, layer in enumerate(graph):
            lower_layer(low, layer)
    except ProgramError as error:
        raise _refusal(error) from error
    if low.without_rule:
        raise UnsupportedModelError(_advice(low))
    program = Program(
        graph.name,
        scheme.name,
        low.tensors,
        low.ops,
        low.records,
        graph.inputs,
        graph.outputs,
        _option_words(scheme),
    )
    try:
        program.verify()
    except ProgramError as error:
        raise _refusal(error) from error
    return program


def _refusal(error: ProgramError) -> R329Error:
    """What the user gave, and cannot be quantised, in place of a broken rule of the op list."""
    if any(word in error.message for word in ("mult outside", "shift outside")):
        text = f"{error.message}: the ranges of its input and output do not go together"
        return DataError(text, **error.details)
    text = f"the quantised model breaks a rule of the op list: {error.message}"
    return UnsupportedModelError(text, layer=error.details.get("layer"))


def _advice(low: Lowering) -> str:
    """What has no rule for 16 bits, and the layers to keep at 8 bits."""
    layers = {layer.name: layer for layer in low.graph}
    makers = {name: layer for layer in low.graph for name in layer.outputs}
    narrow: dict[str, None] = {}
    for name in low.without_rule:
        layer = layers[name]
        for source in (*(makers[tensor] for tensor in layer.inputs), layer):
            # what only moves integers has the width of what it reads
            while source.inputs and source.facts.keeps(source.attrs):
                source = makers[source.inputs[0]]
            if low.tensors[source.outputs[0]].bits > 8 or source is layer:
                narrow[source.name] = None
    found = ", ".join(f"{layers[name].type} {name!r}" for name in low.without_rule)
    names = "|".join(re.escape(name) + "$" for name in narrow)
    return (
        f"no 16-bit rule for {found}: keep these and what they read at 8 bits, "
        f"[Optimizer] activation_bits = 16 & <{{{names}}}:8>"
    )


def _option_words(scheme: Scheme) -> dict[str, str]:
    return {
        field.name: str(getattr(scheme.options, field.name))
        for field in dataclasses.fields(scheme.options)
    }


def _detail(layer: Layer) -> dict[str, AttrValue]:
    """The layer's attributes as plain words and integers, for files and tables."""
    parts: dict[str, AttrValue] = {f"part{i}": name for i, name in enumerate(layer.parts)}
    return parts | {
        field.name: value
        for field in dataclasses.fields(layer.attrs)
        if isinstance(value := getattr(layer.attrs, field.name), int | str | tuple)
        and not (isinstance(value, tuple) and any(isinstance(item, tuple) for item in value))
    }


def lower_layer(low: Lowering, layer: Layer) -> None:
    """Append the ops and the record of one layer, whose inputs are lowered already."""
    first = len(low.ops)
    inputs = [low.tensors[name] for name in layer.inputs]
    outputs = []
    for name in layer.outputs:
        shape = low.graph.shapes[name]
        spec = low.scheme.tensor(low.index, layer, name, shape, inputs, low.ranges)
        if name in low.graph.given:
            symmetric = low.scheme.name == "aqt2021"
            found = given_spec(low.graph.given[name], layer, spec, symmetric)
            spec = spec if isinstance(found, str) else found
        low.tensors[name] = spec
        outputs.append(spec)
    RULES[layer.type](low, layer, inputs, outputs)
    for asked in outputs:
        if asked.itemsize > low.tensors[asked.name].itemsize:  # the rule knows only bytes
            low.without_rule[layer.name] = asked.name
    low.records.append(
        LayerRecord(
            layer.name,
            layer.type,
            layer.inputs,
            layer.outputs,
            (first, len(low.ops)),
            layer.act.kind,
            _detail(layer),
        )
    )
