"""Changes of the float network that are judged with weights and biases fitted anew."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.programs import small_graph

from r329fast.calibration import calibrate
from r329fast.tuning import steps, verdict
from r329fast.tuning.arrivals import arrivals
from r329fast.tuning.behind import (
    ABSORB,
    BEHIND,
    EQUALISE,
    HEADROOM,
    behind_fit,
    better_behind,
    fitted_best,
    ranges_behind_fit,
)
from r329fast.tuning.equalise import equalised, predicted_noise
from r329fast.tuning.float_side import run_float
from r329fast.tuning.headroom import with_headroom
from r329fast.tuning.journal import Journal
from r329fast.tuning.options import TuneOptions
from r329fast.tuning.score import ImageScore
from r329fast.tuning.state import MSE, State, split, stored_ranges
from r329fast.tuning.steps import planned, take_steps
from r329fast.tuning.workbench import Bench


def _bench(count: int = 24) -> tuple[Bench, State]:
    graph = small_graph()
    shape = graph.shapes[graph.inputs[0]]
    x = np.random.default_rng(0).normal(size=(count, *shape)).astype(np.float32)
    ranges = stored_ranges(calibrate(graph, x, "aqt2021", "EXTREME"))
    side = run_float(graph, x, 0)
    options = TuneOptions(allow=("equalise", "bias", "rounding"), budget=0.0)
    bench = Bench(x, "aqt2021", options, split(len(x)), side, side.output)
    return bench, State(graph, ranges, "EXTREME")


def _score(noise: list[float]) -> ImageScore:
    """Of images with a signal of 100 and such noise."""
    score = ImageScore()
    exact = np.full((len(noise), 4), 5.0)
    score.add(exact + np.sqrt(np.array(noise) / 4)[:, None], exact, None)
    return score


@pytest.mark.parametrize(
    ("after", "predicted", "kept", "tie"),
    [
        ([0.5, 0.6, 0.4, 0.5], -3.0, True, False),  # images that agree need no model
        ([2.0, 1.5, 1.8, 1.6], 3.0, False, False),
        ([0.5, 2.0, 0.8, 1.2], 0.3, True, True),
        ([0.5, 2.0, 0.8, 1.2], -0.3, False, True),
        ([0.5, 2.0, 0.8, 0.3], None, False, True),  # a network that errors are not followed in
    ],
)
def test_a_tie_is_what_the_model_says(
    after: list[float], predicted: float | None, kept: bool, tie: bool
) -> None:
    found, why = better_behind({"predicted_gain_db": predicted}, _score([1.0] * 4), _score(after))
    assert (found, why["tie"]) == (kept, tie)
    low, high = why["judged_interval_db"]
    assert low <= why["judged_gain_db"] <= high


@pytest.mark.parametrize(
    ("kinds", "simple", "alone"),
    [
        (("bias", "rounding"), [0.5, 0.6, 0.4, 0.5], True),
        (("bias", "rounding"), [2.0, 1.5, 1.8, 1.6], False),
        (("bias", "rounding"), [0.5, 2.0, 0.8, 0.9], False),  # better by less than an error
        (("rounding",), [0.5, 0.6, 0.4, 0.5], None),  # nobody allowed the other
        (("bias",), [0.5, 0.6, 0.4, 0.5], None),
    ],
)
def test_biases_alone_where_they_are_better(
    monkeypatch: pytest.MonkeyPatch, kinds: tuple[str, ...], simple: list[float], alone: bool | None
) -> None:
    bench, state = _bench()
    scores = {}

    def fitted(_bench: Bench, begun: State, kinds: tuple[str, ...], _advance: Any) -> Any:
        found = dataclasses.replace(begun, method="+".join(kinds))
        scores[id(found)] = _score(simple if kinds == ("bias",) else [1.0] * 4)
        return found, {"layers": list(kinds)}

    monkeypatch.setattr("r329fast.tuning.behind.fitted", fitted)
    monkeypatch.setattr(bench, "held", lambda found: scores[id(found)])
    found, details = fitted_best(bench, state, kinds)
    assert details.get("biases_alone") is alone
    assert details["layers"] == (["bias"] if alone else list(kinds))
    assert found.method == "+".join(details["layers"])


def test_the_model_predicts_less_noise_with_factors() -> None:
    bench, state = _bench()
    program = state.program("aqt2021")
    arriving = arrivals(state.graph, bench.x, 0)
    graph, factors = equalised(state.graph, program, bench.side, arriving, means_count=False)
    assert factors
    scaled = {n: v / factors[n] ** 2 if n in factors else v for n, v in arriving.items()}
    before = predicted_noise(state.graph, program, bench.side, arriving)
    assert predicted_noise(graph, program, run_float(graph, bench.x, 0), scaled) < before
    again = arrivals(graph, bench.x, 0)
    for name in again:  # what arrives in a scaled channel needs no other pass
        np.testing.assert_allclose(scaled[name], again[name], rtol=1e-3, atol=1e-12)


def test_few_images_are_not_asked_behind_the_fit() -> None:
    for count, behind in ((24, True), (23, False)):
        bench, state = _bench(count)
        names = [name for name, _ in planned(bench, state, lambda count: None)]
        assert (ABSORB + BEHIND in names) == behind
        assert (ABSORB in names) != behind


def test_what_is_kept_is_gone_on_with_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step kept behind the fit leaves its float network and its state before the fit."""
    judged: list[Any] = []

    def kept(details: dict[str, Any], before: ImageScore, after: ImageScore) -> Any:
        judged.append(details)
        return True, better_behind(details, before, after)[1]

    monkeypatch.setattr(verdict, "better_behind", kept)
    monkeypatch.setattr(verdict, "agreement_falls", lambda before, after: False)
    monkeypatch.setattr(
        steps, "planned", lambda *given: [step for step in planned(*given) if step[0] != EQUALISE]
    )
    found = []
    for _ in range(2):
        bench, state = _bench()
        start = state.graph
        journal = Journal(tmp_path, "key")
        after, records, _ = take_steps(bench, state, journal, lambda n: None, lambda line: None)
        record = next(r for r in records if r["step"] == EQUALISE + BEHIND)
        assert record["accepted"] or record["undone"]  # it may gain nothing in the end
        assert record["layers"]
        assert bench.unfitted is not None
        assert bench.side.graph is not start
        for layer in bench.side.graph:
            for name, values in layer.consts.items():
                want = bench.unfitted.graph.producer(layer.outputs[0]).consts[name]
                np.testing.assert_array_equal(values, want)
        hashes = [s.program("aqt2021").hash() for s in (after, bench.unfitted)]
        found.append((hashes, records, bench.side.output.tobytes(), len(judged)))
    assert found[0] == found[1]  # the second run did nothing again
    assert judged


@pytest.mark.parametrize("lasts", [True, False])
def test_half_a_fit_is_no_tie(monkeypatch: pytest.MonkeyPatch, lasts: bool) -> None:
    """A fit that the budget ended is not kept because the model prefers its network."""
    bench, state = _bench()
    answers = iter((True, lasts))  # as the step begins, and as it ends
    monkeypatch.setattr(Bench, "goes_on", lambda self: next(answers))
    trial = (ABSORB + BEHIND, lambda given: (given, {"predicted_gain_db": 1.0}))
    monkeypatch.setattr(steps, "planned", lambda *given: [trial])
    _, records, _ = take_steps(bench, state, None, lambda count: None, lambda line: None)
    assert records[0]["tie"]
    kept = records[0]["accepted"] or records[0].get("undone", False)  # it gains nothing in the end
    assert kept == lasts


@pytest.mark.parametrize("headroom", [0.8, 1.2])
def test_ranges_that_err_least_are_not_narrowed_again(headroom: float) -> None:
    """Headroom below 1 was found for the extremes, which are wider."""
    bench, state = _bench()
    bench.unfitted = state
    bench.kept[HEADROOM] = {"headroom": headroom, "method": "EXTREME"}
    assert ranges_behind_fit(bench, ("bias",)) is not None
    assert bench.tried is not None
    least = bench.ranges_as(state, MSE)
    wanted = least if headroom < 1 else with_headroom(least, headroom)
    assert bench.tried.ranges.values == wanted.ranges.values
    assert behind_fit(bench, ("bias",), EQUALISE) is not None  # the extremes of other channels
    own = bench.ranges_as(dataclasses.replace(state, graph=bench.side.graph), "EXTREME")
    assert bench.tried.ranges.values == with_headroom(own, headroom).ranges.values
