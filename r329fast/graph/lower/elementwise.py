"""Importers of activations and of arithmetic on whole tensors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from r329fast.graph.activations import BY_OPERATOR
from r329fast.graph.clip import FLOAT_MAX, clip_act
from r329fast.graph.ir import ActivationAttrs, EltwiseAttrs
from r329fast.graph.issues import Unsupported
from r329fast.graph.lower.builder import Builder, Value
from r329fast.graph.lower.compute import affine
from r329fast.graph.onnx.model import Node
from r329fast.graph.onnx.operands import const_axis

METHODS = {"Add": "ADD", "Sum": "ADD", "Sub": "SUB", "Mul": "MUL", "Max": "MAX", "Min": "MIN"}


def import_activation(builder: Builder, node: Node) -> None:
    """Relu, Clip, Sigmoid, ... -> Activation (fused into its producer later where it can be)."""
    model, (reader, row) = builder.model, BY_OPERATOR[node.op]
    source, consts = builder.value(node.inputs[0]), {}
    if row.per_channel:
        source = builder.channels_last(source)
        channels = builder.stored(source)[-1]
        slope = model.floats(node.inputs[1]).reshape(-1)
        consts["slope"] = np.ascontiguousarray(np.broadcast_to(slope, (channels,)))
    attrs = ActivationAttrs(reader.act(node, model))
    builder.like(node, "Activation", attrs, source, consts)


def import_identity(builder: Builder, node: Node) -> None:
    """Identity, Dropout and casts between floats vanish."""
    builder.values[node.outputs[0]] = builder.value(node.inputs[0])


# --- arithmetic -----------------------------------------------------------------------------


def import_binary(builder: Builder, node: Node) -> None:
    """Add, Sub, Mul, Div, Max, Min, Sum: Eltwise of activations, BatchNorm with a constant."""
    consts = builder.model.consts
    tensors = [name for name in node.inputs if name not in consts]
    constants = [name for name in node.inputs if name in consts]
    if not constants:
        _eltwise_chain(builder, node, [builder.value(name) for name in tensors])
        return
    if len(node.inputs) == 1:
        import_identity(builder, node)
        return
    if len(tensors) > 1:
        raise Unsupported(
            "three or more inputs, some of them constant", "add the constant by a node of its own"
        )
    _with_constant(builder, node, tensors[0], constants[0])


def _with_constant(builder: Builder, node: Node, tensor: str, name: str) -> None:
    const = builder.model.floats(name)
    value = builder.value(tensor)
    if node.op in ("Max", "Min"):
        bound = float(const.reshape(-1)[0])
        act = clip_act(bound, FLOAT_MAX) if node.op == "Max" else clip_act(-FLOAT_MAX, bound)
        builder.like(node, "Activation", ActivationAttrs(act), value)
        return
    rank = len(value.perm)
    shape = (1, *builder.shape(value))
    axis, simple = const_axis(const, shape)
    if not simple:
        raise Unsupported(
            f"a constant of shape {list(const.shape)} against {list(shape)}",
            "only a number or a value a channel can be folded",
        )
    source = builder.channels_last(value, axis - 1) if axis > 0 else value
    if rank == 0:
        raise Unsupported("a tensor of one number an image", "leave it out of the graph")
    flat = const.reshape(-1)
    one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
    first = node.inputs[0] == tensor
    if node.op in ("Add", "Sum"):
        affine(builder, node, source, one, flat)
    elif node.op == "Sub":
        affine(builder, node, source, one if first else -one, -flat if first else flat)
    elif node.op == "Mul":
        affine(builder, node, source, flat, zero)
    elif first:  # Div
        affine(builder, node, source, one / flat, zero)
    else:
        raise Unsupported("a constant divided by an activation", "multiply by a reciprocal instead")


def _eltwise_chain(builder: Builder, node: Node, values: list[Value]) -> None:
    """Two inputs make one Eltwise, more a chain whose last one bears the node's name."""
    if len(values) == 1:
        builder.values[node.outputs[0]] = values[0]
        return
    result = values[0]
    for index, other in enumerate(values[1:], start=1):
        last = index == len(values) - 1
        name = node.name if last else f"{node.name}_{METHODS[node.op].lower()}{index}"
        result = _eltwise(builder, node, name, result, other)
    builder.values[node.outputs[0]] = result


def _eltwise(builder: Builder, node: Node, name: str, first: Value, second: Value) -> Value:
    method = METHODS[node.op]
    a, b = builder.shape(first), builder.shape(second)
    if len(a) != len(b):
        # numpy aligns at the right, so a shorter shape would put channels against the batch
        raise Unsupported(f"inputs of {len(a)} and {len(b)} axes an image", "reshape one to match")
    if a != b:
        if np.prod(a) < np.prod(b):
            if method == "SUB":
                raise Unsupported(
                    f"the first input {list(a)} broadcasts against {list(b)}",
                    "subtract the other way round and negate",
                )
            first, second, a, b = second, first, b, a
        axes = [axis for axis, size in enumerate(b) if size > 1]
        fits = all(b[axis] == a[axis] for axis in axes)
        # one number an image is no value a channel, unless there is one channel only
        fits = fits and (bool(axes) or builder.stored(first)[-1] == 1)
        if len(axes) > 1 or not fits:
            raise Unsupported(
                f"inputs of shapes {list(a)} and {list(b)}",
                "shapes must be equal, or one input must hold one value a channel",
            )
        first = builder.channels_last(first, axes[0] if axes else 0)
    second = builder.arrange(second, first.perm)
    tensor = builder.add(
        name,
        "Eltwise",
        EltwiseAttrs(method),
        (first.tensor, second.tensor),
        builder.stored(first),
    )
    return replace(first, tensor=tensor)


def import_neg(builder: Builder, node: Node) -> None:
    """Neg -> BatchNorm with the weight -1."""
    affine(
        builder,
        node,
        builder.value(node.inputs[0]),
        -np.ones(1, np.float32),
        np.zeros(1, np.float32),
    )


def import_square(builder: Builder, node: Node) -> None:
    """Pow with the exponent 2 -> Eltwise MUL of the tensor with itself."""
    source = builder.value(node.inputs[0])
    tensor = builder.add(
        node.name,
        "Eltwise",
        EltwiseAttrs("MUL"),
        (source.tensor, source.tensor),
        builder.stored(source),
    )
    builder.values[node.outputs[0]] = replace(source, tensor=tensor)


IMPORTERS = {
    **dict.fromkeys(BY_OPERATOR, import_activation),
    "Identity": import_identity,
    "Dropout": import_identity,
    "Cast": import_identity,
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum"), import_binary),
    "Neg": import_neg,
    "Pow": import_square,
}
