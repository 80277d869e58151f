"""Norms that a file spells out: mean, difference, variance, root and quotient; groups by Reshape.

A candidate is what lies between a tensor x and one quotient (or product) of it. It is evaluated on
a small random tensor and compared with (x - mean) / sqrt(variance + epsilon), so that spellings by
Pow, Mul, Sqrt, Reciprocal, one difference or two are all alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from r329fast.graph.onnx.folding import evaluate
from r329fast.graph.onnx.model import Node, OnnxModel
from r329fast.graph.onnx.patterns import drop_dead

_PARTS = {"Sub", "Mul", "Pow", "Add", "Sqrt", "Div", "Reciprocal", "ReduceMean", "Neg", "Abs"}
_LONGEST = 11
_LARGEST_EPSILON = 0.1


def find_norms(model: OnnxModel) -> None:
    """Replace spelled-out norms in `model` by one node each, named as the last of theirs."""
    if not any(node.op in ("ReduceMean", "InstanceNormalization") for node in model.nodes):
        return
    producers = model.producers()
    order = {name: index for index, node in enumerate(model.nodes) for name in node.outputs if name}
    changed = False
    for index, node in enumerate(list(model.nodes)):
        found = None
        if node.op in ("Div", "Mul") and not node.domain:
            found = _mean_and_variance(node, model, producers, order)
        elif node.op == "Reshape":
            found = _groups(node, model, producers)
        if found is not None:
            producers.update(dict.fromkeys(found.outputs, found))
            model.nodes[index] = found
            changed = True
    if changed:
        drop_dead(model)
        for node in list(model.nodes):
            if node.proto is None and node.attr("spelled_out"):
                _absorb(node, model)
        drop_dead(model)


def _mean_and_variance(
    top: Node, model: OnnxModel, producers: dict[str, Node], order: dict[str, int]
) -> Node | None:
    parts, shape = [top], model.shape(top.outputs[0])
    while shape is not None and len(parts) <= _LONGEST:
        made = {name for part in parts for name in part.outputs}
        leaves = {
            name
            for part in parts
            for name in part.inputs
            if name and name not in made and name not in model.consts
        }
        means = [part for part in parts if part.op == "ReduceMean"]
        if len(leaves) == 1 and len(means) >= 2:
            (source,) = leaves
            if model.shape(source) == shape:
                ordered = sorted(parts, key=lambda part: order[part.outputs[0]])
                return _as_norm(top, ordered, source, means, model)
        makers = [producers[name] for name in leaves if name in producers]
        makers = [node for node in makers if node.op in _PARTS and node.proto is not None]
        if not makers:
            return None
        parts.append(max(makers, key=lambda node: order[node.outputs[0]]))
    return None


def _mean_axes(node: Node, model: OnnxModel, rank: int) -> tuple[int, ...] | None:
    axes = node.attr("axes")
    if axes is None and node.input(1):
        value = model.const(node.input(1))
        axes = None if value is None else value.reshape(-1)
    return None if axes is None else tuple(sorted(int(axis) % rank for axis in axes))


def _as_norm(
    top: Node, parts: list[Node], source: str, means: list[Node], model: OnnxModel
) -> Node | None:
    """The node that does what `parts` do, None if that is no norm."""
    shape = model.shape(source) or ()
    axes = {_mean_axes(node, model, len(shape)) for node in means}
    (taken,) = axes if len(axes) == 1 else (None,)
    if not taken or taken[0] == 0 or len(shape) < 2:
        return None
    x = np.random.default_rng(0).normal(1, 2, (2, *range(3, 2 + len(shape)))).astype(np.float32)
    values: dict[str, Any] = {source: x}
    numbers = [0.0]
    for part in parts:
        for name in part.inputs:
            if name not in model.consts:
                continue
            const = model.consts[name]
            if const.size != 1 and part.op != "ReduceMean":
                return None
            values[name] = const if part.op == "ReduceMean" else const.reshape(())
            if const.size == 1 and 0 < float(const.reshape(-1)[0]) < _LARGEST_EPSILON:
                numbers.append(float(const.reshape(-1)[0]))
        outputs = evaluate(part, values, model.opset)
        if outputs is None:
            return None
        values.update(zip(part.outputs, outputs, strict=False))
    found = np.asarray(values[top.outputs[0]])
    wide = x.astype(np.float64)
    away = wide - wide.mean(axis=taken, keepdims=True)
    variance = (away**2).mean(axis=taken, keepdims=True)
    for epsilon in numbers[::-1]:
        wanted = away / np.sqrt(variance + epsilon)
        if found.shape == x.shape and np.allclose(found, wanted, rtol=1e-5, atol=1e-5):
            return _norm_node(top, source, taken, epsilon, model)
    return None


def _norm_node(
    top: Node, source: str, axes: tuple[int, ...], epsilon: float, model: OnnxModel
) -> Node:
    """InstanceNormalization over all axes behind the channels of a map, else LayerNormalization."""
    shape = model.shape(source) or ()
    instance = len(shape) > 3 and axes == tuple(range(2, len(shape)))
    ones = np.ones(shape[1] if instance else 1, np.float32)
    attrs: dict[str, Any] = {"epsilon": epsilon, "spelled_out": 1}
    if not instance:
        attrs["axes"] = list(axes)
    op = "InstanceNormalization" if instance else "LayerNormalization"
    return _with_constants(op, top, source, ones, np.zeros_like(ones), attrs, model)


def _with_constants(
    op: str,
    last: Node,
    source: str,
    scale: np.ndarray,
    bias: np.ndarray,
    attrs: dict[str, Any],
    model: OnnxModel,
) -> Node:
    names = [f"{last.outputs[0]}__{word}" for word in ("scale", "bias")]
    model.consts.update(zip(names, (scale, bias), strict=True))
    return Node(op, last.name, [source, *names], list(last.outputs[:1]), attrs)


def _groups(last: Node, model: OnnxModel, producers: dict[str, Node]) -> Node | None:
    """Reshape - InstanceNormalization - Reshape back: a norm over groups of channels."""
    norm = producers.get(last.inputs[0])
    if (
        norm is None
        or norm.op != "InstanceNormalization"
        or len(model.consumers(last.inputs[0])) > 1
    ):
        return None
    first = producers.get(norm.inputs[0])
    if first is None or first.op != "Reshape":
        return None
    shape, apart = model.shape(first.inputs[0]), model.shape(norm.inputs[0])
    known = all(name in model.consts for name in norm.inputs[1:])
    if shape is None or apart is None or shape != model.shape(last.outputs[0]) or not known:
        return None
    if len(shape) < 3 or apart[0] != shape[0] or shape[1] % apart[1]:
        return None
    each = shape[1] // apart[1]
    scale, bias = (np.repeat(model.floats(name).reshape(-1), each) for name in norm.inputs[1:3])
    attrs = {"num_groups": apart[1], "epsilon": norm.attr("epsilon", 1e-5), "spelled_out": 1}
    return _with_constants("GroupNormalization", last, first.inputs[0], scale, bias, attrs, model)


def _absorb(norm: Node, model: OnnxModel) -> None:
    """Take a constant factor and then a constant summand behind the norm into it."""
    shape = model.shape(norm.outputs[0]) or ()
    axes = [axis % len(shape) for axis in norm.attr("axes", [1])]
    for op in ("Mul", "Add"):
        readers = model.consumers(norm.outputs[0])
        if len(readers) != 1 or readers[0].op != op or norm.outputs[0] in model.outputs:
            continue
        (reader,) = readers
        consts = [name for name in reader.inputs if name in model.consts]
        if len(consts) != 1 or model.shape(reader.outputs[0]) != shape:
            return
        value = model.floats(consts[0])
        full = value.reshape((1,) * (len(shape) - value.ndim) + value.shape)
        if any(size > 1 and axis not in axes for axis, size in enumerate(full.shape)):
            return
        if norm.op != "LayerNormalization":
            full = np.broadcast_to(full.reshape(-1), (shape[1],))
        else:
            full = full.reshape(full.shape[1:])
        scale, bias = (model.consts[name] for name in norm.inputs[1:3])
        if op == "Mul":
            model.consts[norm.inputs[1]] = np.asarray(scale * full, np.float32)
            model.consts[norm.inputs[2]] = np.asarray(bias * full, np.float32)
        else:
            model.consts[norm.inputs[2]] = np.asarray(bias + full, np.float32)
        norm.name, norm.outputs = reader.name, list(reader.outputs[:1])
        position = model.nodes.index(reader)
        model.nodes.remove(norm)
        model.nodes[position - 1] = norm
        model.replace_nodes(model.nodes)
