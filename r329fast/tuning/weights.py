"""The walk that fits weights and biases, layer after layer, and what it found in each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from r329fast.graph.ir import Graph
from r329fast.profile.errors import ratio_db
from r329fast.quantization import Options
from r329fast.quantization.aqt2021 import Aqt2021
from r329fast.quantization.compass42 import Compass42
from r329fast.quantization.scheme import Scheme
from r329fast.tuning.float_side import FloatSide
from r329fast.tuning.linear_step import LinearStep
from r329fast.tuning.patches import is_fitted
from r329fast.tuning.state import Parts, State
from r329fast.tuning.walk import Lowered, Walk

# how far the aim leaves the float weights for those that fit the samples best
TRUSTS = {"rounding, full": 1.0, "rounding, part": 0.4, "rounding, hardly": 0.05}


def scheme_of(name: str, options: Options) -> Scheme:
    return Aqt2021(options) if name == "aqt2021" else Compass42(options)


def fit_weights(
    state: State,
    scheme: Scheme,
    x: np.ndarray,
    side: FloatSide,
    parts: Parts,
    kinds: tuple[str, ...],
    threads: int,
    goes_on: Callable[[], bool] = lambda: True,
    advance: Callable[[int], None] | None = None,
) -> tuple[Graph, list[dict[str, Any]]]:
    """(the network with fitted constants, one record a layer).

    kinds: of "bias" and "rounding"; goes_on(): False leaves the layers from there as they are.
    """
    walk = Walk(state.graph, state.ranges, scheme, x, threads)
    layers, records = [], []
    for index, layer in enumerate(state.graph):
        chosen = walk.lower(index, layer)
        outputs = walk.run(chosen)
        if is_fitted(layer) and goes_on():
            step = LinearStep(walk, index, side, parts.fitted, parts.judging)
            found = {"as it was": (chosen, outputs)}
            for word, lowered in _candidates(step, kinds).items():
                found[word] = lowered, walk.run(lowered)
            errors = {word: step.judge(pair[1], pair[0]) for word, pair in found.items()}
            # nothing that is worse for the images it was fitted to is taken for good
            better = [w for w in errors if errors[w][0] <= errors["as it was"][0]]
            best = min(better, key=lambda word: errors[word][1])
            chosen, outputs = found[best]
            records.append(_record(layer.name, best, errors, side, parts))
        walk.take(index, chosen, outputs)
        layers.append(chosen.layer)
        if advance is not None:
            advance(1)
    return dataclasses.replace(state.graph, layers=layers), records


def _candidates(step: LinearStep, kinds: tuple[str, ...]) -> dict[str, Lowered]:
    found = {}
    if "bias" in kinds:
        found["bias"] = step.bias_only()
    if "rounding" in kinds:
        found |= dict(zip(TRUSTS, step.rounded(tuple(TRUSTS.values())), strict=False))
    return found


def _record(
    name: str,
    best: str,
    errors: dict[str, tuple[float, float]],
    side: FloatSide,
    parts: Parts,
) -> dict[str, Any]:
    """SNR of the layer's output on the judging images: before, after, and of each candidate."""
    signal = float((side.values[name][parts.judging].astype(np.float64) ** 2).sum())
    tried = {word: ratio_db(signal, error[1]) for word, error in errors.items()}
    return {"layer": name, "chosen": best, "before": tried["as it was"], "after": tried[best],
            "tried": tried}  # fmt: skip
