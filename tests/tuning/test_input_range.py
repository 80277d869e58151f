"""The ranges of both ends: steps that meet an image's levels, answers that others exceed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support.programs import small_graph, small_ranges

from r329fast.calibration import Ranges
from r329fast.graph import ir
from r329fast.quantization import Options
from r329fast.tuning import state as tuning_state
from r329fast.tuning.float_side import run_float
from r329fast.tuning.headroom import best_output_headroom, with_headroom
from r329fast.tuning.input_range import best_input_range
from r329fast.tuning.options import TuneOptions
from r329fast.tuning.state import MSE, State, answer_tensors, ranges_of, split
from r329fast.tuning.steps import take_steps
from r329fast.tuning.weights import scheme_of
from r329fast.tuning.workbench import INPUT, Bench

SUB = {"half": 128.0, "zero": 0.0}


def _images(sub: float, div: float, count: int = 8) -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3))
    pixels[:, 0, 0], pixels[:, 0, 1] = 0, 255
    return ((pixels - sub) / div).astype(np.float32)


def _state(x: np.ndarray) -> State:
    pair = float(x.min()), float(x.max())
    return State(small_graph(), Ranges({**small_ranges().values, "x": pair}), "EXTREME")


@pytest.mark.parametrize("scheme", ["aqt2021", "compass42"])
@pytest.mark.parametrize(("sub", "div"), [(128.0, 128.0), (128.0, 1.0)])
def test_an_image_in_the_middle_is_exact(scheme: str, sub: float, div: float) -> None:
    x = _images(sub, div)
    state = _state(x)
    found = best_input_range(state, scheme_of(scheme, Options()), x, x, None)
    assert found is not None
    spec = found[0].program(scheme)
    np.testing.assert_allclose(
        spec.tensors["x"].dequantize(spec.quantize_input(x)), x, atol=1e-6 * np.abs(x).max()
    )
    assert found[1] > 60


def test_exact_steps_stay() -> None:
    """0 to 1 in 255 steps, as uint8, is exact already."""
    x = _images(0.0, 255.0)
    assert best_input_range(_state(x), scheme_of("aqt2021", Options()), x, x, None) is None


def test_a_constant_error_counts_nothing() -> None:
    """Levels that lie beside the steps, all by the same: biases take that out."""
    x = _images(127.7, 1.0)
    found = best_input_range(_state(x), scheme_of("aqt2021", Options()), x, x, None)
    assert found is not None
    assert found[0].program("aqt2021").tensors["x"].scale == pytest.approx(1.0, rel=1e-4)


def test_what_arrives_decides_between_channels() -> None:
    """Channels of different steps: the one that counts gets its own."""
    x = np.concatenate([_images(128.0, div)[..., :1] for div in (128.0, 131.0, 135.0)], axis=-1)
    x[..., 2] /= 2
    state, scheme = _state(x), scheme_of("aqt2021", Options())
    for channel, div in ((0, 128.0), (1, 131.0)):
        found = best_input_range(state, scheme, x, x, np.eye(3)[channel])
        assert found is not None
        assert found[0].program("aqt2021").tensors["x"].scale == pytest.approx(div, rel=0.02)


def test_the_step_is_kept_and_stays_through_the_others() -> None:
    x = _images(128.0, 128.0, 32)
    graph = dataclasses.replace(small_graph(), layers=small_graph().layers[:-1], outputs=("fc",))
    side = run_float(graph, x, 0)
    tune = TuneOptions(allow=("ranges", "equalise", "bias", "rounding"), budget=0.0)
    bench = Bench(x, "aqt2021", tune, split(len(x)), side, side.output)
    values = {name: pair for name, pair in _state(x).ranges.values.items() if name != "prob"}
    state = State(graph, Ranges(values), "EXTREME")
    after, records, _ = take_steps(bench, state, None, lambda n: None, lambda line: None)
    record = next(r for r in records if r["step"] == INPUT)
    assert record["accepted"]
    assert after.ranges["x"] == tuple(record["ranges"][0]["to"])
    assert after.ranges["x"][1] == pytest.approx(127 / 128 * 127 / 128, rel=1e-3)


def _answers(kind: str) -> np.ndarray:
    rng = np.random.default_rng(3)
    if kind == "heavy":  # the largest of a set says little about the next set
        return rng.standard_t(2.0, size=(200, 5))
    return rng.uniform(-1, 1, size=(200, 5))


@pytest.mark.parametrize(("kind", "wider"), [("heavy", True), ("flat", False)])
def test_answers_get_room_where_others_exceed_them(kind: str, wider: bool) -> None:
    values = _answers(kind)
    graph = dataclasses.replace(small_graph(), layers=small_graph().layers[:-1], outputs=("fc",))
    pair = float(values.min()), float(values.max())
    state = State(graph, Ranges({**small_ranges().values, "fc": pair}), "EXTREME")
    headroom, gain = best_output_headroom(state.program("aqt2021"), values)
    assert (headroom > 1) == wider
    assert (gain > 0) == wider


def test_answers_are_never_made_narrower(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the logits in front of a Softmax, nor what is only moved behind them."""
    graph = small_graph()
    assert answer_tensors(graph) == {"fc", "prob"}
    layers = graph.layers[:-1]
    layers.append(ir.Layer("end", "Reshape", ir.ReshapeAttrs((1, 5)), ("fc",), ("end",)))
    moved = dataclasses.replace(
        graph, layers=layers, outputs=("end",), shapes={**graph.shapes, "end": (1, 5)}
    )
    assert answer_tensors(moved) == {"fc", "end"}
    del moved.shapes["prob"]
    values = {**small_ranges().values, "end": (-6.0, 7.0)}
    state = State(moved, Ranges(values), "EXTREME")
    narrow, wide = (with_headroom(state, factor).ranges for factor in (0.8, 1.2))
    assert narrow["fc"] == state.ranges["fc"]
    assert narrow["conv"][1] < state.ranges["conv"][1]
    assert wide["fc"][1] > state.ranges["fc"][1]
    x = np.random.default_rng(0).normal(size=(24, 8, 8, 3)).astype(np.float32)
    monkeypatch.setattr(tuning_state, "least_error_factor", lambda *given: 0.5)
    side = run_float(moved, x, 0)
    plain, least = (
        ranges_of(moved, method, x, "aqt2021", Options(), side, 1) for method in ("EXTREME", MSE)
    )
    assert least["fc"] == plain["fc"]
    assert least["conv"][1] == pytest.approx(plain["conv"][1] / 2)
