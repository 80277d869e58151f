"""Steps of tuning that lie: whatever stands in the folder, the step is done again."""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.evaluation_sets import calibration_set, small_net

from r329fast.calibration import Ranges, calibrate
from r329fast.deploy.pipeline import with_per_channel
from r329fast.graph import load_model
from r329fast.quantization import Options
from r329fast.tuning.journal import FOLDER, Journal, fingerprint
from r329fast.tuning.state import State

_KEY = "0" * 64
_RECORD = {
    "step": "a",
    "accepted": True,
    "gain_db": 1.5,
    "gain_chosen_db": 1.0,
    "method": "EXTREME",
}


@pytest.fixture
def state(tmp_path: Path) -> State:
    graph = load_model(small_net(tmp_path / "small.onnx", bias=1.0))
    return State(
        graph,
        calibrate(graph, calibration_set(), "aqt2021", "EXTREME"),
        "EXTREME",
        with_per_channel(Options()),
    )


def test_a_step_comes_back_as_it_was(tmp_path: Path, state: State) -> None:
    journal = Journal(tmp_path, _KEY)
    journal.write("a", dict(_RECORD), state)
    journal.write("b", {**_RECORD, "accepted": False}, None)
    record, found = journal.read("a", state) or ({}, None)
    assert record == _RECORD
    assert found is not None
    assert found.options == state.options
    wanted = state.program("aqt2021")
    assert found.program("aqt2021").hash() == wanted.hash()
    assert journal.read("b", state) == ({**_RECORD, "accepted": False}, None)
    assert Journal(tmp_path, "1" * 64).read("a", state) is None
    assert journal.read("c", state) is None


def test_all_that_decides_the_steps_is_in_the_key(state: State) -> None:
    """Also ranges that came from a file, and what a layer reads: a run that was killed goes on
    only where its beginning is the same."""
    x, words = calibration_set(), {"seed": 0}
    graph = state.graph
    name = graph.layers[-1].outputs[0]
    low, high = state.ranges[name]
    ranges = Ranges({**state.ranges.values, name: (low, high * 1.25)})
    index = next(i for i, layer in enumerate(graph) if "weights" in layer.consts)
    layer = graph.layers[index]
    consts = {**layer.consts, "weights": layer.consts["weights"] * np.float32(1.01)}
    layers = list(graph.layers)
    layers[index] = dataclasses.replace(layer, consts=consts)
    fed = [*graph.layers[:-1], dataclasses.replace(graph.layers[-1], inputs=graph.inputs)]
    keys = {
        fingerprint(state, x, words),
        fingerprint(dataclasses.replace(state, ranges=ranges), x, words),
        fingerprint(State(dataclasses.replace(graph, layers=layers), state.ranges, ""), x, words),
        fingerprint(State(dataclasses.replace(graph, layers=fed), state.ranges, ""), x, words),
        fingerprint(state, x[:-1], words),
        fingerprint(state, x, {"seed": 1}),
    }
    assert len(keys) == 6
    same = State(graph, Ranges(dict(reversed(state.ranges.values.items()))), state.method)
    assert fingerprint(same, x, words) in keys


@pytest.mark.parametrize(
    "lie", [[], 3, {}, {"gain_db": "x"}, {"gain_db": 1.25}, {"step": "b"}, {"more": 0},
            {"accepted": 1}, {"method": None}, {"names": 4},
            {"names": ["x"]}, {"names": [["x"]]}, {"state_options": None}, {"state_options": {}},
            {"state_options": {"rounding": 3}}]
)  # fmt: skip
def test_records_of_another_form(tmp_path: Path, state: State, lie: Any) -> None:
    journal = Journal(tmp_path, _KEY)
    journal.write("a", dict(_RECORD), state)
    path = tmp_path / FOLDER / "a.json"
    found = json.loads(path.read_text())
    path.write_text(json.dumps({**found, **lie} if isinstance(lie, dict) and lie else lie))
    assert journal.read("a", state) is None


def test_files_of_another_step(tmp_path: Path, state: State) -> None:
    journal = Journal(tmp_path, _KEY)
    wider = Ranges({name: (2 * low, 2 * high) for name, (low, high) in state.ranges.values.items()})
    folder = tmp_path / FOLDER
    for suffixes in ((".json",), (".npz",), (".json", ".npz")):
        journal.write("a", dict(_RECORD), state)
        journal.write("b", dict(_RECORD), dataclasses.replace(state, ranges=wider))
        assert journal.read("a", state) is not None
        for suffix in suffixes:
            (folder / f"a{suffix}").write_bytes((folder / f"b{suffix}").read_bytes())
        assert journal.read("a", state) is None


@pytest.mark.parametrize("lie", ["cut", "text", "shape", "nan", "object", "missing"])
def test_states_of_another_form(tmp_path: Path, state: State, lie: str) -> None:
    journal = Journal(tmp_path, _KEY)
    journal.write("a", dict(_RECORD), state)
    path = tmp_path / FOLDER / "a.npz"
    data = path.read_bytes()
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    name = next(name for name in arrays if name.endswith("weights"))
    if lie == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif lie == "text":
        path.write_bytes(b"no zip")
    elif lie == "object":
        with zipfile.ZipFile(path, "a") as archive:
            stream = io.BytesIO()
            np.save(stream, np.array([{}], dtype=object), allow_pickle=True)
            archive.writestr("x.npy", stream.getvalue())
    else:
        changed = {"shape": arrays[name].T[:1], "nan": np.full_like(arrays[name], np.nan)}
        arrays[name] = changed.get(lie, arrays[name])
        if lie == "missing":
            del arrays[name]
        np.savez(path, **arrays)
    assert journal.read("a", state) is None
