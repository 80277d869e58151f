"""The mend of a joined output whose parts differ much in range: its parts as outputs, measured."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

import numpy as np

from r329fast.graph.export.float_session import FloatSession
from r329fast.graph.ir import Graph
from r329fast.profile.errors import Batches
from r329fast.profile.sensitivity import OutputScore
from r329fast.profile.silent_failures import SilentFailure
from r329fast.profile.suggestion import Suggestion
from r329fast.program.program import LayerRecord, Program
from r329fast.simulator.simulator import Simulator


def split_suggestions(
    graph: Graph,
    program: Program,
    failures: Sequence[SilentFailure],
    batches: Batches,
    threads: int = 1,
) -> list[Suggestion]:
    """One for each joined output: the score of its worst part, cut from the whole and on its own.

    The parts are tensors of the same program, so nothing else in it changes.
    """
    records = {layer.name: layer for layer in program.layers}
    result = []
    for item in failures:
        if item.kind != "parts" or not item.parts:
            continue
        layer = records[item.layer]
        pairs = _scores(graph, program, layer, batches, threads)
        before, after = min(pairs, key=lambda pair: pair[0].snr)
        result.append(
            Suggestion(
                "outputs",
                item.layer,
                "its parts differ more than 100 times in range",
                f"the parts of {item.layer} as outputs",
                f"[Parser] output = {', '.join(item.parts)}",
                before.as_json(),
                after.as_json(),
            )
        )
    return result


def _scores(
    graph: Graph, program: Program, layer: LayerRecord, batches: Batches, threads: int
) -> list[tuple[OutputScore, OutputScore]]:
    """(cut from the joined tensor, on its own) for each part, against the float network."""
    joined, parts, tensors = layer.outputs[0], list(layer.inputs), program.tensors
    detail = layer.detail["axis"]
    axis = (detail if isinstance(detail, int) else 0) + 1
    ends = np.cumsum([tensors[name].shape[axis - 1] for name in parts])[:-1]
    result = [(OutputScore(), OutputScore()) for _ in parts]
    session = FloatSession(graph, keep="all", threads=threads)
    with closing(Simulator(program, threads=threads)) as simulator:
        for batch in batches:
            exact = {graph.inputs[0]: batch.x, **session.run(batch.x)}
            found = simulator.run(program.quantize_input(batch.x), keep=[joined, *parts])
            cuts = np.split(tensors[joined].dequantize(found[joined]), ends, axis=axis)
            for (before, after), name, piece in zip(result, parts, cuts, strict=True):
                before.add(piece, exact[name], None)
                after.add(tensors[name].dequantize(found[name]), exact[name], None)
    return result
