"""Channels that give zero whatever they read cost the others of their layer no bits."""

from __future__ import annotations

import dataclasses
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from support.programs import small_graph

import r329fast
from r329fast.calibration import calibrate
from r329fast.deploy import bundled
from r329fast.deploy.pipeline import prepare
from r329fast.graph.export.float_session import FloatSession
from r329fast.graph.ir import ConvAttrs, Graph
from r329fast.graph.layers.facts import Act
from r329fast.program import Program
from r329fast.simulator.simulator import Simulator
from r329fast.tuning import behind
from r329fast.tuning.behind import EQUALISE
from r329fast.tuning.files import tuned_model
from r329fast.tuning.float_side import run_float
from r329fast.tuning.journal import Journal
from r329fast.tuning.linear_step import largest_kept
from r329fast.tuning.options import TuneOptions
from r329fast.tuning.settings import PER_CHANNEL, changes_of
from r329fast.tuning.silent import SILENT, silent_channels, steps_gain, without_silent
from r329fast.tuning.state import State, split, stored_ranges
from r329fast.tuning.steps import planned, take_steps
from r329fast.tuning.weights import scheme_of
from r329fast.tuning.workbench import Bench

BOTH = ("aqt2021", "compass42")
ALLOWED = ("equalise", "bias", "rounding")


def _graph(row: float = 0.0, bias: float = -0.5) -> Graph:
    """Two channels of the convolution have such weights, and such a bias."""
    graph, layers = small_graph(), []
    for layer in graph:
        if layer.name == "conv":
            weights, biases = (
                layer.consts["weights"] * np.float32(0.01),
                layer.consts["bias"].copy(),
            )
            weights[2:4], biases[2:4] = row, bias
            layer = dataclasses.replace(layer, consts={"weights": weights, "bias": biases})
        layers.append(layer)
    return dataclasses.replace(graph, layers=layers)


def _state(graph: Graph, scheme: str, count: int = 24) -> tuple[State, np.ndarray]:
    shape = graph.shapes[graph.inputs[0]]
    x = np.random.default_rng(0).normal(size=(count, *shape)).astype(np.float32)
    method = "EXTREME" if scheme == "aqt2021" else "extrema"
    return State(graph, stored_ranges(calibrate(graph, x, scheme, method)), method), x


@pytest.mark.parametrize("row", [0.0, 1e-9])
@pytest.mark.parametrize("scheme", BOTH)
def test_the_others_get_their_bits_back(scheme: str, row: float) -> None:
    state, x = _state(_graph(row), scheme)
    found = changes_of(scheme, True)[PER_CHANNEL](state)
    assert found is not None
    after, details = found
    assert details["silent"] == {"conv": 2}
    plain = dataclasses.replace(after, graph=state.graph).program(scheme)
    program, live = after.program(scheme), np.array([0, 1, 4, 5, 6, 7])
    sizes = np.abs(state.graph.producer("conv").consts["weights"].reshape(8, -1)).max(axis=1)[live]

    def error(made: Program) -> float:
        """The largest error of a live channel's step."""
        op = next(one for one in made.ops if one.layer == "conv")
        wanted = made.tensors["conv"].scale * sizes / (made.tensors["x"].scale * 127)
        real = (op.consts["mult"] / 2.0 ** op.consts["shift"])[live]
        return float(np.abs(real / wanted - 1).max())

    assert error(program) < 0.01
    if row == 0 or scheme == "compass42":  # a tiny multiplier costs nothing in aqt2021
        assert error(plain) > error(program)
        assert steps_gain(plain, program, details["silent"], state.graph) > 0
    with closing(Simulator(program)) as simulator:
        q = simulator.run(program.quantize_input(x), keep=["conv"])["conv"]
    assert not q[..., 2:4].any()
    assert q[..., live].any()


@pytest.mark.parametrize("scheme", BOTH)
def test_float_outputs_stay(scheme: str) -> None:
    state, x = _state(_graph(), scheme)
    found = changes_of(scheme, True)[PER_CHANNEL](state)
    assert found is not None
    name = state.graph.outputs[0]
    outputs = [
        FloatSession(graph, threads=1).run(x)[name] for graph in (state.graph, found[0].graph)
    ]
    np.testing.assert_array_equal(*outputs)


@pytest.mark.parametrize(
    ("row", "bias", "act", "expected"),
    [
        (0.0, -0.5, "RELU", 2),
        (0.0, 0.0, "RELU6", 2),
        (0.0, 0.5, "RELU", 0),  # a constant is no silence
        (0.0, 0.0, "NONE", 0),  # nothing holds it at zero
        (0.3, -50.0, "RELU", 0),  # weights of the usual size cost nothing
        (1e-6, 0.5, "RELU", 0),
    ],
)
def test_what_is_silent(row: float, bias: float, act: str, expected: int) -> None:
    layer = _graph(row, bias).producer("conv")
    attrs = dataclasses.replace(layer.params(ConvAttrs), act=Act(act))
    layer = dataclasses.replace(layer, attrs=attrs)
    assert silent_channels(layer, 3.0, 3.0).sum() == expected


def test_one_scale_for_all_needs_nothing() -> None:
    state, _ = _state(_graph(), "aqt2021")
    program = state.program("aqt2021")
    graph, found = without_silent(state.graph, program, scheme_of("aqt2021", state.options))
    assert graph is state.graph
    assert not found


def test_a_network_with_scales_per_channel_begins_with_it(tmp_path: Path) -> None:
    """And a run that goes on behind the step does what the first one did."""
    found = []
    for _ in range(2):
        start, x = _state(_graph(), "aqt2021")
        change = changes_of("aqt2021", True)[PER_CHANNEL](start)
        assert change is not None
        state = dataclasses.replace(start, options=change[0].options)
        side = run_float(state.graph, x, 0)
        options = TuneOptions(allow=("equalise", "bias"), per_channel=True, budget=0.0)
        bench = Bench(x, "aqt2021", options, split(len(x)), side, side.output)
        assert SILENT in [name for name, _ in planned(bench, state, lambda n: None)]
        journal = Journal(tmp_path, "key")
        after, records, _ = take_steps(bench, state, journal, lambda n: None, lambda line: None)
        record = next(item for item in records if item["step"] == SILENT)
        assert record["accepted"]
        assert record["own_gain_db"] > 10
        found.append((after.program("aqt2021").hash(), records))
    assert found[0] == found[1]


def test_a_row_is_cut_off_where_that_errs_least() -> None:
    """An outlier is cut off if its input never moves, not if it does; an even row never."""
    rows = np.random.default_rng(0).uniform(-1, 1, (3, 40))
    rows[:2, 0] = 4.0
    variance = np.ones((3, 40))
    variance[0, 0] = 0.0
    found = largest_kept(rows, variance)
    assert found[0] == pytest.approx(2.0)  # the narrowest that is tried
    assert found[1] == pytest.approx(4.0)
    assert found[2] == pytest.approx(np.abs(rows[2]).max())


@pytest.mark.parametrize("scheme", BOTH)
def test_the_files_keep_the_promise(scheme: str, tmp_path: Path) -> None:
    """Quantised anew, the files of a network with silent channels give the promised integers."""
    network, layers, silenced = r329fast.load_model(str(bundled.path("net.onnx"))), [], ""
    for layer in network:
        if not silenced and layer.facts.linear and layer.act.kind == "RELU":
            consts = {name: values.copy() for name, values in layer.consts.items()}
            consts["weights"][:3], consts["bias"][:3] = 0, -0.25
            layer, silenced = dataclasses.replace(layer, consts=consts), layer.name
        layers.append(layer)
    path = tmp_path / "silent.onnx"
    path.write_bytes(tuned_model(dataclasses.replace(network, layers=layers)))
    shape = (24, *network.shapes[network.inputs[0]])
    x = np.random.default_rng(0).random(shape, np.float32)
    result = r329fast.tune(
        path, tmp_path / "out", dataset=x, scheme=scheme, per_channel=True, allow=ALLOWED
    )
    record = next(item for item in result.record["steps"] if item["step"] == SILENT)
    assert record["silent"] == {silenced: 3}
    assert result.gained
    assert prepare(result.files["cfg"]).program.hash() == result.record["program_hash"]


def test_shifts_from_the_beginning_keep_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Absorbed biases go back to the network as it was, which had none in its silent channels."""
    start, x = _state(_graph(), "aqt2021")
    found = changes_of("aqt2021", True)[PER_CHANNEL](start)
    assert found is not None
    side = run_float(start.graph, x, 0)
    options = TuneOptions(allow=("equalise", "bias"), budget=0.0)
    bench = Bench(x, "aqt2021", options, split(len(x)), side, side.output)
    bench.origin, bench.unfitted = start, found[0]
    bench.kept[EQUALISE] = {}
    monkeypatch.setattr(behind, "centred", lambda graph, side: (graph, {"dw": np.ones(8)}))
    assert behind.behind_fit(bench, ("bias",), behind.ABSORB) is not None
    assert bench.tried is not None
    rows = np.abs(bench.tried.graph.producer("conv").consts["weights"]).reshape(8, -1).max(axis=1)
    assert rows.min() > 1e-3 * rows.max()
