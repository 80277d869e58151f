"""Fully connected layers and matrix products."""

from __future__ import annotations

from math import prod

import numpy as np

from r329fast.graph.activations import activate
from r329fast.graph.ir import (
    ConvAttrs,
    FullyConnectedAttrs,
    GemmAttrs,
    Layer,
    MatMulAttrs,
    ReshapeAttrs,
)
from r329fast.graph.issues import FORM, VALUES
from r329fast.graph.lower.builder import Builder, Value
from r329fast.graph.lower.operator import LayerWriter, Operator
from r329fast.graph.lower.spread import constant, spread
from r329fast.graph.onnx.model import Node, OnnxModel
from r329fast.graph.onnx.writer import Writer
from r329fast.graph.rule import Result, advise, first_shape, show


@advise("transA mixes the images: cut the graph in front of it (--output)", FORM)
def constraint_gemm_rows(node: Node, model: OnnxModel) -> Result:
    """The first input must be (N, K) and transA 0, or both matrices of the one image of a file,
    with alpha 1 and nothing added."""
    shape, trans = first_shape(node, model), int(node.attr("transA", 0))
    if node.inputs[1] in model.consts or node.inputs[0] in model.consts:
        return len(shape) == 2 and trans == 0, f"input {show(shape)}, transA {trans}"
    alpha = float(node.attr("alpha", 1.0))
    other = model.shape(node.inputs[1]) or ()
    ok = len(shape) == len(other) == 3 and alpha == 1 and not node.input(2)
    more = ", a third input" if node.input(2) else ""
    return ok, f"inputs {show(shape)} and {show(other)}, alpha {alpha:g}{more}"


@advise("cut the graph in front of it (--output)", VALUES)
def constraint_gemm_weights(node: Node, model: OnnxModel) -> Result:
    """The first input must be computed, a third constant."""
    found = [name for name in node.inputs[2:] if name and name not in model.consts]
    if node.inputs[0] in model.consts:
        return False, f"{node.inputs[0]} is a constant"
    computed = node.inputs[1] not in model.consts
    return not found or computed, f"{', '.join(found)} is computed"


@advise("add a computed bias by an Add behind it, and one per image outside of the model", FORM)
def constraint_gemm_bias(node: Node, model: OnnxModel) -> Result:
    """The bias must be a constant number or one value per output."""
    if not node.input(2) or node.inputs[1] not in model.consts:
        return True, ""
    shape = model.shape(node.input(2)) or ()
    size, outputs = prod(shape), (model.shape(node.outputs[0]) or (0, 0))[-1]
    last = shape[-1] if shape else 1
    return size in (1, outputs) and last == size, f"bias {show(shape)}, {outputs} outputs"


@advise("reshape both sides to the same number of axes, a constant to a matrix")
def constraint_matmul_sides(node: Node, model: OnnxModel) -> Result:
    """One side must be a constant matrix, or both must have the same number of axes, at least
    three with the batch (1 of a constant)."""
    left, right = (model.shape(name) or () for name in node.inputs[:2])
    why = f"{show(left)} times {show(right)}"
    constants = [name for name in node.inputs[:2] if name in model.consts]
    if constants:
        given = model.consts[constants[0]]
        if given.ndim == 2:
            return len(left) >= 2 and (len(right) >= 3 or node.inputs[1] in constants), why
        return len(left) == len(right) >= 3 and given.shape[0] == 1, why
    return len(left) == len(right) >= 3, why


def import_gemm(builder: Builder, node: Node) -> None:
    """Gemm with constant weights -> FullyConnected, alpha and beta in the constants; of two
    activations -> Gemm."""
    model = builder.model
    if node.inputs[1] not in model.consts:
        _product(builder, node)
        return
    weights = model.floats(node.inputs[1])
    if not node.attr("transB", 0):
        weights = weights.T
    alpha, beta = np.float32(node.attr("alpha", 1.0)), np.float32(node.attr("beta", 1.0))
    if alpha != 1:
        weights = weights * alpha
    bias = np.zeros(weights.shape[0], np.float32)
    if node.input(2):
        bias = np.broadcast_to(model.floats(node.input(2)).reshape(-1) * beta, bias.shape)
    _fully_connected(builder, node, builder.value(node.inputs[0]), weights, bias)


def import_matmul(builder: Builder, node: Node) -> None:
    """MatMul with a constant matrix -> FullyConnected (1x1 Convolution over maps), else MatMul."""
    model = builder.model
    matrices = [model.consts[name].ndim == 2 for name in node.inputs if name in model.consts]
    if any(matrices):
        last = node.inputs[1] in model.consts
        weights = model.floats(node.inputs[int(last)])
        weights = weights.T if last else weights  # (out, in)
        source = builder.value(node.inputs[1 - int(last)])
        bias = np.zeros(weights.shape[0], np.float32)
        rank = len(source.perm)
        if rank == 1:
            _fully_connected(builder, node, source, weights, bias)
        else:
            _pointwise(builder, node, source, rank - 1 if last else rank - 2, weights, bias)
        return
    first, second = _sides(builder, node)
    rank = len(first.perm)
    swapped = (*range(rank - 2), rank - 1, rank - 2)
    plain = tuple(range(rank))
    sides = []
    for value in (first, second):
        # a product can read its last two axes either way round
        flip = value.perm == swapped
        sides.append((builder.arrange(value, swapped if flip else plain), flip))
    (left, trans_a), (right, trans_b) = sides
    shape = (*builder.shape(left)[:-1], builder.shape(right)[-1])
    tensor = builder.add(
        node.name,
        "MatMul",
        MatMulAttrs(trans_a, trans_b),
        (left.tensor, right.tensor),
        shape,
    )
    builder.bind(node.outputs[0], tensor, plain)


def _product(builder: Builder, node: Node) -> None:
    """A Gemm of two activations, each of them a matrix per image."""
    sides = [builder.value(name) for name in node.inputs[:2]]
    left, right = (builder.arrange(value, (0, 1)) for value in sides)
    attrs = GemmAttrs(bool(node.attr("transA", 0)), bool(node.attr("transB", 0)))
    rows = builder.shape(left)[1 if attrs.trans_a else 0]
    columns = builder.shape(right)[0 if attrs.trans_b else 1]
    inputs = (left.tensor, right.tensor)
    tensor = builder.add(node.name, "Gemm", attrs, inputs, (rows, columns))
    builder.bind(node.outputs[0], tensor, (0, 1))


def _sides(builder: Builder, node: Node) -> tuple[Value, Value]:
    """Both sides of a product, with the same leading axes."""
    model = builder.model
    shapes = [(model.shape(name) or ())[1:] for name in node.inputs]
    lead = np.broadcast_shapes(*(shape[:-2] for shape in shapes))
    sides = []
    for index, (name, shape) in enumerate(zip(node.inputs, shapes, strict=True)):
        wanted = tuple(int(size) for size in (*lead, *shape[-2:]))
        word = f"{node.name}_side{index}"
        if name in model.consts:
            plain = tuple(range(len(wanted)))
            sides.append(constant(builder, word, model.floats(name), wanted, plain))
        else:
            value = builder.value(name)
            sides.append(spread(builder, word, builder.arrange(value, value.perm), wanted))
    return sides[0], sides[1]


def _fully_connected(
    builder: Builder, node: Node, source: Value, weights: np.ndarray, bias: np.ndarray
) -> None:
    """weights (out, in) in the ONNX order of the inputs, which follow a flattened map's storage."""
    if source.scrambled:
        shape, perm = source.scrambled
        logical = [shape[axis] for axis in perm]
        order = np.argsort(perm)  # storage axis -> logical axis
        folded = weights.reshape(-1, *logical)
        weights = folded.transpose(0, *(1 + order)).reshape(len(weights), -1)
    tensor = builder.add(
        node.name,
        "FullyConnected",
        FullyConnectedAttrs(),
        (source.tensor,),
        (len(weights),),
        {
            "weights": np.ascontiguousarray(weights, dtype=np.float32),
            "bias": np.ascontiguousarray(bias, dtype=np.float32),
        },
    )
    builder.bind(node.outputs[0], tensor, (0,))


def _pointwise(
    builder: Builder, node: Node, source: Value, axis: int, weights: np.ndarray, bias: np.ndarray
) -> None:
    """A product over one axis of a tensor is a 1x1 convolution."""
    source = builder.channels_last(source, axis)
    stored = builder.stored(source)
    tensor = source.tensor
    if len(stored) != 3:
        flat = (prod(stored[:-2]), *stored[-2:]) if len(stored) > 3 else (stored[0], 1, stored[1])
        tensor = builder.add(f"{node.name}_in", "Reshape", ReshapeAttrs(flat), (tensor,), flat)
    rows, cols, inputs = builder.shapes[tensor]
    tensor = builder.add(
        node.name,
        "Convolution",
        ConvAttrs((1, 1)),
        (tensor,),
        (rows, cols, len(weights)),
        {
            "weights": np.ascontiguousarray(weights.reshape(-1, 1, 1, inputs)),
            "bias": bias,
        },
    )
    if len(stored) != 3:
        shape = (*stored[:-1], len(weights))
        tensor = builder.add(f"{node.name}_out", "Reshape", ReshapeAttrs(shape), (tensor,), shape)
    builder.bind(node.outputs[0], tensor, source.perm)


def write_fully_connected(w: Writer, layer: Layer) -> str:
    source = w.stored(layer.inputs[0])
    shape = w.graph.shapes[layer.inputs[0]]
    if len(shape) != 1:
        source = w.node("Reshape", [source, w.const(np.array([0, -1], np.int64))])
    consts = [w.const(layer.consts["weights"], "weights"), w.const(layer.consts["bias"], "bias")]
    return activate(w, w.node("Gemm", [source, *consts], transB=1), layer)


def write_matmul(w: Writer, layer: Layer) -> str:
    attrs, sides = layer.attrs, []
    assert isinstance(attrs, MatMulAttrs | GemmAttrs)
    for tensor, flip in zip(layer.inputs, (attrs.trans_a, attrs.trans_b), strict=True):
        name, rank = w.stored(tensor), len(w.graph.shapes[tensor]) + 1
        if flip:
            name = w.node("Transpose", [name], perm=[*range(rank - 2), rank - 1, rank - 2])
        sides.append(name)
    result = w.node("MatMul", sides)
    factor = getattr(attrs, "multiplier", 1.0)
    if factor != 1.0:
        result = w.node("Mul", [result, w.scalar(factor)])
    return w.held(result, layer.outputs[0])


OPERATORS = {
    "Gemm": Operator(
        import_gemm,
        "FullyConnected; Gemm (two activations)",
        (constraint_gemm_weights, constraint_gemm_rows, constraint_gemm_bias),
    ),
    "MatMul": Operator(
        import_matmul,
        "FullyConnected, Convolution 1x1 (maps), MatMul (two activations, or a constant per head)",
        (constraint_matmul_sides,),
    ),
}

WRITERS: dict[str, LayerWriter] = {
    "FullyConnected": write_fully_connected,
    "MatMul": write_matmul,
    "Gemm": write_matmul,
}
