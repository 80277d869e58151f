"""The headroom of ranges is where the noise is least, and never below 1 for a few images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from r329fast.calibration import Ranges
from r329fast.deploy import bundled
from r329fast.graph import load_model
from r329fast.tuning import headroom
from r329fast.tuning.float_side import run_float
from r329fast.tuning.state import State

NET = str(bundled.path("net.onnx"))


@dataclass
class _Score:
    noise: float


@pytest.mark.parametrize("best", headroom.HEADROOMS)
@pytest.mark.parametrize("images", [6, 12])
def test_the_least_noise(best: float, images: int, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = load_model(NET)
    name = graph.layers[1].outputs[0]
    assert graph.layers[1].act.kind != "RELU6"
    x = np.random.default_rng(4).normal(size=(images, *graph.shapes[graph.inputs[0]]))
    x = x.astype(np.float32)
    side = run_float(graph, x, 0)
    side.extremes[name][:] = (-1.0, 1.0)  # so that every fold shows the whole
    state = State(graph, Ranges(dict.fromkeys(graph.shapes, (-1.0, 1.0))), "EXTREME")
    tried: list[float] = []

    def score(program: Any, *others: Any) -> _Score:
        tried.append(program.ranges[name][1])
        return _Score((tried[-1] - best) ** 2 + 1)

    monkeypatch.setattr(headroom, "output_score", score)
    found, snr, plain = headroom.best_headroom(
        state,
        lambda trial: trial,
        x,
        side.output,
        side,
        1,  # type: ignore[arg-type, return-value]
    )
    few = images < 8
    assert found == (max(best, 1.0) if few else best)
    assert snr >= plain
    assert len(set(tried)) <= len(headroom.HEADROOMS)
