"""tuned.onnx is read as the layers that were tuned, or the network is refused before the work."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from support.graph_nets import F, Step, ints, net, random, save

import r329fast
from r329fast.base.files import write_all
from r329fast.calibration import calibrate
from r329fast.cli.main import main
from r329fast.deploy.pipeline import load_config, prepare
from r329fast.graph import load_model
from r329fast.tuning.files import planned_files, tuned_model
from r329fast.tuning.state import State, stored_ranges
from r329fast.vendor import graph_json

_SAME = {"kernel_shape": [3, 3], "pads": [1] * 4}
_FIRST: list[Step] = [("Conv", "x w b", "a", _SAME), ("Relu", "a", "r", {})]
_CONSTS = {
    "w": random(4, 4, 3, 3, scale=0.3),
    "b": random(4, seed=1),
    "k": random(4, 4, 3, 3, seed=2, scale=0.3),
    "row": random(6, 4, 3, seed=3, scale=0.4),
    "few": random(4, 5, seed=4),
    "border": random(4, seed=5).reshape(1, 4, 1, 1),
    "other": random(6, 6, seed=6),
    "scale": np.abs(random(4, seed=7)) + F(0.5),
    "apart": ints(0, 2, 2, 6, 7),
    "together": ints(0, 4, 6, 7),
    "flat": ints(0, 4, 42),
}
_MAP, _ROW, _WORDS = (4, 6, 7), (4, 30), (5, 6)
_NETS: dict[str, tuple[tuple[int, ...], list[Step]]] = {
    "turned": (
        _MAP,
        [*_FIRST, ("Transpose", "r", "t", {"perm": [0, 1, 3, 2]}), ("Conv", "t k", "y", _SAME)],
    ),
    "shuffled": (
        _MAP,
        [
            *_FIRST,
            ("Reshape", "r apart", "s", {}),
            ("Transpose", "s", "m", {"perm": [0, 2, 1, 3, 4]}),
            ("Reshape", "m together", "t", {}),
            ("Conv", "t k", "y", _SAME),
        ],
    ),
    "row": (
        _ROW,
        [
            ("Conv", "x row", "a", {"kernel_shape": [3], "pads": [1, 1]}),
            ("Relu", "a", "y", {}),
        ],
    ),
    "words": (
        _WORDS,
        [
            ("MatMul", "x other", "a", {}),
            ("Relu", "a", "r", {}),
            ("Transpose", "r", "t", {"perm": [0, 2, 1]}),
            ("Softmax", "t", "y", {"axis": -1}),
        ],
    ),
    "mean": (
        _MAP,
        [
            *_FIRST,
            ("ReduceMean", "r", "m", {"axes": [3], "keepdims": 0}),
            ("ReduceMean", "m", "t", {"axes": [2], "keepdims": 0}),
            ("MatMul", "t few", "y", {}),
        ],
    ),
    "swish": (
        _MAP,
        [("Sigmoid", "x", "s", {}), ("Mul", "x s", "t", {}), ("Conv", "t w b", "y", _SAME)],
    ),
    "border": (_MAP, [("Sub", "x border", "s", {}), ("Conv", "s w b", "y", _SAME)]),
    "flat": (
        _MAP,
        [*_FIRST, ("Reshape", "r flat", "t", {}), ("Softmax", "t", "y", {"axis": 1})],
    ),
}


def _saved(name: str, folder: Path) -> Path:
    shape, steps = _NETS[name]
    read = {word for _, words, _, _ in steps for word in words.split()}
    consts = {word: value for word, value in _CONSTS.items() if word in read}
    return save(net(steps, (1, *shape), consts, 13), folder)


@pytest.mark.parametrize("scheme", ["aqt2021", "compass42"])
@pytest.mark.parametrize("name", _NETS)
def test_layers_come_back(name: str, scheme: str, tmp_path: Path) -> None:
    model, shape = _saved(name, tmp_path), _NETS[name][0]
    x = random(12, *(shape[1:] + shape[:1] if len(shape) == 3 else shape), seed=9, scale=2.0)
    graph = load_model(model)
    state = State(graph, stored_ranges(calibrate(graph, x, scheme)), "file")
    files, promised = planned_files(state, scheme, None, tmp_path / "out")
    write_all(files)
    found = prepare(load_config(tmp_path / "out" / "tuned.cfg")).program
    assert found.hash() == promised.hash()
    assert graph_json(found) == graph_json(state.program(scheme))


def test_a_network_with_a_shuffle_is_tuned(tmp_path: Path) -> None:
    model, x = _saved("shuffled", tmp_path), random(40, 6, 7, 4, scale=2.0)
    result = r329fast.tune(model, tmp_path / "out", dataset=x)
    assert result.gained
    found = prepare(load_config(result.files["cfg"])).program
    assert found.hash() == result.record["program_hash"]


def test_networks_that_need_no_marks_have_none(tmp_path: Path) -> None:
    steps: list[Step] = [
        *_FIRST,
        ("GlobalAveragePool", "r", "p", {}),
        ("Flatten", "p", "t", {}),
        ("MatMul", "t few", "y", {}),
    ]
    consts = {name: _CONSTS[name] for name in ("w", "b", "few")}
    model = save(net(steps, (1, *_MAP), consts, 13), tmp_path)
    x = random(12, 6, 7, 4, scale=2.0)
    allow = ("ranges", "bias", "rounding")
    result = r329fast.tune(model, tmp_path / "out", dataset=x, allow=allow)
    left = onnx.load(result.files["model"])
    assert not any(node.doc_string for node in left.graph.node)
    assert len(tuned_model(load_model(model))) == len(left.SerializeToString())


def test_what_cannot_come_back_is_refused_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An instance normalisation is written as a group normalisation and its factors."""
    steps: list[Step] = [*_FIRST, ("InstanceNormalization", "r scale b", "y", {})]
    consts = {name: _CONSTS[name] for name in ("w", "b", "scale")}
    model = save(net(steps, (1, *_MAP), consts, 13), tmp_path)
    np.save(tmp_path / "x.npy", random(12, 6, 7, 4, scale=2.0))
    words = ["tune", str(model), "--images", str(tmp_path / "x.npy"), "--out"]
    assert main([*words, str(tmp_path / "out"), "--json"]) == 3
    said = capsys.readouterr()
    text = json.loads(said.out)["error"]["message"]
    assert "tune cannot write this network" in text
    assert "profile --suggest" in text
    assert not (tmp_path / "out").exists()
