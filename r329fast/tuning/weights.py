"""The walk that fits weights and biases, layer after layer, and what it found in each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from r329fast.base.allocator import give_back
from r329fast.graph.ir import Graph
from r329fast.profile.errors import ratio_db
from r329fast.quantization import Options
from r329fast.quantization.aqt2021 import Aqt2021
from r329fast.quantization.compass42 import Compass42
from r329fast.quantization.scheme import Scheme
from r329fast.tuning.float_side import FloatSide
from r329fast.tuning.linear_step import LinearStep
from r329fast.tuning.mirrors import Images
from r329fast.tuning.patches import is_fitted
from r329fast.tuning.state import Parts, State
from r329fast.tuning.walk import Lowered, Walk

AS_IT_WAS = "as it was"
WALK_BYTES = 512 << 20  # integers of all images that a walk holds at once
# how far the aim leaves the float weights for those that fit the samples best
TRUSTS = {"rounding, full": 1.0, "rounding, part": 0.4, "rounding, hardly": 0.05}


def scheme_of(name: str, options: Options) -> Scheme:
    return Aqt2021(options) if name == "aqt2021" else Compass42(options)


def fit_weights(
    state: State,
    scheme: Scheme,
    x: Images,
    side: FloatSide,
    parts: Parts,
    kinds: tuple[str, ...],
    threads: int,
    goes_on: Callable[[], bool] = lambda: True,
    advance: Callable[[int], None] | None = None,
    arriving: Mapping[str, np.ndarray] | None = None,
) -> tuple[Graph, list[dict[str, Any]]]:
    """(the network with fitted constants, one record a layer).

    kinds: of "bias" and "rounding"; goes_on(): False leaves the layers from there as they are;
    arriving: as `arrivals` gives it, what an error in each channel counts.
    """
    rows = walked_images(state.graph, parts)
    fitted, judging = parts.fitted[rows], parts.judging[rows]
    walk = Walk(state.graph, state.ranges, scheme, x, threads, rows)
    layers, records = [], []
    for index, layer in enumerate(state.graph):
        if is_fitted(layer) and goes_on():
            counted = (arriving or {}).get(layer.outputs[0])
            give_back()
            step = LinearStep(walk, index, side, rows, fitted, judging, counted)
            chosen, outputs, record = _best(step, kinds)
            del step  # its samples make room before the next layer runs
            records.append(record)
        else:
            chosen = walk.lower(index, layer)
            outputs = walk.run(chosen)
        walk.take(index, chosen, outputs)
        layers.append(chosen.layer)
        if advance is not None:
            advance(1)
    return dataclasses.replace(state.graph, layers=layers), records


def _best(
    step: LinearStep, kinds: tuple[str, ...]
) -> tuple[Lowered, dict[str, np.ndarray], dict[str, Any]]:
    """(the layer as it errs least, what it gives, a record): as it was, or a candidate."""
    best, chosen = AS_IT_WAS, step.base
    outputs = step.walk.run(chosen)
    errors = {best: step.judge(outputs, chosen)}
    for word, lowered in _candidates(step, kinds):
        tried = step.walk.run(lowered)
        errors[word] = step.judge(tried, lowered)
        # nothing that is worse for the images it was fitted to is taken for good
        fits = errors[word][0] <= errors[AS_IT_WAS][0]
        if fits and errors[word][1] < errors[best][1]:
            best, chosen, outputs = word, lowered, tried
        del tried  # else three of these maps are held while the next one is made
    return chosen, outputs, _record(step.layer.name, best, errors, step)


def walked_images(graph: Graph, parts: Parts) -> np.ndarray:
    """int64: the images that fit and judge; where their maps have no room in WALK_BYTES, evenly
    fewer of both."""
    room = max(WALK_BYTES // image_bytes(graph), 2)
    used = np.flatnonzero(parts.fitted | parts.judging)
    if len(used) <= room:
        return used
    judging = np.flatnonzero(parts.judging)
    fitted = np.flatnonzero(parts.fitted)
    count = max(room * len(judging) // len(used), 1)
    rows = np.concatenate([_evenly(judging, count), _evenly(fitted, room - count)])
    return np.unique(rows)


def _evenly(rows: np.ndarray, count: int) -> np.ndarray:
    return rows[np.arange(min(count, len(rows))) * len(rows) // min(count, len(rows))]


def image_bytes(graph: Graph) -> int:
    """Of the maps of one image that are held at once: those still read, and two of the layer."""
    last = {name: i for i, layer in enumerate(graph) for name in layer.inputs}
    held: dict[str, int] = {}
    most = 1
    for index, layer in enumerate(graph):
        made = {name: int(np.prod(graph.shapes[name])) for name in layer.outputs}
        most = max(most, sum(held.values()) + 2 * sum(made.values()))
        held |= made
        held = {name: size for name, size in held.items() if last.get(name, -1) > index}
    return most


def _candidates(step: LinearStep, kinds: tuple[str, ...]) -> Iterator[tuple[str, Lowered]]:
    if "bias" in kinds:
        yield "bias", step.bias_only()
    if "rounding" in kinds:
        yield from zip(TRUSTS, step.rounded(tuple(TRUSTS.values())), strict=False)


def _record(
    name: str, best: str, errors: dict[str, tuple[float, float]], step: LinearStep
) -> dict[str, Any]:
    """SNR of the layer's output on the judging images: before, after, and of each candidate."""
    tried = {word: ratio_db(step.signal, error[1]) for word, error in errors.items()}
    return {"layer": name, "chosen": best, "before": tried[AS_IT_WAS], "after": tried[best],
            "tried": tried}  # fmt: skip
