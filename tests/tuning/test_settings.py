"""Settings that tuning may choose: which they are, and that the files carry them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from support.programs import small_graph, small_ranges

import r329fast
from r329fast.deploy import bundled
from r329fast.deploy.pipeline import prepare, with_per_channel
from r329fast.quantization import Options
from r329fast.tuning import steps, verdict
from r329fast.tuning.behind import BEHIND, better_settings
from r329fast.tuning.float_side import run_float
from r329fast.tuning.options import TuneOptions
from r329fast.tuning.score import ImageScore
from r329fast.tuning.settings import (
    PER_CHANNEL,
    ZERO_POINTS,
    changed_words,
    changes_of,
    per_channel,
    with_zero_points,
)
from r329fast.tuning.state import State, split
from r329fast.tuning.steps import planned, take_steps
from r329fast.tuning.workbench import Bench

BOTH = ("aqt2021", "compass42")


def _state(options: Options | None = None) -> State:
    return State(small_graph(), small_ranges(), "EXTREME", options or Options())


@pytest.mark.parametrize("scheme", BOTH)
def test_scales_per_channel(scheme: str) -> None:
    state = _state()
    options = per_channel(state, scheme)
    assert options is not None
    program = dataclasses.replace(state, options=options).program(scheme)
    sizes = {op.layer: op.consts["mult"].size for op in program.ops if "weights" in op.consts}
    assert sizes == {"conv": 8, "dw": 8, "fc": 5}
    assert changed_words(state.options, options)
    assert per_channel(_state(options), scheme) is None
    assert per_channel(_state(with_per_channel(Options())), scheme) is None


def test_zero_points_where_they_make_steps_finer() -> None:
    state = _state()
    options = with_zero_points(state, "compass42")
    assert options is not None
    before = state.program("compass42").tensors
    after = dataclasses.replace(state, options=options).program("compass42").tensors
    finer = {name for name in after if after[name].scale > before[name].scale}
    assert finer
    assert {name for name in after if after[name].zero_point != before[name].zero_point} <= finer
    assert {name for name in before if before[name].dtype == "uint8"}.isdisjoint(finer)
    assert with_zero_points(_state(options), "compass42") is None  # chosen layer by layer


@pytest.mark.parametrize("free", [True, False])
def test_what_the_call_says_stays(free: bool) -> None:
    assert set(changes_of("aqt2021", free)) == ({PER_CHANNEL} if free else set())
    assert set(changes_of("compass42", free)) == {ZERO_POINTS, *([PER_CHANNEL] if free else [])}


def _bench(**changes: object) -> tuple[Bench, State]:
    """A network whose convolution has channels of very different sizes."""
    graph = small_graph()
    sizes = np.geomspace(0.01, 1, 8).astype(np.float32)
    layers = []
    for layer in graph:
        consts = dict(layer.consts)
        if layer.name == "conv":
            consts["weights"] = consts["weights"] * sizes.reshape(8, 1, 1, 1)
        if layer.name == "dw":
            consts["weights"] = consts["weights"] / sizes.reshape(8, 1, 1, 1)
        layers.append(dataclasses.replace(layer, consts=consts))
    graph = dataclasses.replace(graph, layers=layers[:-1], outputs=("fc",))
    x = np.random.default_rng(0).normal(size=(32, 8, 8, 3)).astype(np.float32)
    side = run_float(graph, x, 0)
    tune = TuneOptions(allow=("settings", "bias", "rounding"), budget=0.0, **changes)  # type: ignore[arg-type]
    bench = Bench(x, "aqt2021", tune, split(len(x)), side, side.output)
    ranges = {
        name: (-float(abs(v).max()), float(abs(v).max())) for name, v in side.extremes.items()
    }
    ranges |= {name: (0.0, ranges[name][1]) for name in ("conv", "add")}
    for name in ("pool", "flat"):
        ranges[name] = ranges["add"]
    return bench, State(graph, r329fast.Ranges(ranges), "file")


def _score(noise: list[float]) -> ImageScore:
    """Of images with such noise."""
    score, exact = ImageScore(), np.full((len(noise), 4), 5.0)
    score.add(exact + np.sqrt(np.array(noise) / 4)[:, None], exact, None)
    return score


@pytest.mark.parametrize(
    ("after", "kept"),
    [
        ([0.5, 0.6, 0.4, 0.5], True),
        ([0.5, 2.0, 0.4, 0.3], False),
        ([0.5, 1.1, 0.6, 0.8], True),  # more than one standard error
        ([2.0, 1.5, 1.8, 1.6], False),
    ],
)
def test_settings_that_images_cannot_tell_apart_stay(after: list[float], kept: bool) -> None:
    assert better_settings(_score([1.0] * 4), _score(after))[0] == kept


def test_scales_per_channel_are_gone_on_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        verdict, "better_settings", lambda *given: (True, better_settings(*given)[1])
    )
    bench, state = _bench()
    after, records, _ = take_steps(bench, state, None, lambda n: None, lambda line: None)
    record = next(r for r in records if r["step"] == PER_CHANNEL + BEHIND)
    assert record["accepted"]
    assert set(after.options.ops_per_channel) == {"Convolution", "DepthwiseConv", "FullyConnected"}
    assert record["options"] == {"ops_per_channel": list(after.options.ops_per_channel)}


def test_each_way_to_switch_it_off() -> None:
    for changes in ({"per_channel": False}, {"per_channel": True}):
        bench, state = _bench(**changes)
        names = [name for name, _ in planned(bench, state, lambda count: None)]
        assert not any(name.startswith(PER_CHANNEL) for name in names)
    bench, state = _bench()
    bench.tune = dataclasses.replace(bench.tune, allow=("bias", "rounding"))
    names = [name for name, _ in planned(bench, state, lambda count: None)]
    assert not any(name.startswith("settings") for name in names)


@pytest.mark.parametrize("scheme", BOTH)
def test_the_files_carry_the_settings(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever settings are kept, the cfg alone gives the promised integers."""
    monkeypatch.setattr(
        verdict, "better_settings", lambda *given: (True, better_settings(*given)[1])
    )
    monkeypatch.setattr(verdict, "agreement_falls", lambda before, after: False)
    kept = steps.planned

    def only(*given: object) -> list[tuple[str, object]]:
        found = kept(*given)  # type: ignore[arg-type]
        return [step for step in found if "and" in step[0] or step[0].endswith(BEHIND)]

    monkeypatch.setattr(steps, "planned", only)
    graph = r329fast.load_model(str(bundled.path("net.onnx")))
    x = np.random.default_rng(0).random((24, *graph.shapes[graph.inputs[0]]), np.float32)
    result = r329fast.tune(
        bundled.path("net.onnx"), tmp_path, dataset=x, scheme=scheme,
        allow=("settings", "bias", "rounding"),
    )  # fmt: skip
    if not result.gained:
        pytest.skip("no step helped on noise")
    assert prepare(result.files["cfg"]).program.hash() == result.record["program_hash"]
