"""How much each layer matters: quantised alone in a float network, or left in float.

For every layer that computes, over a few images: the float network with only this layer
quantised, and the quantised network with only this layer in float. Either way only what lies
behind the layer is run again.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np

from r329fast.graph.export.float_session import FloatSession
from r329fast.graph.ir import Graph, Layer
from r329fast.profile.data_counters import Advance
from r329fast.profile.errors import (
    Batches,
    float_block,
    labelled_blocks,
    ratio_db,
    top_class,
)
from r329fast.profile.subprograms import (
    SINGLE,
    graph_behind,
    isolated,
    program_behind,
    single_layer,
)
from r329fast.program.program import Program
from r329fast.simulator.simulator import Simulator


@dataclass
class OutputScore:
    """A network's first output against the float network's, over images."""

    signal: float = 0.0
    noise: float = 0.0
    images: int = 0
    agreed: int = 0
    right: int = 0
    labelled: int = 0

    def add(self, values: np.ndarray, expected: np.ndarray, labels: np.ndarray | None) -> None:
        """values, expected: float32 [N, ...]; labels: int64 [N] or None."""
        exact = np.asarray(expected, dtype=np.float64)
        self.signal += float((exact**2).sum())
        self.noise += float(((values - exact) ** 2).sum())
        found = top_class(values)
        self.agreed += int((found == top_class(expected)).sum())
        self.images += len(values)
        if labels is not None:
            self.right += int((found == labels).sum())
            self.labelled += len(labels)

    @property
    def snr(self) -> float:
        """dB."""
        return ratio_db(self.signal, self.noise)

    @property
    def agreement(self) -> float:
        return self.agreed / max(self.images, 1)

    @property
    def top1(self) -> float | None:
        return self.right / self.labelled if self.labelled else None

    def as_json(self) -> dict[str, float | None]:
        return {"snr": self.snr, "agreement": self.agreement, "top1": self.top1}


@dataclass
class LayerSensitivity:
    """only: just this layer quantised; without: all but this one."""

    name: str
    only: OutputScore = field(default_factory=OutputScore)
    without: OutputScore = field(default_factory=OutputScore)


def computing_layers(program: Program) -> list[str]:
    """Names of the layers that have an error of their own."""
    return [layer.name for layer in program.layers if not layer.is_input and not layer.facts.moves]


def layer_sensitivity(
    graph: Graph,
    program: Program,
    batches: Batches,
    *,
    threads: int = 1,
    advance: Advance | None = None,
) -> dict[str, LayerSensitivity]:
    """Both scores of every computing layer over all images of `batches` (a few dozen do).

    advance(1) is called after each layer of each block.
    """
    names = computing_layers(program)
    layers = {layer.name: layer for layer in graph}
    result = {name: LayerSensitivity(name) for name in names}
    session = FloatSession(graph, keep="all", threads=threads)
    output = program.outputs[0]
    with (
        closing(Simulator(program, threads=threads)) as whole,
        closing(Simulator(isolated(program), threads=threads)) as singles,
    ):
        for batch in labelled_blocks(batches, 4 * float_block(graph)):
            floats = {graph.inputs[0]: batch.x, **session.run(batch.x)}
            integers = whole.run(program.quantize_input(batch.x), keep=tuple(program.tensors))
            feeds = {
                name: program.quantize_input(floats[name], name) for name in singles.program.inputs
            }
            alone = singles.run(feeds)
            for name in names:
                layer = layers[name]
                only = _only(graph, program, layer, floats, alone, threads)
                result[name].only.add(only, floats[output], batch.labels)
                without = _without(graph, program, layer, integers, threads)
                result[name].without.add(without, floats[output], batch.labels)
                if advance is not None:
                    advance(1)
    return result


def _only(
    graph: Graph,
    program: Program,
    layer: Layer,
    floats: dict[str, np.ndarray],
    alone: dict[str, np.ndarray],
    threads: int,
) -> np.ndarray:
    """The float network's first output with only `layer` quantised."""
    changed = {
        name: program.tensors[name].dequantize(alone[SINGLE + name]) for name in layer.outputs
    }
    output = program.outputs[0]
    if output in changed:
        return changed[output]
    tail = graph_behind(graph, layer.outputs)
    if output not in tail.outputs:
        return floats[output]
    feeds = {name: changed.get(name, floats[name]) for name in tail.inputs}
    return FloatSession(tail, keep=[output], threads=threads).run(feeds)[output]


def _without(
    graph: Graph,
    program: Program,
    layer: Layer,
    integers: dict[str, np.ndarray],
    threads: int,
) -> np.ndarray:
    """The quantised network's first output with only `layer` in float."""
    tensors, output = program.tensors, program.outputs[0]
    real: Callable[[str], np.ndarray] = lambda name: tensors[name].dequantize(integers[name])  # noqa: E731
    one = single_layer(graph, layer)
    changed = FloatSession(one, keep=list(layer.outputs), threads=threads).run(
        {name: real(name) for name in one.inputs}
    )
    if output in changed:
        return changed[output]
    tail = program_behind(program, layer.outputs)
    if output not in tail.outputs:
        return real(output)
    quantised = {name: program.quantize_input(x, name) for name, x in changed.items()}
    feeds = {name: quantised.get(name, integers.get(name)) for name in tail.inputs}
    with closing(Simulator(tail, threads=threads)) as simulator:
        found = simulator.run(feeds, keep=[output])[output]  # type: ignore[arg-type]
    return tensors[output].dequantize(found)
