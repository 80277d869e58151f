"""Arithmetic on whole tensors, of each other or with constants."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from r329fast.graph.activations import activate
from r329fast.graph.clip import FLOAT_MAX, clip_act
from r329fast.graph.ir import ActivationAttrs, EltwiseAttrs, Layer
from r329fast.graph.issues import Unsupported
from r329fast.graph.lower.builder import Builder, Value
from r329fast.graph.lower.norm import affine
from r329fast.graph.lower.operator import LayerWriter, Operator
from r329fast.graph.onnx.model import Node, OnnxModel
from r329fast.graph.onnx.operands import const_axis
from r329fast.graph.onnx.writer import Writer
from r329fast.graph.rule import Result, advise, first_shape, show

METHODS = {"Add": "ADD", "Sum": "ADD", "Sub": "SUB", "Mul": "MUL", "Max": "MAX", "Min": "MIN"}


@advise("use a number or one value per channel, or reshape to equal shapes")
def constraint_operands(node: Node, model: OnnxModel) -> Result:
    """Inputs must have the same shape, or one value per channel; so must a constant."""
    output = model.shape(node.outputs[0]) or ()
    for name in node.inputs:
        shape = model.shape(name) or ()
        if name in model.consts:
            ok = const_axis(model.consts[name], output)[1]
        else:
            real = [axis for axis in range(1, len(shape)) if shape[axis] > 1]
            ok = len(shape) == len(output) and (
                shape == output
                or (len(real) <= 1 and all(shape[axis] == output[axis] for axis in real))
            )
        if not ok:
            return False, f"{show(shape)} against {show(output)}"
    return True, ""


@advise("swap the operands, or use one constant at most")
def constraint_one_constant(node: Node, model: OnnxModel) -> Result:
    """With a constant among the inputs there must be two inputs."""
    constants = [name for name in node.inputs if name in model.consts]
    return not constants or len(node.inputs) <= 2, f"{len(node.inputs)} inputs"


@advise("subtract the other way round and negate")
def constraint_minuend(node: Node, model: OnnxModel) -> Result:
    """The first input must not be the one that broadcasts."""
    if node.inputs[0] in model.consts:
        return True, ""
    shape, output = first_shape(node, model), model.shape(node.outputs[0]) or ()
    return shape == output, f"first input {show(shape)}, output {show(output)}"


@advise("multiply by a reciprocal, computed outside")
def constraint_constant_divisor(node: Node, model: OnnxModel) -> Result:
    """The divisor must be a constant without zeros."""
    if node.inputs[1] not in model.consts:
        return False, "it is computed"
    return bool(np.all(model.consts[node.inputs[1]] != 0)), "it has a zero"


@advise("use Clip with numbers as bounds")
def constraint_scalar_bound(node: Node, model: OnnxModel) -> Result:
    """A constant among the inputs must be a single number."""
    sizes = [model.consts[name].size for name in node.inputs if name in model.consts]
    return all(size == 1 for size in sizes), f"{sizes} values"


@advise("compute other powers outside the model")
def constraint_square(node: Node, model: OnnxModel) -> Result:
    """The exponent must be the constant 2."""
    value = model.const(node.input(1))
    if value is None:
        return False, "it is computed"
    return value.size == 1 and float(value.reshape(-1)[0]) == 2.0, f"exponent {value.tolist()}"


def import_binary(builder: Builder, node: Node) -> None:
    """Add, Sub, Mul, Div, Max, Min, Sum: Eltwise of activations, BatchNorm with a constant."""
    consts = builder.model.consts
    tensors = [name for name in node.inputs if name not in consts]
    constants = [name for name in node.inputs if name in consts]
    if not constants:
        _eltwise_chain(builder, node, [builder.value(name) for name in tensors])
        return
    if len(node.inputs) == 1:
        builder.values[node.outputs[0]] = builder.value(node.inputs[0])
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
            "only a number or a value per channel can be folded",
        )
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
        raise Unsupported("a constant divided by an activation", "multiply by a reciprocal instead")


def _eltwise_chain(builder: Builder, node: Node, values: list[Value]) -> None:
    """Two inputs make one Eltwise, more a chain whose last one has the node's name."""
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
        raise Unsupported(f"inputs of {len(a)} and {len(b)} axes per image", "reshape one to match")
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
        # one number per image is no value per channel, unless there is one channel only
        fits = fits and (bool(axes) or builder.stored(first)[-1] == 1)
        if len(axes) > 1 or not fits:
            raise Unsupported(
                f"inputs of shapes {list(a)} and {list(b)}",
                "shapes must be equal, or one input must hold one value per channel",
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


def write_eltwise(w: Writer, layer: Layer) -> str:
    attrs = layer.params(EltwiseAttrs)
    op = {"ADD": "Add", "SUB": "Sub", "MUL": "Mul", "MAX": "Max", "MIN": "Min"}[attrs.method]
    return activate(w, w.node(op, [w.names[name] for name in layer.inputs]), layer)


_ARITHMETIC = (constraint_operands, constraint_one_constant)

OPERATORS = {
    "Add": Operator(
        import_binary, "Eltwise ADD; with a constant folded, or BatchNorm", _ARITHMETIC
    ),
    "Sum": Operator(import_binary, "a chain of Eltwise ADD", _ARITHMETIC),
    "Sub": Operator(
        import_binary,
        "Eltwise SUB; with a constant folded, or BatchNorm",
        (*_ARITHMETIC, constraint_minuend),
    ),
    "Mul": Operator(
        import_binary, "Eltwise MUL; with a constant folded, or BatchNorm", _ARITHMETIC
    ),
    "Div": Operator(
        import_binary, "folded, or BatchNorm", (constraint_constant_divisor, *_ARITHMETIC)
    ),
    "Max": Operator(
        import_binary,
        "Eltwise MAX; with a number Activation",
        (*_ARITHMETIC, constraint_scalar_bound),
    ),
    "Min": Operator(
        import_binary,
        "Eltwise MIN; with a number Activation",
        (*_ARITHMETIC, constraint_scalar_bound),
    ),
    "Neg": Operator(import_neg, "folded, or BatchNorm"),
    "Pow": Operator(import_square, "Eltwise MUL", (constraint_square,)),
}

WRITERS: dict[str, LayerWriter] = {"Eltwise": write_eltwise}
