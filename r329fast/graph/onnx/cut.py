"""Cutting an ONNX graph at named tensors, as the `input` and `output` keys of a cfg do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from r329fast.errors import UsageError, nearest
from r329fast.graph.onnx.model import OnnxModel


def cut_model(
    model: OnnxModel,
    declared: dict[str, list[int | None]],
    inputs: Sequence[str] | None,
    outputs: Sequence[str] | None,
    proto: Any,
) -> None:
    """Cut `model` in place; `declared` gets the shapes of new inputs where they can be inferred.

    A name may be a tensor's or a node's; a node stands for its first output, both as an input
    (what the node would have made is fed instead) and as an output. Raises UsageError for an
    unknown name and for an input that the cut graph still needs and that is not listed.
    """
    names = _Known(model) if outputs or inputs else None
    if names and outputs:
        model.outputs = _unique(names.resolve(name, "output") for name in outputs)
    wanted = _unique(names.resolve(name, "input") for name in inputs) if names and inputs else []
    kept = _ancestors(model, set(wanted))
    if wanted:
        reached = {name for node in kept for name in node.inputs} | set(model.outputs)
        for name in wanted:
            if name not in reached:
                raise UsageError(f"input {name!r}: no output depends on it", name=name)
        missing = [name for name in model.inputs if name in reached and name not in wanted]
        if missing:
            raise UsageError(
                f"the outputs also need the input {missing[0]!r}: list it among the inputs, or cut "
                "further up",
                name=missing[0],
            )
        new = [name for name in wanted if name not in model.inputs]
        if new:
            declared.update(_inferred(proto, new))
        for name in new:
            model.input_types[name] = "float32"
            model.consts.pop(name, None)
        model.inputs = wanted
    else:
        reached = {name for node in kept for name in node.inputs} | set(model.outputs)
        model.inputs = [name for name in model.inputs if name in reached]
    model.replace_nodes(kept)


def _unique(names: Any) -> list[str]:
    return list(dict.fromkeys(names))


class _Known:
    """The names that a model knows, and the tensors that they mean."""

    def __init__(self, model: OnnxModel) -> None:
        self.model = model
        self.tensors = {tensor for node in model.nodes for tensor in node.outputs if tensor}
        self.tensors |= set(model.inputs)
        self.nodes: dict[str, str] = {}
        for node in model.nodes:
            first = next((tensor for tensor in node.outputs if tensor), "")
            for name in (node.name, node.proto.name if node.proto is not None else ""):
                self.nodes.setdefault(name, first)

    def resolve(self, name: str, what: str) -> str:
        """The tensor that `name` (a tensor's or a node's) means."""
        if name in self.tensors:
            return name
        # TensorFlow style: "name:0"
        if name.removesuffix(":0") in self.tensors:
            return name.removesuffix(":0")
        for word in (name, name.removesuffix(":0")):
            if word and self.nodes.get(word):
                return self.nodes[word]
        known = sorted(self.tensors | {node.name for node in self.model.nodes})
        ends = self.model.inputs if what == "input" else self.model.outputs
        raise UsageError(
            f"{what} {name!r} is neither a tensor nor a node of the model{nearest(name, known)} "
            f"(the file's own {what}s: {', '.join(ends)})",
            name=name,
        )


def _ancestors(model: OnnxModel, stops: set[str]) -> list[Any]:
    """The nodes that the outputs need, in their order, not looking past `stops`."""
    producer = model.producers()
    wanted: set[int] = set()
    stack = [name for name in model.outputs if name not in stops]
    while stack:
        node = producer.get(stack.pop())
        if node is None or id(node) in wanted:
            continue
        wanted.add(id(node))
        stack += [name for name in node.inputs if name and name not in stops]
    return [node for node in model.nodes if id(node) in wanted]


def _inferred(proto: Any, names: Sequence[str]) -> dict[str, list[int | None]]:
    """Shapes of inner tensors as onnx infers them; those that it cannot infer are left out."""
    from onnx import shape_inference

    try:
        full = shape_inference.infer_shapes(proto, data_prop=True)
    except Exception:  # inference is a help here; without it the caller has to state shapes
        return {}
    found: dict[str, list[int | None]] = {}
    for value in [*full.graph.value_info, *full.graph.output]:
        if value.name in names and value.type.tensor_type.HasField("shape"):
            found[value.name] = [
                dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None
                for dim in value.type.tensor_type.shape.dim
            ]
    return found
