"""The check command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.graph_nets import Step, net, random, save

STEPS: list[Step] = [
    ("Conv", "x w", "c", {}),
    ("Relu", "c", "r", {}),
    ("GlobalAveragePool", "r", "p", {}),
    ("Flatten", "p", "y", {}),
]
WEIGHTS = {"w": random(5, 4, 3, 3)}
BAD: list[Step] = [
    ("LSTM", "x w w", "a", {"hidden_size": 1}),
    ("TopK", "x k", "b i", {}),
    ("Add", "a b", "y", {}),
]


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return save(net(STEPS, ("N", 4, "H", "W"), WEIGHTS), tmp_path)


def test_supported(run, good: Path) -> None:
    code, out, err = run("check", good, "--input-shape", "1,4,6,7")
    assert (code, err) == (0, "")
    assert "supported" in out
    assert "Convolution" in out
    assert "input x: [N, 6, 7, 4]" in out


def test_json(run, good: Path) -> None:
    code, out, _ = run("check", good, "--input-shape", "x=[1,4,6,7]", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["supported"] is True
    assert found["issues"] == []
    assert found["layers"] == 4
    assert found["macs"] == 4 * 5 * 5 * 4 * 9
    assert found["params"] == 5 * 4 * 9 + 5
    assert found["outputs"] == {"n3": [5]}


def test_layers_and_cuts(run, good: Path) -> None:
    code, out, _ = run(
        "check", good, "--layers", "--outputs", "r", "--input-shape", "1,4,6,7", "--inputs", "x"
    )
    assert code == 0
    assert "n0" in out
    assert "Pooling" not in out


def test_free_axes(run, good: Path) -> None:
    code, out, _ = run("check", good)
    assert code == 3
    assert "--input-shape" in " ".join(out.split())


def test_issues(run, tmp_path: Path) -> None:
    path = save(
        net(BAD, consts={"w": np.zeros((1, 4, 1), np.float32), "k": np.array([1])}), tmp_path
    )
    code, out, _ = run("check", path)
    assert code == 3
    assert "LSTM" in out
    assert "TopK" in out
    code, out, _ = run("check", path, "--json")
    found = json.loads(out)
    assert code == 3
    assert found["supported"] is False
    assert [issue["op"] for issue in found["issues"]] == ["LSTM", "TopK"]
    assert set(found["issues"][0]) == {"op", "layer", "reason", "advice"}


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--outputs", "n33"], "did you mean"),
        (["--input-shape", "1,a"], "allowed [NAME=]1,3,224,224"),
        (["--input-shape", "1,4,6,7", "--input-shape", "x=1,4,6,7"], "name all inputs or none"),
        (["--input-shape", "z=1,4,6,7"], "no input of the model"),
    ],
)
def test_usage(run, good: Path, argv: list[str], words: str) -> None:
    code, out, err = run("check", good, *argv)
    assert (code, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1


def test_damaged_file(run, tmp_path: Path) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"\x07" * 100)
    code, out, err = run("check", path)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
