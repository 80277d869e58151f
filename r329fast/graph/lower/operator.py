"""What a family declares of the ONNX operators that it reads and the layer types that it writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from r329fast.graph.ir import Layer
from r329fast.graph.lower.builder import Builder
from r329fast.graph.onnx.model import Node
from r329fast.graph.onnx.writer import Writer
from r329fast.graph.rule import Constraint

# (writer, layer) -> the ONNX tensor, or tensors, that hold the layer's output
LayerWriter = Callable[[Writer, Layer], str | list[str]]


@dataclass(frozen=True)
class Operator:
    """One ONNX operator: its importer, what it becomes (for people), and its constraints.

    The importer sees only nodes that meet all of `needs`.
    """

    load: Callable[[Builder, Node], None]
    becomes: str
    needs: tuple[Constraint, ...] = ()
