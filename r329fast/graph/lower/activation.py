"""Activations (their table is `graph/activations.py`) and operators that vanish."""

from __future__ import annotations

import numpy as np

from r329fast.graph.activations import BY_OPERATOR, activate
from r329fast.graph.ir import ActivationAttrs, Layer
from r329fast.graph.issues import FORM
from r329fast.graph.lower.builder import Builder
from r329fast.graph.lower.operator import LayerWriter, Operator
from r329fast.graph.lower.rules import constraint_first_output, constraint_inference
from r329fast.graph.onnx.model import Node, OnnxModel
from r329fast.graph.onnx.writer import Writer
from r329fast.graph.rule import Result, advise


@advise("cut the graph in front of it (--output) and cast outside of the model", FORM)
def constraint_float_cast(node: Node, model: OnnxModel) -> Result:
    """The cast must be from a floating-point type to another."""
    code = int(node.attr("to", 1))
    # TensorProto codes of float32, float16, float64, bfloat16
    return code in (1, 10, 11, 16), f"to type {code}"


def import_activation(builder: Builder, node: Node) -> None:
    """Relu, Clip, Sigmoid, ... -> Activation (fused into its producer later where it can be)."""
    model, (reader, row) = builder.model, BY_OPERATOR[node.op]
    source, consts = builder.held(node.inputs[0]), {}
    if row.per_channel:
        source = builder.channels_last(source)
        channels = builder.stored(source)[-1]
        slope = model.floats(node.inputs[1]).reshape(-1)
        consts["slope"] = np.ascontiguousarray(np.broadcast_to(slope, (channels,)))
    attrs = ActivationAttrs(reader.act(node, model))
    builder.like(node, "Activation", attrs, source, consts)


def import_identity(builder: Builder, node: Node) -> None:
    """Identity, Dropout and casts between floats vanish."""
    builder.values[node.outputs[0]] = builder.held(node.inputs[0])


def write_activation(w: Writer, layer: Layer) -> str:
    result = activate(w, w.names[layer.inputs[0]], layer)
    w.name_last(layer.name)  # of several nodes the reader takes the last one's name
    return result


OPERATORS = {
    **{
        op: Operator(
            import_activation,
            "Activation, or fused" if row.fusable else "Activation",
            reader.needs,
        )
        for op, (reader, row) in BY_OPERATOR.items()
    },
    "Identity": Operator(import_identity, "nothing"),
    "Dropout": Operator(
        import_identity, "nothing", (constraint_inference, constraint_first_output)
    ),
    "Cast": Operator(import_identity, "nothing", (constraint_float_cast,)),
}

WRITERS: dict[str, LayerWriter] = {"Activation": write_activation}
