"""The order of steps: what was fitted is fitted anew where ranges have changed since."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support.programs import small_graph

from r329fast.calibration import Ranges, calibrate
from r329fast.tuning import steps as tuning_steps
from r329fast.tuning.float_side import run_float
from r329fast.tuning.options import TuneOptions
from r329fast.tuning.state import State, split, stored_ranges
from r329fast.tuning.steps import planned, take_steps
from r329fast.tuning.workbench import Bench


def _bench() -> tuple[Bench, State]:
    graph = small_graph()
    shape = graph.shapes[graph.inputs[0]]
    x = np.random.default_rng(0).normal(size=(24, *shape)).astype(np.float32)
    ranges = stored_ranges(calibrate(graph, x, "aqt2021", "EXTREME"))
    side = run_float(graph, x, 0)
    options = TuneOptions(allow=("ranges", "bias", "rounding"), budget=0.0)
    bench = Bench(x, "aqt2021", options, split(len(x)), side, side.output)
    return bench, State(graph, ranges, "EXTREME")


def test_weights_are_fitted_again_to_other_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    bench, state = _bench()
    steps = dict(planned(bench, state, lambda count: None))
    again = steps["bias and rounding again"]
    once_more = steps["bias and rounding once more"]
    assert list(steps)[-1] == "bias and rounding once more"
    assert again(state) is None  # nothing was fitted before
    bench.unfitted = state
    assert once_more(state) is None
    mirrored = again(state)  # other ranges or not
    assert mirrored is not None
    assert mirrored[1]["mirrored"]
    fitted = steps["bias and rounding"](state)
    assert fitted is not None
    name = "add"
    low, high = state.ranges[name]
    ranges = Ranges({**state.ranges.values, name: (low * 0.5, high * 0.5)})
    monkeypatch.setattr(tuning_steps, "fitted_with_mirrors", lambda *given: None)
    found = once_more(State(fitted[0].graph, ranges, "EXTREME"))
    fresh = steps["bias and rounding"](State(state.graph, ranges, "EXTREME"))
    assert found is not None
    assert fresh is not None
    hashes = [
        item[0].program("aqt2021").hash()
        for item in (found, fresh, (dataclasses.replace(fitted[0], ranges=ranges), {}))
    ]
    assert hashes[0] == hashes[1]  # from the float weights, not from those on the grid
    assert hashes[0] != hashes[2]


def test_the_state_before_the_fit_is_remembered() -> None:
    bench, state = _bench()
    take_steps(bench, state, None, lambda count: None, lambda line: None)
    assert bench.unfitted is not None
    for before, after in zip(state.graph, bench.unfitted.graph, strict=True):
        if "weights" in before.consts:
            np.testing.assert_array_equal(after.consts["weights"], before.consts["weights"])
