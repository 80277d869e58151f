"""What the rest of the front end sees of an ONNX file: plain nodes, constants, shapes.

Shapes here are the ONNX ones, batch axis included; `None` stands for a shape nobody could infer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from r329fast.graph.ir import Given


@dataclass
class Node:
    """One ONNX node. attrs: decoded values (int, float, str, lists, arrays).

    `name` is the node's own name or, where it has none, its first output; unique in the model.
    An input that is left out is "". `proto` is the NodeProto it came from (None for a node that
    a pattern made), which constant folding and shape inference need.
    """

    op: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attrs: dict[str, Any] = field(default_factory=dict)
    domain: str = ""
    proto: Any = None

    def attr(self, key: str, default: Any = None) -> Any:
        """The attribute's value, or `default` where the node has none."""
        return self.attrs.get(key, default)

    def input(self, index: int) -> str:
        """Name of input `index`, "" where it is left out."""
        return self.inputs[index] if index < len(self.inputs) else ""


@dataclass
class OnnxModel:
    """Nodes in order, constants by tensor name, shapes by tensor name, and the graph's ends.

    input_types: names of numpy dtypes of the inputs; free_axes: input -> axes without a size;
    free_batch: whether the file leaves the batch of an input free; moved: tensors that the
    file does not have in this form: the batch was brought to the front (`batch.py`), a node was
    written out, a branch of an If was put in place.
    given: tensor -> scale and zero point that the file states; given_again: tensors for which it
    states a second, other one; weight_steps: constant -> scales of
    the integers that it was made of.
    """

    name: str
    opset: int
    nodes: list[Node]
    consts: dict[str, np.ndarray]
    inputs: list[str]
    outputs: list[str]
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    input_types: dict[str, str] = field(default_factory=dict)
    free_axes: dict[str, list[int]] = field(default_factory=dict)
    free_batch: bool = False
    moved: set[str] = field(default_factory=set)
    given: dict[str, Given] = field(default_factory=dict)
    given_again: list[str] = field(default_factory=list)
    weight_steps: dict[str, np.ndarray] = field(default_factory=dict)
    _consumers: dict[str, list[Node]] | None = None

    def shape(self, tensor: str) -> tuple[int, ...] | None:
        """Shape of a tensor or constant, batch axis included; None if unknown."""
        if tensor in self.consts:
            return tuple(self.consts[tensor].shape)
        return self.shapes.get(tensor)

    def const(self, tensor: str) -> np.ndarray | None:
        """The constant behind a tensor name, None if it is computed or left out."""
        return self.consts.get(tensor)

    def floats(self, tensor: str) -> np.ndarray:
        """A constant as float32."""
        return np.asarray(self.consts[tensor], dtype=np.float32)

    def consumers(self, tensor: str) -> list[Node]:
        """The nodes that read `tensor`, in order."""
        if self._consumers is None:
            table: dict[str, list[Node]] = {}
            for node in self.nodes:
                for name in dict.fromkeys(node.inputs):
                    table.setdefault(name, []).append(node)
            self._consumers = table
        return self._consumers.get(tensor, [])

    def replace_nodes(self, nodes: list[Node]) -> None:
        """Put another node list in place (and forget who reads what)."""
        self.nodes = nodes
        self._consumers = None

    def producers(self) -> dict[str, Node]:
        """Tensor name -> the node that makes it."""
        return {name: node for node in self.nodes for name in node.outputs if name}
