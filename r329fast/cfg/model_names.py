"""What an ONNX file says of its names and shapes, and what a cfg leaves to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from r329fast.base.reading import is_there
from r329fast.cfg.run_config import RunConfig
from r329fast.cfg.values import Shape
from r329fast.errors import CfgError, FileError, nearest
from r329fast.graph.onnx.model_file import load_proto


@dataclass(frozen=True)
class ModelNames:
    """What a new cfg needs to know of an ONNX file.

    `inputs` maps a name to its dimensions (a positive number, or the name of a dynamic one);
    `tensors` are those that nodes make, `nodes` maps a node's name to its first tensor. The graph
    may be cut at any of these names. `sources` maps a tensor to what its node reads.
    """

    inputs: dict[str, tuple[int | str, ...]]
    outputs: tuple[str, ...]
    tensors: frozenset[str]
    nodes: dict[str, str]
    sources: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def tensor(self, name: str) -> str:
        """The input or inner tensor that a name of either kind means, or '' for an unknown one.

        TensorFlow's `node:0` stands for the node.
        """
        if name in self.inputs or name in self.tensors:
            return name
        plain = name.removesuffix(":0")
        if plain in self.inputs or plain in self.tensors:
            return plain
        return self.nodes.get(name) or self.nodes.get(plain, "")

    def inputs_of(self, outputs: Sequence[str]) -> tuple[str, ...]:
        """The model's inputs that the given tensors or nodes need, in the model's order."""
        waiting = [self.tensor(name) for name in outputs]
        seen = set(waiting)
        while waiting:
            new = [name for name in self.sources.get(waiting.pop(), ()) if name not in seen]
            seen.update(new)
            waiting += new
        return tuple(name for name in self.inputs if name in seen)


def read_model_names(path: Path | str) -> ModelNames:
    """Read the names and shapes of a model, without weights kept beside it.

    Raises FileError for a file that is missing or no ONNX model.
    """
    if not is_there(path):
        raise FileError(f"model not found: {path}", path=str(path))
    graph = load_proto(path, weights=False).graph
    if not graph.output:
        raise FileError(f"cannot read {path}: not an ONNX model with outputs", path=str(path))
    constants = {item.name for item in graph.initializer}
    inputs = {
        item.name: tuple(
            dim.dim_value if dim.dim_value > 0 else dim.dim_param or "?"
            for dim in item.type.tensor_type.shape.dim
        )
        for item in graph.input
        if item.name not in constants
    }
    tensors = {name for node in graph.node for name in node.output if name}
    return ModelNames(
        inputs,
        tuple(item.name for item in graph.output),
        frozenset(tensors),
        {
            node.name: next(name for name in node.output if name)
            for node in reversed(graph.node)  # of several with one name the first counts
            if node.name and any(node.output)
        },
        {name: tuple(node.input) for node in graph.node for name in node.output if name},
    )


def check_input_names(chosen: Sequence[str], names: ModelNames) -> None:
    """Raise CfgError for a name that is no input, inner tensor or node of the model."""
    for name in chosen:
        if not names.tensor(name):
            inner = sorted({*names.tensors, *names.nodes})
            raise CfgError(
                f"[Parser] input: found {name!r}, no input, node or computed tensor of the model "
                f"has that name, its inputs are {', '.join(names.inputs)}"
                f"{nearest(name, [*names.inputs, *inner])}",
                key="input",
            )


def check_output_names(chosen: Sequence[str], names: ModelNames) -> None:
    """Raise CfgError for a name that is neither a node nor a tensor of the model."""
    for name in chosen:
        if not names.tensor(name) or name in names.inputs:
            known = {*names.tensors, *names.nodes}
            raise CfgError(
                f"[Parser] output: found {name!r}, no node or tensor of the model has that name, "
                f"its outputs are {', '.join(names.outputs)}{nearest(name, sorted(known))}",
                key="output",
            )


def fixed_shape(name: str, dims: tuple[int | str, ...]) -> Shape:
    """The shape of an input with batch 1 where that is free; CfgError for another free axis."""
    if not dims:
        raise CfgError(
            f"input {name} has no shape in the model (none is read for a tensor inside it): "
            "give all with input_shape (--input-shape), such as [1, 64, 56, 56]",
            key="input_shape",
        )
    fixed = []
    for axis, size in enumerate(dims):
        if isinstance(size, str) and axis > 0:
            raise CfgError(
                f"dimension {axis} ({size!r}) of input {name} is not fixed in the model: "
                "give all with input_shape (--input-shape), such as [1, 3, 224, 224]",
                key="input_shape",
            )
        fixed.append(1 if isinstance(size, str) else size)
    return tuple(fixed)


def shape_mismatch(shape: Shape, dims: tuple[int | str, ...]) -> str:
    """Why a shape does not go with the model's dimensions (batch left out), or ''."""
    same = len(shape) == len(dims) and all(
        isinstance(dim, str) or size == dim for size, dim in zip(shape[1:], dims[1:], strict=True)
    )
    if same or not dims:
        return ""
    return f"found {list(shape)}, the model has [{', '.join(str(dim) for dim in dims)}]"


def completed(config: RunConfig) -> RunConfig:
    """The cfg with the `input`, `input_shape` and `output` that it leaves to the model.

    A batch that the model leaves free is 1. Raises FileError for a model that cannot be read,
    CfgError for a name that it does not have and an axis that it leaves free.
    """
    parser = config.parser
    if parser.input and parser.input_shape and parser.output:
        return config
    names = read_model_names(parser.input_model)
    check_output_names(parser.output, names)
    output = parser.output or names.outputs
    chosen = parser.input or names.inputs_of(output)
    check_input_names(chosen, names)
    shapes = parser.input_shape
    if not shapes:
        tensors = [names.tensor(name) for name in chosen]
        shapes = tuple(fixed_shape(name, names.inputs.get(name, ())) for name in tensors)
    elif len(shapes) != len(chosen):
        raise CfgError(
            f"[Parser] input_shape: found {len(shapes)} shapes, allowed: one for each input of "
            f"the model ({', '.join(chosen)})",
            key="input_shape",
        )
    filled = dataclasses.replace(parser, input=chosen, input_shape=shapes, output=output)
    return dataclasses.replace(config, parser=filled)
