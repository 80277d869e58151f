"""Fits to mirror images as well, and errors that count by what arrives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.programs import small_graph

from r329fast.calibration import calibrate
from r329fast.graph.export.float_session import FloatSession
from r329fast.tuning import workbench
from r329fast.tuning.float_side import run_float
from r329fast.tuning.linear_step import LinearStep, counted_errors, grid_factor
from r329fast.tuning.options import TuneOptions
from r329fast.tuning.state import State, output_score, split, stored_ranges
from r329fast.tuning.walk import Walk
from r329fast.tuning.weights import scheme_of
from r329fast.tuning.workbench import Bench, fitted_with_mirrors, mirrored


def _bench(count: int = 24) -> tuple[Bench, State]:
    graph = small_graph()
    x = np.random.default_rng(0).normal(size=(count, 8, 8, 3)).astype(np.float32)
    state = State(graph, stored_ranges(calibrate(graph, x, "aqt2021", "EXTREME")), "EXTREME")
    side = run_float(graph, x, 0)
    tune = TuneOptions(budget=0.0)
    return Bench(x, "aqt2021", tune, split(count), side, side.output), state


def test_only_images_that_fit_are_mirrored(monkeypatch: pytest.MonkeyPatch) -> None:
    bench, state = _bench()
    seen: list[Any] = []

    def fit(state: State, scheme: Any, x: np.ndarray, side: Any, parts: Any, *rest: Any) -> Any:
        seen.append((x, parts))
        return state.graph, []

    monkeypatch.setattr(workbench, "fit_weights", fit)
    found = fitted_with_mirrors(bench, state, ("bias",))
    assert found is not None
    x, parts = seen[0]
    count, fits = len(bench.x), int(bench.parts.fitted.sum())
    assert found[1]["mirrored"] == fits
    np.testing.assert_array_equal(x[:count], bench.x)
    np.testing.assert_array_equal(x[count:], bench.x[bench.parts.fitted][:, :, ::-1])
    assert parts.fitted[count:].all()
    for part, before in ((parts.judging, bench.parts.judging),
                         (parts.confirming, bench.parts.confirming)):  # fmt: skip
        np.testing.assert_array_equal(part[:count], before)
        assert not part[count:].any()


def test_what_is_no_image_is_not_mirrored() -> None:
    bench, state = _bench()
    for shape in ((24, 8, 8, 2), (24, 8, 1, 3), (24, 192)):
        bench.x = np.zeros(shape, np.float32)
        assert fitted_with_mirrors(bench, state, ("bias",)) is None


def test_errors_count_by_what_arrives() -> None:
    bench, state = _bench()
    walk = Walk(state.graph, state.ranges, scheme_of("aqt2021", state.options), bench.x)
    for index in range(2):
        lowered = walk.lower(index, state.graph.layers[index])
        outputs = walk.run(lowered)
        if index == 0:
            walk.take(index, lowered, outputs)
    rows = np.arange(len(bench.x))
    given = (walk, 1, bench.side, rows, bench.parts.fitted, bench.parts.judging)
    plain = LinearStep(*given).judge(outputs, lowered)
    single = [LinearStep(*given, arriving=np.eye(8)[c]).judge(outputs, lowered) for c in range(8)]
    assert np.mean(single, axis=0) == pytest.approx(np.array(plain), rel=1e-6)
    assert len({round(error, 6) for error, _ in single}) > 1


def test_what_counts_nothing_is_not_given_up() -> None:
    np.testing.assert_array_equal(counted_errors(None, 3), np.ones(3))
    np.testing.assert_array_equal(counted_errors(np.zeros(3), 3), np.ones(3))
    found = counted_errors(np.array([0.0, 2.0]), 2)
    assert found.mean() == pytest.approx(1)
    assert 0 < found[0] < 0.02


def test_the_grid_is_chosen_for_the_outputs_that_count() -> None:
    rng = np.random.default_rng(0)
    ideal = rng.normal(size=(2, 200)) * np.array([[1.0], [8.0]])
    ideal[1, 0] = 127.0
    ideal[0, 0] = 60.0
    ones = np.ones(200)
    first = grid_factor(ideal, ones, np.array([1.0, 0.0]))
    second = grid_factor(ideal, ones, np.array([0.0, 1.0]))
    assert first < second


def test_steps_behind_the_fit_are_judged_by_images_that_no_weight_was_fitted_to() -> None:
    bench, state = _bench()
    x, parts = bench.x, bench.parts
    score = bench.held(state)
    kept = x[parts.judging | parts.confirming]
    turned = mirrored(kept)
    assert turned is not None
    assert len(score.rows) == 2 * len(kept)
    graph, program = state.graph, state.program("aqt2021")
    for images, rows in ((kept, score.rows[: len(kept)]), (turned, score.rows[len(kept) :])):
        expected = FloatSession(graph).run(images)[graph.outputs[0]]
        np.testing.assert_allclose(rows, output_score(program, images, expected, 1).rows, 1e-4)
    assert bench.held(state) is score
