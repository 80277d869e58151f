"""`FloatSession`: the fused float graph run by onnxruntime, every tensor on request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from r329fast.base.reading import reason
from r329fast.errors import DataError, UnsupportedModelError
from r329fast.graph.export.to_onnx import kept_tensors, to_onnx
from r329fast.graph.ir import Graph


class FloatSession:
    """Runs a graph in float32.

    graph: the fused graph. keep: "outputs", "all" (every tensor but the inputs) or tensor names.
    threads: of onnxruntime; 0 lets it choose.
    """

    def __init__(
        self, graph: Graph, keep: str | Iterable[str] = "outputs", threads: int = 1
    ) -> None:
        import onnxruntime as ort

        self.graph = graph
        self.names = kept_tensors(graph, keep)
        self._computed = tuple(name for name in self.names if name not in graph.inputs)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # the maps stay NCHW inside and out: turning them is a view here, and costs nothing
        # and large weights are handed over as they are, which avoids copies and protobuf's 2 GB
        self._large: dict[str, np.ndarray] = {}
        model = to_onnx(graph, self._computed, nhwc_ends=False, large=self._large)
        if self._large:
            values = [ort.OrtValue.ortvalue_from_numpy(value) for value in self._large.values()]
            options.add_external_initializers(list(self._large), values)
        try:
            self._session = ort.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime has a kind of error per cause
            raise UnsupportedModelError(
                f"onnxruntime cannot run the float network {graph.name!r} ({reason(error)})"
            ) from error

    def run(self, x: np.ndarray | Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run a batch.

        x: float32 [N, ...] in the graph's layout (feature maps NHWC), or one such array for each
        input by name. Returns tensor name -> float32 [N, ...] in the graph's layout; feature maps
        are views, not contiguous. Raises DataError for a wrong name, rank or size.
        """
        feeds = self._feeds(x)
        results = self._session.run(None, feeds)
        values = {**feeds, **dict(zip(self._computed, results, strict=True))}
        return {name: self._turned(name, values[name]) for name in self.names}

    def _turned(self, name: str, value: np.ndarray) -> np.ndarray:
        return value.transpose(0, 2, 3, 1) if len(self.graph.shapes[name]) == 3 else value

    def _feeds(self, x: np.ndarray | Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        inputs = self.graph.inputs
        if not isinstance(x, Mapping):
            if len(inputs) != 1:
                raise DataError(f"one array for {len(inputs)} inputs: {', '.join(inputs)}")
            x = {inputs[0]: x}
        feeds = {}
        for name in inputs:
            if name not in x:
                raise DataError(f"no array for the input {name!r}", name=name)
            array = np.asarray(x[name], dtype=np.float32)
            shape = self.graph.shapes[name]
            if array.ndim != len(shape) + 1 or array.shape[1:] != shape:
                raise DataError(
                    f"input {name!r}: an array of shape {list(array.shape)}, "
                    f"expected [N, {', '.join(str(size) for size in shape)}]",
                    name=name,
                )
            turned = array.transpose(0, 3, 1, 2) if len(shape) == 3 else array
            feeds[name] = np.ascontiguousarray(turned)
        return feeds
