"""The commands dataset, input, cfg and compare."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from support.cfg_files import make_model, make_sum


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(3):
        pixels = np.full((6, 8, 3), 60 * index, np.uint8)
        cv2.imwrite(str(folder / f"i{index}.png"), pixels)
    (folder / "label.txt").write_text("i0.png 5\ni1.png 6\ni2.png 7\n")
    return folder


# --- dataset


def test_dataset(run, images: Path, tmp_path: Path) -> None:
    code, out, err = run("dataset", images, "--out", tmp_path / "d", "--size", 4, 5, "--json")
    assert code == 0
    result = json.loads(out)
    assert result["images"] == 3
    assert result["shape"] == [3, 5, 4, 3]
    assert result["preprocess"]["size"] == [4, 5]
    assert "float32" in err
    data = np.load(tmp_path / "d" / "dataset.npy")
    assert data.shape == (3, 5, 4, 3)
    assert float(data.max()) == pytest.approx(result["max"])
    assert np.load(tmp_path / "d" / "label.npy").tolist() == [5, 6, 7]


@pytest.mark.parametrize(
    ("words", "shape"),
    [
        (["--size", "4"], [3, 4, 4, 3]),
        (["--size", "4x5"], [3, 5, 4, 3]),
        (["--size", "4X5"], [3, 5, 4, 3]),
        (["--size", "4,5"], [3, 5, 4, 3]),
        (["--size", "4, 5"], [3, 5, 4, 3]),
        (["--size=4x5"], [3, 5, 4, 3]),
        (["--size", "4", "5"], [3, 5, 4, 3]),
    ],
)
def test_sizes(run, images: Path, tmp_path: Path, words: list[str], shape: list[int]) -> None:
    """In front of the arguments and behind them."""
    for argv in ([*words, images], [images, *words]):
        code, out, _ = run("dataset", *argv, "--out", tmp_path / "d", "--json")
        assert code == 0
        assert json.loads(out)["shape"] == shape


@pytest.mark.parametrize("word", ["4x", "x4", "4x5x6", "wide", "4.5", "-4", "4x-5", ""])
def test_sizes_that_are_none(run, images: Path, tmp_path: Path, word: str) -> None:
    code, _, err = run("dataset", images, f"--size={word}", "--out", tmp_path / "d")
    assert code == 2
    assert "allowed: 224, 224x192, 224,192 or 224 192" in err
    assert err.count("\n") == 1


def test_dataset_of_class_folders(run, images: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    for part, name in (("train", "n00000003"), ("train", "n00000001"), ("val", "n00000002")):
        (root / part / name).mkdir(parents=True)
        (root / part / name / "a.png").write_bytes((images / "i1.png").read_bytes())
    base = ["dataset", root, "--size", 8, "--out", tmp_path / "d"]
    code, _, err = run(*base)
    assert code == 2
    assert "n00000001 (WordNet)" in err
    (tmp_path / "c.txt").write_text("".join(f"n{i:08d} kind {i}\n" for i in range(5)))
    code, _, err = run(*base, "--classes", tmp_path / "c.txt")
    assert code == 0
    assert "train is used (--split chooses)" in err
    assert np.load(tmp_path / "d" / "label.npy").tolist() == [1, 3]
    assert run(*base, "--classes", tmp_path / "c.txt", "--split", "val")[0] == 0
    assert np.load(tmp_path / "d" / "label.npy").tolist() == [2]


def test_dataset_options(run, images: Path, tmp_path: Path) -> None:
    labels = tmp_path / "l.txt"
    labels.write_text("i1.png 1\ni2.png 2\n")
    base = ["dataset", images, labels, "--out", tmp_path, "--size", 8, 6, "--limit", 1]
    assert run(*base, "--sub", 10, 20, 30, "--order", "BGR")[0] == 0
    assert np.load(tmp_path / "dataset.npy")[0, 0, 0].tolist() == [50, 40, 30]
    assert run(*base, "--sub", 10, 20, 30, "--div", 2, 2, 5, "--resize", "crop")[0] == 0
    assert np.load(tmp_path / "dataset.npy")[0, 0, 0].tolist() == [25, 20, 6]
    recipe = {"size": 2, "sub": [0, 0, 0], "div": [1, 1, 1], "resize": 4}
    (tmp_path / "p.json").write_text(json.dumps({"net": recipe}))
    short = ["dataset", images, labels, "--out", tmp_path, "--preprocess"]
    assert run(*short, f"{tmp_path}/p.json:net", "--div", 60, 60, 60)[0] == 0
    data = np.load(tmp_path / "dataset.npy")
    assert data.shape == (2, 2, 2, 3)
    assert data[1].max() == 2
    assert "choose one of net" in run(*short, tmp_path / "p.json")[2]


@pytest.mark.parametrize(
    "words",
    [
        ["--sub", "nan", 0, 0],
        ["--div", 1, "inf", 1],
        ["--sub", 0, 0, "1e300"],
        ["--size", 32769, 2],
    ],
)
def test_recipes_that_no_dataset_can_have(run, images: Path, tmp_path: Path, words: list) -> None:
    code, out, err = run("dataset", images, "--out", tmp_path / "d", *words)
    assert (code, out) == (2, "")
    assert "allowed" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "d").exists()


def test_dataset_errors(run, images: Path, tmp_path: Path) -> None:
    assert "image set not found" in run("dataset", tmp_path / "no", "--out", tmp_path)[2]
    code, _, err = run("dataset", images, "--out", images / "i0.png" / "deep")
    assert code == 2
    assert "is no folder" in err
    code, _, err = run("dataset", images, "none.txt", "--out", tmp_path)
    assert code == 2
    assert "label file not found: none.txt" in err
    assert "allowed at least 1" in run("dataset", images, "--out", tmp_path, "--limit", 0)[2]


# --- input


def test_input_raw(run, images: Path, tmp_path: Path) -> None:
    path = tmp_path / "sub" / "input.bin"
    code, out, _ = run("input", images / "i2.png", "--out", path, "--size", 4, 2, "--json")
    assert code == 0
    assert json.loads(out) == {
        "file": str(path),
        "shape": [2, 4, 3],
        "dtype": "int8",
        "recipe": "raw",
        "min": -7,
        "max": -7,
    }
    assert path.read_bytes() == bytes([256 - 7]) * 24
    code, _, err = run("input", images / "i2.png", "--out", path, "--order", "BGR")
    assert code == 2
    assert "--order: only with --cfg" in err
    code, _, err = run("input", images / "label.txt", "--out", path)
    assert code == 2
    assert "not an image" in err


def small_model(path: Path, channels: int = 3) -> Path:
    info = helper.make_tensor_value_info("data", TensorProto.FLOAT, ["N", channels, 6, 8])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node("Relu", ["data"], ["out"])], "g", [info], [out])
    onnx.save(helper.make_model(graph), str(path))
    return path


def test_input_for_a_cfg(run, images: Path, tmp_path: Path) -> None:
    cfg, data = tmp_path / "run.cfg", tmp_path / "dataset.npy"
    np.save(data, np.linspace(-127, 127, 2 * 6 * 8 * 3, dtype=np.float32).reshape(2, 6, 8, 3))
    new = ["cfg", "new", "--out", cfg, "--calibration-data", data]
    assert run(*new, small_model(tmp_path / "m.onnx"))[0] == 0
    path = tmp_path / "input.bin"
    base = ["input", images / "i2.png", "--out", path, "--cfg", cfg]
    assert run(*base, "--sub", 100, 110, 120)[0] == 0
    assert path.read_bytes() == bytes([20, 10, 0]) * 48
    (tmp_path / "p.json").write_text('{"size": 9, "sub": [0,0,0], "div": [1,1,1]}')
    code, _, err = run(*base, "--preprocess", tmp_path / "p.json")
    assert code == 2
    assert "the recipe makes 9x9, the network takes 8x6" in err
    assert run("cfg", "new", small_model(tmp_path / "g.onnx", 1), "--out", cfg)[0] == 0
    assert "one input with 3 channels" in run(*base)[2]


# --- cfg


def test_cfg_new_and_check(run, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    small_model(tmp_path / "m.onnx")
    code, out, _ = run("cfg", "new", "m.onnx", "--out", "run.cfg", "--json")
    assert code == 0
    assert json.loads(out)["input_shape"] == [[1, 3, 6, 8]]
    code, out, _ = run("cfg", "check", "run.cfg")
    assert code == 0, "what other commands make afterwards is no error"
    assert "run.cfg: 0 errors, 3 warnings" in out
    assert "./input.bin is not there yet: r329fast input makes it" in out
    (tmp_path / "dataset").mkdir()
    np.save(tmp_path / "dataset" / "dataset.npy", np.zeros((1, 6, 8, 3), np.float32))
    np.save(tmp_path / "dataset" / "label.npy", np.zeros(1, np.int64))
    (tmp_path / "input.bin").write_bytes(bytes(144))
    code, out, _ = run("cfg", "check", "run.cfg", "--json")
    assert code == 0
    assert json.loads(out)["ok"] is True
    text = (tmp_path / "run.cfg").read_text()
    (tmp_path / "run.cfg").write_text(text.replace("model_name", "model_nam"))
    code, out, _ = run("cfg", "check", "run.cfg", "--json")
    assert code == 2
    result = json.loads(out)
    assert (result["errors"], result["warnings"]) == (1, 1)
    assert result["findings"][0] == {
        "severity": "error",
        "section": "Parser",
        "key": "model_name",
        "message": "is missing, did you mean it by 'model_nam'?",
    }


def test_cfg_new_at_an_inner_tensor(run, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_model(tmp_path / "m.onnx")
    new = ["cfg", "new", "m.onnx", "--out", "run.cfg", "--input", "mid"]
    code, _, err = run(*new)
    assert code == 2
    assert "--input-shape" in err
    assert run(*new, "--input-shape", "[1, 3, 8, 6]")[0] == 0
    assert "\ninput = mid\n" in (tmp_path / "run.cfg").read_text()
    assert "[Parser]" not in run("cfg", "check", "run.cfg")[1]


def test_cfg_new_for_several_inputs(run, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_sum(tmp_path / "m.onnx")
    assert run("cfg", "new", "m.onnx", "--out", "run.cfg")[0] == 0
    text = (tmp_path / "run.cfg").read_text()
    assert "\ncalibration_data = ./dataset/dataset.npz\n" in text
    assert run("cfg", "check", "run.cfg")[0] == 0
    # from here to the result by commands alone: a list of files, or one .npz
    rng = np.random.default_rng(3)
    arrays = {name: rng.random((3, 8, 6, 3), np.float32) for name in ("a", "b")}
    for name, array in arrays.items():
        np.save(f"{name}.npy", array)
    np.savez("both.npz", **arrays)
    for number in range(2):
        Path(f"input{number}.bin").write_bytes(bytes(range(144)))
    results = []
    for data in ("a.npy, b.npy", "both.npz"):
        for scheme in ("aqt2021", "compass42"):
            args = ("--out", "run.cfg", "--calibration-data", data, "--scheme", scheme)
            assert run("cfg", "new", "m.onnx", *args)[0] == 0
            assert "calibration_label" not in (tmp_path / "run.cfg").read_text()
            assert run("cfg", "check", "run.cfg")[1].endswith("0 errors, 0 warnings\n")
            assert run("run", "run.cfg")[0] == 0
            results.append((tmp_path / "output.bin").read_bytes())
    assert results[:2] == results[2:]
    for data, words in (
        ("a.npy", "found 1 file for 2 inputs"),
        ("both.npz, b.npy", "it is a .npz"),
        ("one.npz", "found the arrays a, allowed: one by the name of every input (a, b)"),
        ("a.npy, short.npy", "found 3 of a, 2 of b"),
        ("a.npy, flat.npy", "found 2 dimensions"),
    ):
        np.savez("one.npz", a=arrays["a"])
        np.save("short.npy", arrays["b"][:2])
        np.save("flat.npy", arrays["b"].reshape(3, -1))
        code, _, err = run("cfg", "new", "m.onnx", "--out", "x.cfg", "--calibration-data", data)
        assert code == 2
        assert words in err
        assert not (tmp_path / "x.cfg").exists()


def test_cfg_new_options(run, tmp_path: Path) -> None:
    model = small_model(tmp_path / "m.onnx")
    cfg = tmp_path / "b.cfg"
    code, _, _ = run(
        "cfg", "new", model, "--out", cfg, "--mode", "build", "--calibration-data", "c.npy",
        "--calibration-label", "l.npy", "--outputs", "aipu.bin", "--input", "data",
        "--output", "out", "--model-name", "net", "--input-shape", "[1, 3, 6, 8]",
    )  # fmt: skip
    assert code == 0
    text = cfg.read_text()
    for line in (
        "mode = build", "model_name = net", "calibration_data = c.npy",
        "calibration_label = l.npy", "outputs = aipu.bin", "input_shape = [1, 3, 6, 8]",
    ):  # fmt: skip
        assert f"\n{line}\n" in text
    code, _, err = run("cfg", "new", tmp_path / "no.onnx", "--out", cfg)
    assert code == 2
    assert "model not found" in err
    code, _, err = run("cfg", "new", model, "--out", model / "x.cfg")
    assert code == 2
    assert "is no folder" in err


# --- compare


def test_compare_one_file(run, tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(bytes([0, 127, 5]))
    (tmp_path / "c.txt").write_text("cat\ndog\ncow\n")
    code, out, _ = run("compare", path, "--classes", tmp_path / "c.txt", "--top", 2)
    assert code == 0
    assert "class is dog, index:1, prob:127\n" in out
    assert "cat" not in out
    code, out, _ = run("compare", path, "--json")
    result = json.loads(out)
    assert code == 0
    assert result["top"][0] == {"index": 1, "value": 127, "name": ""}
    assert result["mismatches"] is None


def test_compare_two_files(run, tmp_path: Path) -> None:
    a, b = tmp_path / "a.bin", tmp_path / "b.bin"
    a.write_bytes(bytes([0, 127, 5]))
    b.write_bytes(bytes([0, 126, 5]))
    code, out, _ = run("compare", a, b, "--json")
    assert code == 1
    result = json.loads(out)
    assert result["mismatches"] == result["max_abs_diff"] == result["first_diverging"] == 1
    assert result["histogram"] == {"1": 1}
    code, out, _ = run("compare", a, b)
    assert code == 1
    assert "1 of 3 values differ (33.33%), first at 1, by 1 at most" in out
    code, out, _ = run("compare", a, a)
    assert code == 0
    assert "equal: all 3 values" in out
    b.write_bytes(b"1")
    code, _, err = run("compare", a, b)
    assert code == 2
    assert "holds 3 values" in err


def test_compare_tensors(run, tmp_path: Path) -> None:
    for name, last in (("a", 0), ("b", 3)):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "0_conv.npy", np.zeros(4, np.int8))
        np.save(tmp_path / name / "1_fc.npy", np.full(2, last, np.int8))
    code, out, _ = run("compare", tmp_path / "a", tmp_path / "b", "--json")
    assert code == 1
    result = json.loads(out)
    assert result["first_diverging"] == "1_fc"
    assert (result["mismatches"], result["max_abs_diff"]) == (2, 3)
    code, out, _ = run("compare", tmp_path / "a", tmp_path / "a")
    assert code == 0
    assert "all layers are equal" in out
    code, _, err = run("compare", tmp_path / "a")
    assert code == 2
    assert "give a second set" in err
