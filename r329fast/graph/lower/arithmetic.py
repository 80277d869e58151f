"""Arithmetic on whole tensors, of each other or with constants."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from r329fast.graph.activations import activate
from r329fast.graph.clip import FLOAT_MAX, clip_act
from r329fast.graph.ir import (
    ActivationAttrs,
    Attrs,
    DivAttrs,
    EltwiseAttrs,
    Layer,
    PowAttrs,
    UnaryAttrs,
)
from r329fast.graph.issues import FORM, VALUES, Unsupported
from r329fast.graph.lower.builder import Builder, Value
from r329fast.graph.lower.norm import affine
from r329fast.graph.lower.operator import LayerWriter, Operator
from r329fast.graph.lower.spread import constant, spread
from r329fast.graph.onnx.model import Node, OnnxModel
from r329fast.graph.onnx.operands import const_axis
from r329fast.graph.onnx.writer import Writer
from r329fast.graph.rule import Result, advise, show

METHODS = {"Add": "ADD", "Sum": "ADD", "Sub": "SUB", "Mul": "MUL", "Max": "MAX", "Min": "MIN"}


@advise("reshape to the same number of axes; give a constant that is the same for all images")
def constraint_operands(node: Node, model: OnnxModel) -> Result:
    """Inputs must have as many axes as the output, constants at most as many and no batch."""
    output = model.shape(node.outputs[0]) or ()
    for name in node.inputs:
        shape = model.shape(name) or ()
        if name in model.consts:
            ok = len(shape) < len(output) or (len(shape) == len(output) and shape[:1] == (1,))
        else:
            ok = len(shape) == len(output)
        if not ok:
            return False, f"{show(shape)} against {show(output)}"
    return True, ""


@advise("add the constant by a node of its own", FORM)
def constraint_one_constant(node: Node, model: OnnxModel) -> Result:
    """With a constant among the inputs there must be two inputs."""
    constants = [name for name in node.inputs if name in model.consts]
    return not constants or len(node.inputs) <= 2, f"{len(node.inputs)} inputs"


@advise("a quotient by zero is no number: cut the graph in front of it (--output)", FORM)
def constraint_divisor(node: Node, model: OnnxModel) -> Result:
    """A constant divisor must have no zeros."""
    value = model.const(node.inputs[1])
    return value is None or bool(np.all(value != 0)), "it has a zero"


@advise("cut the graph in front of it (--output)", FORM)
def constraint_exponent(node: Node, model: OnnxModel) -> Result:
    """The exponent must be a constant number."""
    value = model.const(node.input(1))
    if value is None:
        return False, "it is computed"
    return value.size == 1, f"{value.size} exponents"


@advise(
    "cut the graph in front of it (--output); in front of a Softmax a constant of -10000 does "
    "what an infinite one does",
    VALUES,
)
def constraint_mask(node: Node, model: OnnxModel) -> Result:
    """The condition must be a constant, and constant values finite."""
    if node.inputs[0] not in model.consts:
        return False, "the condition is computed"
    values = [model.consts[name] for name in node.inputs[1:] if name in model.consts]
    return all(np.isfinite(value).all() for value in values), "a constant is not finite"


def import_binary(builder: Builder, node: Node) -> None:
    """Add, Sub, Mul, Div, Max, Min, Sum: Eltwise of activations, BatchNorm with a constant."""
    consts = builder.model.consts
    tensors = [name for name in node.inputs if name not in consts]
    constants = [name for name in node.inputs if name in consts]
    if not constants:
        _eltwise_chain(builder, node, [builder.held(name) for name in tensors])
        return
    if len(node.inputs) == 1:
        builder.values[node.outputs[0]] = builder.held(node.inputs[0])
        return
    if len(tensors) > 1:
        raise Unsupported(
            "three or more inputs, some of them constant", "add the constant by a node of its own"
        )
    _with_constant(builder, node, tensors[0], constants[0])


def _with_constant(builder: Builder, node: Node, tensor: str, name: str) -> None:
    const = builder.model.floats(name)
    value = builder.held(tensor)
    rank = len(value.perm)
    shape = (1, *builder.shape(value))
    axis, simple = const_axis(const, shape)
    if not simple or (node.op in ("Max", "Min") and const.size > 1):
        _with_full_constant(builder, node, value, const)
        return
    if node.op in ("Max", "Min"):
        bound = float(const.reshape(-1)[0])
        act = clip_act(bound, FLOAT_MAX) if node.op == "Max" else clip_act(-FLOAT_MAX, bound)
        builder.like(node, "Activation", ActivationAttrs(act), value)
        return
    source = builder.channels_last(value, axis - 1) if axis > 0 else value
    if rank == 0:
        raise Unsupported("a tensor of one number per image", "leave it out of the graph")
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
        inverse = builder.add(
            f"{node.name}_reciprocal",
            "Reciprocal",
            UnaryAttrs(),
            (source.tensor,),
            builder.stored(source),
        )
        affine(builder, node, replace(source, tensor=inverse), flat, zero)


def _with_full_constant(builder: Builder, node: Node, value: Value, const: np.ndarray) -> None:
    """A Constant layer of the output's shape, and Eltwise."""
    value = builder.arrange(value, value.perm)  # refuses a scrambled one
    values = const.reshape(const.shape[1:]) if const.ndim > len(value.perm) else const
    shape = np.broadcast_shapes(values.shape, builder.shape(value))
    value = spread(builder, f"{node.name}_tile", value, shape)
    first, method = builder.model.consts.get(node.inputs[0]) is None, METHODS.get(node.op)
    if node.op == "Div" and first:
        method, values = "MUL", np.float32(1) / values
    other = constant(builder, f"{node.name}_constant", values, shape, value.perm)
    sides = (value, other) if first else (other, value)
    if method is None:
        attrs: Attrs = DivAttrs()
        kind = "Div"
    else:
        attrs, kind = EltwiseAttrs(method), "Eltwise"
    names = [side.tensor for side in sides]
    tensor = builder.add(node.name, kind, attrs, names, builder.stored(value))
    builder.values[node.outputs[0]] = replace(value, tensor=tensor)


def _eltwise_chain(builder: Builder, node: Node, values: list[Value]) -> None:
    """Two inputs make one Eltwise, more a chain whose last one has the node's name."""
    if len(values) == 1:
        builder.values[node.outputs[0]] = values[0]
        return
    result = values[0]
    for index, other in enumerate(values[1:], start=1):
        last = index == len(values) - 1
        name = node.name if last else f"{node.name}_{node.op.lower()}{index}"
        result = _eltwise(builder, node, name, result, other)
    builder.values[node.outputs[0]] = result


def _eltwise(builder: Builder, node: Node, name: str, first: Value, second: Value) -> Value:
    a, b = builder.shape(first), builder.shape(second)
    if len(a) != len(b):
        # numpy aligns at the right, so a shorter shape would put channels against the batch
        raise Unsupported(f"inputs of {len(a)} and {len(b)} axes per image", "reshape one to match")
    if node.op in METHODS and a != b:
        channel = _value_per_channel(builder, METHODS[node.op], first, second)
        first, second = channel or (first, second)
        if channel:
            a = b  # it broadcasts by itself
    if a == b:
        rows = [value.perm for value in (second, first) if max(value.perm, default=-1) >= len(a)]
        perm = rows[0] if rows else first.perm  # a row stays in its map
        first, second = builder.arrange(first, perm), builder.arrange(second, perm)
    else:
        first, second = _same_shapes(builder, name, first, second)
    inputs = (first.tensor, second.tensor)
    if node.op == "Div":
        tensor = builder.add(name, "Div", DivAttrs(), inputs, builder.stored(first))
    else:
        attrs = EltwiseAttrs(METHODS[node.op])
        tensor = builder.add(name, "Eltwise", attrs, inputs, builder.stored(first))
    return replace(first, tensor=tensor)


def _value_per_channel(
    builder: Builder, method: str, first: Value, second: Value
) -> tuple[Value, Value] | None:
    """The operands where one holds a value per channel, which an Eltwise broadcasts by itself."""
    a, b = builder.shape(first), builder.shape(second)
    if np.prod(a) < np.prod(b):
        if method == "SUB":
            return None
        first, second, a, b = second, first, b, a
    axes = [axis for axis, size in enumerate(b) if size > 1]
    fits = all(b[axis] == a[axis] for axis in axes)
    # one number per image is no value per channel, unless there is one channel only
    fits = fits and (bool(axes) or builder.stored(first)[-1] == 1)
    if len(axes) > 1 or not fits:
        return None
    return builder.channels_last(first, axes[0] if axes else 0), second


def _same_shapes(builder: Builder, name: str, first: Value, second: Value) -> tuple[Value, Value]:
    """Both with the shape that they broadcast to, lying as the larger one does."""
    a, b = builder.shape(first), builder.shape(second)
    shape = tuple(int(n) for n in np.broadcast_shapes(a, b))
    perm = first.perm if np.prod(a) >= np.prod(b) else second.perm
    first, second = builder.arrange(first, perm), builder.arrange(second, perm)
    return (
        spread(builder, f"{name}_tile0", first, shape),
        spread(builder, f"{name}_tile1", second, shape),
    )


def import_neg(builder: Builder, node: Node) -> None:
    """Neg -> BatchNorm with the weight -1."""
    affine(
        builder,
        node,
        builder.held(node.inputs[0]),
        -np.ones(1, np.float32),
        np.zeros(1, np.float32),
    )


def import_power(builder: Builder, node: Node) -> None:
    """Pow with the exponent 2 -> Eltwise MUL of the tensor with itself, with others -> Pow."""
    source = builder.held(node.inputs[0])
    exponent = float(builder.model.consts[node.inputs[1]].reshape(-1)[0])
    if exponent == 1.0:
        builder.values[node.outputs[0]] = source
        return
    if exponent != 2.0:
        builder.like(node, "Pow", PowAttrs(exponent), source)
        return
    tensor = builder.add(
        node.name,
        "Eltwise",
        EltwiseAttrs("MUL"),
        (source.tensor, source.tensor),
        builder.stored(source),
    )
    builder.values[node.outputs[0]] = replace(source, tensor=tensor)


def import_where(builder: Builder, node: Node) -> None:
    """Where with a constant mask m -> a * m + b * (1 - m); a side that is chosen throughout as it
    is."""
    model = builder.model
    mask = np.asarray(model.consts[node.inputs[0]], dtype=bool)
    full = model.shape(node.outputs[0]) or ()
    names = [name for name in node.inputs[1:] if name not in model.consts]
    lead = builder.held(names[0])
    lead = spread(builder, f"{node.name}_tile", builder.arrange(lead, lead.perm), full[1:])
    perm, shape = lead.perm, full[1:]
    if mask.all() or not mask.any():
        chosen = node.inputs[1 if mask.all() else 2]
        if chosen in model.consts:
            raise Unsupported("a mask that chooses a constant throughout", "leave the node out")
    sides: list[Value] = []
    for name, factor in ((node.inputs[1], mask), (node.inputs[2], ~mask)):
        word = f"{node.name}_{'then' if factor is mask else 'else'}"
        if name in model.consts:
            values = model.floats(name) * factor
            if np.any(values):
                sides.append(constant(builder, word, values, shape, perm))
            continue
        if not factor.any():
            continue
        value = builder.arrange(builder.held(name), perm)
        value = spread(builder, f"{word}_tile", value, shape)
        if not factor.all():
            other = constant(builder, f"{word}_mask", factor.astype(np.float32), shape, perm)
            inputs = (value.tensor, other.tensor)
            stored = builder.stored(value)
            tensor = builder.add(word, "Eltwise", EltwiseAttrs("MUL"), inputs, stored)
            value = replace(value, tensor=tensor)
        sides.append(value)
    result = sides[0]
    if len(sides) > 1:
        inputs = (sides[0].tensor, sides[1].tensor)
        stored = builder.stored(result)
        tensor = builder.add(node.name, "Eltwise", EltwiseAttrs("ADD"), inputs, stored)
        result = replace(result, tensor=tensor)
    builder.values[node.outputs[0]] = result


def write_eltwise(w: Writer, layer: Layer) -> str:
    attrs = layer.params(EltwiseAttrs)
    op = {"ADD": "Add", "SUB": "Sub", "MUL": "Mul", "MAX": "Max", "MIN": "Min"}[attrs.method]
    return activate(w, w.node(op, [w.names[name] for name in layer.inputs]), layer)


def write_div(w: Writer, layer: Layer) -> str:
    return str(w.node("Div", [w.names[name] for name in layer.inputs]))


_ARITHMETIC = (constraint_operands, constraint_one_constant)

OPERATORS = {
    "Add": Operator(
        import_binary, "Eltwise ADD; with a constant folded, or BatchNorm", _ARITHMETIC
    ),
    "Sum": Operator(import_binary, "a chain of Eltwise ADD", _ARITHMETIC),
    "Sub": Operator(
        import_binary, "Eltwise SUB; with a constant folded, or BatchNorm", _ARITHMETIC
    ),
    "Mul": Operator(
        import_binary, "Eltwise MUL; with a constant folded, or BatchNorm", _ARITHMETIC
    ),
    "Div": Operator(
        import_binary,
        "Div; by a constant folded, or BatchNorm; of a constant Reciprocal",
        (constraint_divisor, *_ARITHMETIC),
    ),
    "Max": Operator(import_binary, "Eltwise MAX; with a number Activation", _ARITHMETIC),
    "Min": Operator(import_binary, "Eltwise MIN; with a number Activation", _ARITHMETIC),
    "Where": Operator(
        import_where, "Eltwise MUL by masks and ADD", (constraint_mask, constraint_operands)
    ),
    "Neg": Operator(import_neg, "folded, or BatchNorm"),
    "Pow": Operator(import_power, "Pow; Eltwise MUL with the exponent 2", (constraint_exponent,)),
}

WRITERS: dict[str, LayerWriter] = {"Eltwise": write_eltwise, "Div": write_div}
