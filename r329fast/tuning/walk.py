"""The network layer by layer in exact integers, each layer changed before the next one runs."""

from __future__ import annotations

import dataclasses
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from r329fast.calibration.ranges import Ranges
from r329fast.graph.ir import Graph, Layer
from r329fast.program.program import Op, Program, TensorSpec
from r329fast.quantization.lower.context import Lowering
from r329fast.quantization.lower.lowering import lower_layer
from r329fast.quantization.scheme import Scheme
from r329fast.simulator.simulator import Simulator
from r329fast.tuning.mirrors import Images

_BLOCK = 16  # images that are quantised at once


@dataclass(frozen=True)
class Lowered:
    """One layer's ops, and every tensor that they touch."""

    layer: Layer
    ops: list[Op]
    tensors: dict[str, TensorSpec]


class Walk:
    """Where the walk stands: the specs of all tensors so far, the integers of those still read."""

    def __init__(
        self,
        graph: Graph,
        ranges: Ranges,
        scheme: Scheme,
        x: Images,
        threads: int = 1,
        rows: np.ndarray | None = None,
    ) -> None:
        """rows: int64, the images of x that it runs (None: all)."""
        self.graph, self.ranges, self.scheme, self.threads = graph, ranges, scheme, threads
        self.specs: dict[str, TensorSpec] = {}
        self.values: dict[str, np.ndarray] = {}
        self._x, self._rows = x, np.arange(len(x)) if rows is None else rows
        self._last = {name: i for i, layer in enumerate(graph) for name in layer.inputs}

    def lower(self, index: int, layer: Layer, ranges: Ranges | None = None) -> Lowered:
        """The layer at `index`, as it is or as `layer` has it, with the walk's ranges or others."""
        low = Lowering(self.graph, ranges or self.ranges, self.scheme)
        low.tensors = dict(self.specs)
        low.index = index
        lower_layer(low, layer)
        names = {name for op in low.ops for name in (*op.inputs, *op.outputs)} | {*layer.outputs}
        return Lowered(layer, low.ops, {name: low.tensors[name] for name in names})

    def run(self, lowered: Lowered) -> dict[str, np.ndarray]:
        """The layer's outputs for all images, from the compiled kernels."""
        layer = lowered.layer
        if layer.is_input:
            spec = lowered.tensors[layer.outputs[0]]
            one = Program(self.graph.name, "", {spec.name: spec}, [], [], (spec.name,), ())
            parts = range(0, len(self._rows), _BLOCK)
            rows = [self._rows[first : first + _BLOCK] for first in parts]
            return {spec.name: np.concatenate([one.quantize_input(self._x[row]) for row in rows])}
        inputs = tuple(dict.fromkeys(layer.inputs))
        program = Program(
            self.graph.name, "", lowered.tensors, lowered.ops, [], inputs, layer.outputs
        )
        program.verify()
        with closing(Simulator(program, threads=self.threads)) as simulator:
            return simulator.run({name: self.values[name] for name in inputs})

    def take(self, index: int, lowered: Lowered, outputs: dict[str, np.ndarray]) -> None:
        """Go on behind the layer with these outputs."""
        self.specs.update(lowered.tensors)
        self.values.update(outputs)
        for name in list(self.values):
            if self._last.get(name, -1) <= index and name not in self.graph.outputs:
                del self.values[name]


def with_consts(layer: Layer, weights: np.ndarray, bias: np.ndarray) -> Layer:
    consts = {
        **layer.consts,
        "weights": weights.astype(np.float32).reshape(layer.consts["weights"].shape),
        "bias": bias.astype(np.float32),
    }
    return dataclasses.replace(layer, consts=consts)
