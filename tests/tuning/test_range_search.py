"""Ranges one by one: a trial behind a tensor is the whole network's, and a bad range is mended."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support.programs import small_graph

from r329fast.calibration import Ranges, calibrate
from r329fast.graph.export.float_session import FloatSession
from r329fast.quantization import Options
from r329fast.tuning.range_search import search_ranges
from r329fast.tuning.relower import with_other_ranges
from r329fast.tuning.state import State, least_error_factor, output_score
from r329fast.tuning.weights import scheme_of


@pytest.fixture(scope="module")
def start() -> tuple[State, np.ndarray, np.ndarray]:
    graph = small_graph()
    shape = graph.shapes[graph.inputs[0]]
    x = np.random.default_rng(0).normal(size=(24, *shape)).astype(np.float32)
    ranges = Ranges(calibrate(graph, x, "aqt2021", "EXTREME").values)
    return State(graph, ranges, "EXTREME"), x, FloatSession(graph).run(x)[graph.outputs[0]]


@pytest.mark.parametrize("factor", [20.0, 0.2])
def test_a_bad_range_is_mended_and_the_gain_is_real(
    start: tuple[State, np.ndarray, np.ndarray], factor: float
) -> None:
    state, x, expected = start
    name = "add"  # an average inherits its scale
    low, high = state.ranges[name]
    values = {**state.ranges.values, name: (low * factor, high * factor)}
    bad = dataclasses.replace(state, ranges=Ranges(values))

    def snr(item: State) -> float:
        return output_score(item.program("aqt2021"), x, expected, 1).snr

    found, records = search_ranges(bad, scheme_of("aqt2021", Options()), x, expected, 1)
    gained = sum(record["gain_db"] for record in records)
    assert gained > 0.5
    assert snr(found) - snr(bad) == pytest.approx(gained, abs=1e-6)
    width = found.ranges[name][1] / bad.ranges[name][1]
    assert (width < 0.8) if factor > 1 else (width > 1.2)


def test_the_factor_of_least_error_has_no_better_neighbour() -> None:
    values = np.random.default_rng(1).uniform(-1, 1, 100_000)
    values[0] = 2.5

    def error(factor: float) -> float:
        scale = 127 / (2.5 * factor)
        return float(((np.clip(np.rint(values * scale), -128, 127) / scale - values) ** 2).sum())

    factor = least_error_factor(values, 2.5, True)
    assert 0.4 < factor < 0.9
    assert error(factor) < min(error(factor - 0.1), error(factor + 0.1))
    assert least_error_factor(values[1:], 1.0, True) == pytest.approx(1.0)


@pytest.mark.parametrize("scheme", ["aqt2021", "compass42"])
def test_what_is_lowered_again_is_the_whole_program(
    start: tuple[State, np.ndarray, np.ndarray], scheme: str
) -> None:
    state, _, _ = start
    base = state.program(scheme)
    for name, (low, high) in state.ranges.values.items():
        ranges = Ranges({**state.ranges.values, name: (low * 0.7, high * 0.7)})
        found = with_other_ranges(base, state.graph, ranges, scheme_of(scheme, Options()), (name,))
        whole = State(state.graph, ranges, "").program(scheme)
        assert found.hash() == whole.hash()
        assert [layer.ops for layer in found.layers] == [layer.ops for layer in whole.layers]
