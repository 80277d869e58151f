"""Constant folding and shape inference on the ONNX level, until neither finds anything more."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from r329fast.errors import FileError
from r329fast.graph.onnx.decode import branch_nodes
from r329fast.graph.onnx.fold_budget import FoldBudget, never_ends, vectorised
from r329fast.graph.onnx.model import Node, OnnxModel

# Operators whose output has the shape of the first input.
_SAME_SHAPE = ("GroupNormalization",)
# Constants up to this size are shown to shape inference by value, larger ones by shape only.
_SMALL = 256
# Nodes that shape inference may look at in all its rounds; a chain of Shape nodes takes many.
_MOST_INFERRED = 1_000_000


def fold_and_infer(model: OnnxModel, where: str) -> None:
    """Fold what is known, infer shapes, and again until no Shape node is left to resolve."""
    budget = FoldBudget(model.consts, model.opset, where)
    inferred = 0
    while True:
        _fold(model, budget)
        inferred += len(model.nodes)
        if inferred > _MOST_INFERRED:
            raise FileError(
                f"{where}: shapes depend on each other through more Shape nodes than can be "
                "followed; simplify the model at export",
                path=where,
            )
        model.shapes = _infer(model, where)
        if not any(_shape_value(node, model) is not None for node in model.nodes):
            break
    needed = {name for node in model.nodes for name in node.inputs} | set(model.outputs)
    model.consts = {name: value for name, value in model.consts.items() if name in needed}


def _fold(model: OnnxModel, budget: FoldBudget) -> None:
    """Replace every node whose inputs are all known by its outputs' values."""
    left: list[Node] = []
    waiting = model.nodes[::-1]
    made = {name for node in model.nodes for name in node.outputs} if _has_if(model) else set()
    known = {*model.consts, *model.inputs}
    while waiting:
        node = waiting.pop()
        if node.op == "If" and not node.domain and node.input(0) in model.consts:
            taken = bool(model.consts[node.input(0)].reshape(-1)[0])
            inside, constants = branch_nodes(node, taken, lambda n: n in made or n in known)
            made.update(name for item in inside for name in item.outputs)
            model.moved.update(
                name for item in inside[: -len(node.outputs)] for name in item.outputs
            )
            model.consts.update(constants)
            waiting += inside[::-1]
            continue
        values = _shape_value(node, model)
        if values is None and node.op == "Identity" and node.input(0) in model.consts:
            values = [model.consts[node.input(0)]]
        elif values is None and _foldable(node, model) and budget.allows(node, model.consts):
            values = evaluate(node, model.consts, model.opset)
        if values is None:
            left.append(node)
            continue
        for name, value in zip(node.outputs, values, strict=False):
            if name:
                model.consts[name] = np.asarray(value)
    model.replace_nodes(left)


def _has_if(model: OnnxModel) -> bool:
    return any(node.op == "If" for node in model.nodes)


def _foldable(node: Node, model: OnnxModel) -> bool:
    return all(not name or name in model.consts for name in node.inputs)


def _shape_value(node: Node, model: OnnxModel) -> list[Any] | None:
    """Outputs of a Shape or Size node of a tensor whose shape is known."""
    if node.op not in ("Shape", "Size") or node.domain:
        return None
    shape = model.shape(node.input(0))
    if shape is None:
        return None
    if node.op == "Size":
        return [np.array(int(np.prod(shape, dtype=np.int64)), np.int64)]
    end = node.attr("end", len(shape))
    return [np.array(shape[node.attr("start", 0) : end], np.int64)]


def evaluate(node: Node, consts: dict[str, np.ndarray], opset: int) -> list[Any] | None:
    """Outputs of a node whose inputs are in `consts`; None if onnx's reference cannot run it."""
    if node.op == "ConstantOfShape":
        value = np.asarray(node.attr("value", np.zeros(1, np.float32))).reshape(-1)
        size = tuple(int(n) for n in consts[node.input(0)].reshape(-1))
        try:
            return [np.full(size, value[0], value.dtype)]
        except (MemoryError, ValueError, IndexError):
            return None
    if node.op == "Constant" and "value" in node.attrs:
        return [node.attrs["value"]]
    if node.op == "BatchNormalization" and len([name for name in node.outputs if name]) > 1:
        return _training_norm(node, consts, opset)
    given = [consts[name] for name in node.inputs if name]
    if vectorised(node, given):
        return _vectorised(node, given)
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    names = list(dict.fromkeys(name for name in node.inputs if name))
    graph = helper.make_graph(
        [node.proto],
        "constant",
        [helper.make_empty_tensor_value_info(name) for name in names],
        [helper.make_empty_tensor_value_info(name) for name in node.outputs if name],
    )
    single = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    feeds = {name: consts[name] for name in names}
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            results = ReferenceEvaluator(single).run(None, feeds)
    except Exception:  # left in the graph; the constraints then name it
        return None
    by_name = dict(zip([name for name in node.outputs if name], results, strict=True))
    return [by_name.get(name) for name in node.outputs]


def _vectorised(node: Node, given: list[np.ndarray]) -> list[Any] | None:
    """Output of a GatherND, ScatterND or 1x1 Conv; None where the inputs do not fit."""
    try:
        if node.op == "GatherND":
            return [given[0][tuple(np.moveaxis(given[1], -1, 0))]]
        if node.op == "ScatterND":
            made = given[0].copy()
            made[tuple(np.moveaxis(given[1], -1, 0))] = given[2]
            return [made]
        flat = given[0].reshape(*given[0].shape[:2], -1)
        rows = np.matmul(given[1].reshape(given[1].shape[:2]), flat)
        rows = rows + given[2].reshape(-1, 1) if len(given) > 2 else rows
        return [rows.reshape(len(flat), -1, *given[0].shape[2:]).astype(given[0].dtype)]
    except (ValueError, IndexError):
        return None


def _training_norm(node: Node, consts: dict[str, np.ndarray], opset: int) -> list[Any] | None:
    """Output of a BatchNormalization with several outputs, of constants (weight standardisation).

    With training_mode, or before opset 14, where the outputs alone say it, the statistics are
    those of the batch. Only the first output is made: a reader of another is then reported.
    """
    if opset >= 14 and not node.attr("training_mode", 0):
        return None
    x, gamma, beta = (np.asarray(consts[name], np.float64) for name in node.inputs[:3])
    axes = (0, *range(2, x.ndim))
    spread = (1, -1, *(1,) * (x.ndim - 2))
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    scale = gamma.reshape(spread) / np.sqrt(var + float(node.attr("epsilon", 1e-5)))
    result = (x - mean) * scale + beta.reshape(spread)
    return [result.astype(consts[node.inputs[0]].dtype)]


def _divides_by_zero(node: Node) -> bool:
    """Whether a stride, dilation, kernel size or group is not positive (reported later on)."""
    values = [node.attr(key) for key in ("strides", "dilations", "kernel_shape", "group")]
    sizes = [size for value in values if value is not None for size in np.atleast_1d(value)]
    return any(isinstance(size, int | np.integer) and size < 1 for size in sizes)


def _shape_node(node: Node) -> Any:
    """The node as shape inference sees it."""
    from onnx import helper

    if node.op in _SAME_SHAPE:  # onnx infers these through their bodies, which fails for some
        return helper.make_node("Identity", node.inputs[:1], node.outputs[:1])
    return node.proto


def _infer(model: OnnxModel, where: str) -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors by onnx's inference; large constants go in by shape only."""
    from onnx import helper, numpy_helper, shape_inference

    needed = {name for node in model.nodes for name in node.inputs}
    inputs = [
        helper.make_tensor_value_info(name, _type_code(model, name), model.shapes.get(name))
        for name in model.inputs
    ]
    initializers = []
    for name in sorted(needed & set(model.consts)):
        value = model.consts[name]
        if value.dtype.hasobject or value.dtype.kind in "US":
            continue
        if value.size <= _SMALL:
            initializers.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        else:
            kind = helper.np_dtype_to_tensor_dtype(value.dtype)
            inputs.append(helper.make_tensor_value_info(name, kind, value.shape))
    outputs = [helper.make_empty_tensor_value_info(name) for name in model.outputs]
    # onnx before 1.22 divides by some of these in native code, which ends the process.
    fit = [node for node in model.nodes if not _divides_by_zero(node) and not never_ends(node)]
    nodes = [_shape_node(node) for node in fit]
    domains = {node.domain for node in model.nodes if node.domain}
    opsets = [helper.make_opsetid("", model.opset)]
    opsets += [helper.make_opsetid(domain, 1) for domain in sorted(domains)]
    graph = helper.make_graph(nodes, "shapes", inputs, outputs, initializers)
    skeleton = helper.make_model(graph, opset_imports=opsets)
    try:
        full = shape_inference.infer_shapes(skeleton, data_prop=True)
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise FileError(f"{where}: the graph is inconsistent ({reason})", path=where) from error
    shapes = {name: model.shapes[name] for name in model.inputs if name in model.shapes}
    for value in [*full.graph.value_info, *full.graph.output]:
        kind = value.type.tensor_type
        if not kind.HasField("shape"):
            continue
        if all(dim.HasField("dim_value") for dim in kind.shape.dim):
            shapes[value.name] = tuple(int(dim.dim_value) for dim in kind.shape.dim)
    return shapes


def _type_code(model: OnnxModel, name: str) -> int:
    """TensorProto code of an input's type; float where NumPy has no such type."""
    from onnx import helper

    try:
        return int(helper.np_dtype_to_tensor_dtype(np.dtype(model.input_types[name])))
    except (KeyError, TypeError):
        return 1
