"""Building blocks for writing a graph as ONNX: nodes, constants, axes.

Feature maps are held NCHW; `stored` and `held` turn them where a layer works in storage order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from r329fast.graph.ir import Graph

# Where the axes of a feature map [N, H, W, C] lie in [N, C, H, W], and back.
TO_NCHW = (0, 3, 1, 2)
TO_NHWC = (0, 2, 3, 1)
_LARGE = 1 << 16  # elements
KEPT = "r329fast: a layer as it stands"  # doc_string of moves that the reader leaves as they are
_AXIS = (2, 3, 1)  # per-image axis of (H, W, C) -> axis of [N, C, H, W]


class Writer:
    """Nodes and initializers in the making. Tensor t is held by the ONNX tensor names[t].

    kept: nodes are named and written so that moves of data are read as the layers that they were.
    """

    def __init__(
        self, graph: Graph, model: Any, large: dict[str, np.ndarray] | None, kept: bool = False
    ) -> None:
        self.graph = graph
        self.model = model
        self.large = large
        self.kept = kept
        self.names: dict[str, str] = {}
        self.count = 0

    # --- building blocks ---------------------------------------------------------------------

    def fresh(self, hint: str) -> str:
        self.count += 1
        return f"{hint}__{self.count}"

    def const(self, values: np.ndarray | Sequence[int], hint: str = "const") -> str:
        """An initializer; large ones go to `large` by name, where that is wanted."""
        from onnx import TensorProto, helper

        array = np.ascontiguousarray(values).reshape(np.shape(values))
        name = self.fresh(hint)
        # filled in place: make_graph and make_model would copy hundreds of megabytes twice
        tensor = self.model.graph.initializer.add()
        tensor.name = name
        tensor.data_type = helper.np_dtype_to_tensor_dtype(array.dtype)
        tensor.dims.extend(array.shape)
        if self.large is None or array.size < _LARGE:
            tensor.raw_data = array.tobytes()
        else:
            self.large[name] = array
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value="memory")
        return name

    def scalar(self, value: float) -> str:
        return self.const(np.array(value, np.float32))

    def node(self, op: str, inputs: Sequence[str], count: int = 1, **attrs: Any) -> Any:
        """Append a node; returns its output's name, or names where count > 1."""
        from onnx import helper

        outputs = [self.fresh(op) for _ in range(count)]
        self.model.graph.node.append(helper.make_node(op, list(inputs), outputs, **attrs))
        return outputs[0] if count == 1 else outputs

    def name_last(self, layer: str, move: bool = False) -> None:
        """Where moves are kept, the last node bears a layer's name; move: it is that layer."""
        if self.kept:
            node = self.model.graph.node[-1]
            node.name = layer
            node.doc_string = KEPT if move else ""

    def is_map(self, tensor: str) -> bool:
        return len(self.graph.shapes[tensor]) == 3

    def stored(self, tensor: str) -> str:
        """The tensor in storage order (feature maps NHWC)."""
        name = self.names[tensor]
        return self.node("Transpose", [name], perm=TO_NHWC) if self.is_map(tensor) else name

    def held(self, name: str, tensor: str) -> str:
        """An ONNX tensor in storage order -> in the order it is held in."""
        return self.node("Transpose", [name], perm=TO_NCHW) if self.is_map(tensor) else name

    def axis(self, tensor: str, axis: int) -> int:
        """Per-image axis -> axis of the ONNX tensor that holds it."""
        rank = len(self.graph.shapes[tensor])
        axis %= rank
        return _AXIS[axis] if rank == 3 else axis + 1

    def per_channel(self, values: np.ndarray, tensor: str) -> str:
        """A value per channel, shaped to broadcast against the tensor as it is held."""
        return self.const(values.reshape(-1, 1, 1) if self.is_map(tensor) else values)
