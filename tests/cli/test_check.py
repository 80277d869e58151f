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
    assert set(found["issues"][0]) == {"op", "layer", "reason", "advice", "others", "behind"}


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


def test_refused_transformer_is_a_page(run, tmp_path: Path, monkeypatch) -> None:
    """Twelve blocks whose attention mixes the images: one cause, all else follows from it."""
    steps: list[Step] = []
    last = "x"
    for block in range(12):
        name = f"a_very_long_name_of_a_block_{block}_as_exporters_write_it"
        steps += [
            ("Transpose", last, f"{name}_t", {"perm": [1, 0, 2]}),
            ("MatMul", f"{name}_t w", f"{name}_q", {}),
            ("Transpose", f"{name}_q", f"{name}_k", {"perm": [1, 2, 0]}),
            ("Reshape", f"{name}_k s", f"{name}_r", {}),
            ("Softmax", f"{name}_r", f"{name}_s", {"axis": 0}),
            ("Reshape", f"{name}_s b", f"{name}_o", {}),
            ("Add", f"{name}_o {last}", name, {}),
        ]
        last = name
    steps += [("ReduceMean", last, "m", {"axes": [1], "keepdims": 0}), ("Relu", "m", "y", {})]
    consts = {"w": random(8, 8), "s": np.array([8, -1]), "b": np.array([2, 6, 8])}
    path = save(net(steps, (2, 6, 8), consts), tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = run("check", path)
    assert code == 3
    assert out.count("\n") < 12
    assert "behind it" in out
    monkeypatch.delenv("COLUMNS")
    code, out, _ = run("check", path)
    assert code == 3
    assert all(len(line) < 80 or ": " in line or "->" in line for line in out.splitlines())


def test_names_stay_whole_in_a_pipe(run, tmp_path: Path) -> None:
    name = "a/very/long/name/" * 12
    model = net([("Conv", "x w", "c", {}), ("Relu", "c", "y", {})], consts=WEIGHTS)
    model.graph.node[0].name = name
    model.graph.node[1].op_type = "Foo"
    path = save(model, tmp_path)
    code, out, _ = run("check", path, "--layers", "--outputs", name)
    assert code == 0
    assert name in out
    model.graph.node[0].op_type = "Foo"
    code, out, _ = run("check", save(model, tmp_path))
    assert code == 3
    assert name in out


def test_write_fixes_sizes_and_folds(run, good: Path, tmp_path: Path) -> None:
    target = tmp_path / "fixed.onnx"
    code, out, err = run("check", good, "--input-shape", "1,4,6,7", "--write", target, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["written"] == str(target)
    assert found["difference"] == 0
    assert found["supported"] is True
    assert run("check", target)[0] == 0
    for ending in ("", ".r329", ".txt"):
        code, _, err = run("check", good, "--write", tmp_path / f"new{ending}")
        assert code == 2
        assert f"found {ending!r}, allowed .onnx" in err
        assert not (tmp_path / f"new{ending}").exists()
    code, _, err = run("check", good, "--input-shape", "1,4,6,7", "--write", good)
    assert code == 2
    assert "another name" in err


def test_write_cuts_off_a_head(run, tmp_path: Path) -> None:
    steps: list[Step] = [
        ("Conv", "x w", "c", {}),
        ("Relu", "c", "r", {}),
        ("GlobalAveragePool", "r", "p", {}),
        ("Flatten", "p", "f", {}),
        ("Round", "r", "b", {}),
        ("Mul", "b p", "y", {}),
    ]
    path = save(net(steps, consts=WEIGHTS, output="y f"), tmp_path)
    code, out, _ = run("check", path)
    assert code == 3
    assert "output = r,p,f" in out
    target = tmp_path / "cut.onnx"
    code, out, _ = run("check", path, "--write", target)
    assert code == 0
    assert "largest difference 0.0e+00" in out
    code, out, _ = run("check", target)
    assert code == 0
    assert "output n0: [N, 4, 5, 5]" in out
    # where the weights are behind what is refused nothing is left to write
    head = tmp_path / "head"
    head.mkdir()
    path = save(net([("Round", "x", "i", {}), ("Conv", "i w", "y", {})], consts=WEIGHTS), head)
    code, _, err = run("check", path, "--write", head / "none.onnx")
    assert code == 3
    assert "not written" in err
    assert not (head / "none.onnx").exists()
