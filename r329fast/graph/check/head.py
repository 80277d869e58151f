"""Where a head that is not supported can be cut off a model that otherwise is."""

from __future__ import annotations

from r329fast.graph.check.causes import Causes
from r329fast.graph.onnx.model import Node, OnnxModel


def head_cut(model: OnnxModel, causes: Causes) -> list[str]:
    """The supported tensors that the rest of the model is computed from, in the model's order.

    Outputs that are supported themselves are among them. Empty where what is refused holds half
    of the layers with weights or more: then it is no head.
    """
    kept = {id(node) for node in model.nodes if not any(map(causes.touches, node.outputs))}
    weighted = [node for node in model.nodes if _has_weights(node, model)] or model.nodes
    if 2 * sum(id(node) in kept for node in weighted) <= len(weighted):
        return []
    made = {name for node in model.nodes if id(node) in kept for name in node.outputs}
    read = {name for node in model.nodes if id(node) not in kept for name in node.inputs}
    ends = (read | set(model.outputs)) & made
    return [name for node in model.nodes for name in node.outputs if name in ends]


def _has_weights(node: Node, model: OnnxModel) -> bool:
    return any(name in model.consts and model.consts[name].ndim > 1 for name in node.inputs[:2])
