"""`aipu inspect | load | diff`, and the binary wherever a program is taken."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from support.aipu_canonical import canonical
from support.aipu_networks import image_network, small_network, small_program
from support.aipu_writer import write_aipu

from r329fast.calibration import calibrate
from r329fast.cli.main import main
from r329fast.deploy import bundled
from r329fast.graph.export.to_onnx import to_onnx
from r329fast.images.dataset import build_dataset
from r329fast.images.preprocess import Preprocess
from r329fast.images.sets import ImageSet
from r329fast.program.storage import load_program
from r329fast.quantization import quantize
from r329fast.reference import run_program
from r329fast.vendor.aipu.bars import bar_lines, live_peak


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A binary, our program of the same network, and its inputs."""
    path = tmp_path_factory.mktemp("aipu")
    program = small_program(1)
    (path / "aipu.bin").write_bytes(write_aipu(canonical(program)))
    program.save(str(path / "ours.r329"))
    small_program(2).save(str(path / "other.r329"))
    rng = np.random.default_rng(0)
    for number, name in enumerate(program.inputs):
        shape = (2, *program.tensors[name].shape)
        rng.integers(-128, 128, shape).astype(np.int8).tofile(path / f"in{number}.bin")
    return path


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict]:  # type: ignore[type-arg]
    code = main([str(word) for word in words] + ["--json"])
    return code, json.loads(capsys.readouterr().out)


def test_inspect(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, facts = run(capsys, "aipu", "inspect", folder / "aipu.bin")
    assert code == 0
    assert facts["header"]["target"] == "Z1_0701"
    ops = ["conv", "depthwise", "conv", "slice", "concat", "conv", "conv", "slice", "conv"]
    assert [layer["op"] for layer in facts["layers"]] == [*ops, "mean", "mean", "fc"]
    assert [row["name"] for row in facts["inputs"]] == ["input0", "input1"]
    assert {row["memory"] for row in facts["memory"]} == {"DDR", "SRAM"}
    assert main(["aipu", "inspect", str(folder / "aipu.bin")]) == 0
    text = capsys.readouterr().out
    for word in ("target Z1_0701", "dw2", "depthwise 3x3", "memory over time", "SRAM", "mind:"):
        assert word in text


@pytest.mark.parametrize("columns", [80, 160])
def test_inspect_is_as_wide_as_the_terminal(
    columns: int,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(["aipu", "inspect", str(folder / "aipu.bin")]) == 0
    text = capsys.readouterr().out
    assert [line for line in text.splitlines() if len(line) > columns] == []
    assert ("left out here: cut, pads" in text) == (columns == 80)
    for word in ("layer", "in", "out", "M", "N", "dw2", "depthwise 3x3"):
        assert word in text


def test_another_file_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["aipu", "inspect", str(folder / "ours.r329")]) == 2
    assert "ours.r329: not an aipu.bin" in capsys.readouterr().err
    assert main(["aipu", "inspect", str(folder / "aipu.bin"), "--max", "max.npy"]) == 2
    assert "--max and --min" in capsys.readouterr().err


@pytest.mark.shared
def test_inspect_of_a_real_file(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gesture = shared / "artefacts" / "gesture_z1"
    words = ["--max", gesture / "max_dict3.npy", "--min", gesture / "min_dict3.npy"]
    code, facts = run(capsys, "aipu", "inspect", gesture / "aipu_mobilenet6.bin", *words)
    assert code == 0
    assert len(facts["layers"]) == 85
    dead = {lint["layer"]: lint for lint in facts["lints"] if lint["kind"] == "dead_channels"}
    assert set(dead) == {"Relu6_1_0", "Relu6_15_0", "Relu6_17_0"}
    assert "8 low bits" in dead["Relu6_15_0"]["text"]
    states = [lint["text"] for lint in facts["lints"] if lint["kind"] == "recurrent_scale"]
    assert len(states) == 5
    shares = sorted(float(text.split("come back at ")[1].split()[0]) for text in states)
    assert (shares[0], shares[-1]) == (0.78, 0.929)
    (image,) = (lint for lint in facts["lints"] if lint["kind"] == "input")
    assert image["layer"] == "x_input_0"
    assert sum(row["memory"] == "SRAM" for row in facts["memory"]) == 28
    assert facts["inputs"][0]["scale"] == pytest.approx(127, rel=1e-6)


def test_load_and_run(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "loaded.r329"
    code, told = run(capsys, "aipu", "load", folder / "aipu.bin", "--out", target)
    assert code == 0
    assert told["scales"] == "unknown"
    program = load_program(target)
    feeds = {
        name: np.fromfile(folder / f"in{i}.bin", np.int8).reshape(2, *program.tensors[name].shape)
        for i, name in enumerate(program.inputs)
    }
    expected = run_program(program, feeds)
    inputs = f"{folder / 'in0.bin'},{folder / 'in1.bin'}"
    for model in (target, folder / "aipu.bin"):
        out = tmp_path / model.suffix[1:]
        code, record = run(capsys, "run", model, "--inputs", inputs, "--out", out)
        assert code == 0
        assert record["images"] == 2
        joined = b"".join(expected[name].tobytes() for name in program.outputs)
        assert (out / "output.bin").read_bytes() == joined
        assert json.loads((out / "run.json").read_text())["program_hash"] == program.hash()
    dump = tmp_path / "dump"
    assert (
        main(["run", str(target), "--inputs", inputs, "--out", str(out), "--dump", str(dump)]) == 0
    )
    words = ["compare", str(dump), str(dump), "--program", str(folder / "aipu.bin")]
    assert main(words) == 0


def test_wrong_uses_of_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in (
        ([], "give its raw input files with --inputs"),
        (["--inputs", folder / "in0.bin"], "found 1 files, the program has 2 inputs"),
        (["--inputs", "a,b", "--scheme", "aqt2021"], "quantised already"),
    ):
        code, told = run(capsys, "run", folder / "aipu.bin", *words)
        assert code == 2
        assert message in told["error"]["message"]


def test_diff(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = run(capsys, "aipu", "diff", folder / "ours.r329", folder / "aipu.bin")
    assert (code, told["equal"], told["first"]) == (0, True, None)
    assert sum(row["equal"] for row in told["counts"].values()) == 11
    code, told = run(capsys, "aipu", "diff", folder / "other.r329", folder / "aipu.bin")
    assert (code, told["equal"]) == (1, False)
    assert told["first"]["constants"] or told["first"]["remarks"]
    assert main(["aipu", "diff", str(folder / "other.r329"), str(folder / "aipu.bin")]) == 1
    assert "layers have equal constants" in capsys.readouterr().out


def test_profile_of_a_binary(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = run(capsys, "profile", folder / "aipu.bin", "--no-time")
    assert code == 0
    assert told["scheme"] == "aqt2021"
    assert len(told["layers"]) == 15  # the addition on its convolution is a layer here
    assert told["totals"]["macs"] > 0


def test_bad_files_end_with_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = (folder / "aipu.bin").read_bytes()
    other = bytearray(good)
    other[23] = 5
    for name, blob, code in (("cut.bin", good[:500], 2), ("version.bin", bytes(other), 3)):
        (tmp_path / name).write_bytes(blob)
        for words in (
            ["aipu", "inspect", tmp_path / name],
            ["aipu", "load", tmp_path / name, "--out", tmp_path / "x.r329"],
            ["aipu", "diff", folder / "ours.r329", tmp_path / name],
            ["run", tmp_path / name, "--inputs", "x"],
            ["profile", tmp_path / name],
        ):
            assert main([str(word) for word in words]) == code
            lines = capsys.readouterr().err.strip().splitlines()
            assert len(lines) == 1, words
    assert main(["aipu", "load", str(folder / "aipu.bin"), "--out", "x.bin"]) == 2


def test_bars_show_who_lives_when() -> None:
    memory = [
        {"memory": "DDR", "address": "0x20000000", "bytes": 10, "from": 0, "to": 1},
        {"memory": "DDR", "address": "0x20000000", "bytes": 30, "from": 3, "to": 3},
        {"memory": "SRAM", "address": "0xf0000000", "bytes": 5, "from": 1, "to": 2},
    ]
    first, second = bar_lines(memory, width=4)
    assert first.endswith("|██ ▓|")
    assert "30 B" in first
    assert second.endswith("| ██ |")
    assert (live_peak(memory, "DDR"), live_peak(memory, "SRAM")) == (30, 5)


def test_a_model_beside_the_binary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model that is another network's is refused with words."""
    (tmp_path / "aipu.bin").write_bytes(write_aipu(canonical(small_program(1))))
    graph, _ = small_network(1)
    conv = next(layer for layer in graph if layer.name == "stem")
    graph.layers = graph.layers[: graph.layers.index(conv) + 1]
    graph.outputs = ("stem",)
    onnx.save(to_onnx(graph), tmp_path / "net.onnx")
    words = ["--model", tmp_path / "net.onnx"]
    code, told = run(capsys, "aipu", "inspect", tmp_path / "aipu.bin", *words)
    assert code == 2
    assert "the model is not the binary's" in told["error"]["message"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The binary and the float model of a network over the bundled images."""
    path = tmp_path_factory.mktemp("pictures")
    forms, exported = image_network()
    recipe = Preprocess.from_json(bundled.path("preprocess.json"))
    with ImageSet(bundled.path("calib.zip"), limit=8) as images:
        x, _ = build_dataset(images, recipe)
    ranges = calibrate(exported, x, scheme="aqt2021", method="EXTREME")
    ranges.values["rows"] = ranges.values["sum"]
    program = quantize(forms, ranges, scheme="aqt2021")
    (path / "aipu.bin").write_bytes(write_aipu(canonical(program)))
    onnx.save(to_onnx(exported), path / "net.onnx")
    program.save(str(path / "ours.r329"))
    return path


def test_eval_of_a_binary(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On its model, the binary's accuracy is that of the program it was made of."""
    common = ["--images", bundled.path("val.zip"), "--limit", "40"]
    common += ["--preprocess", bundled.path("preprocess.json")]
    results = {}
    for name in ("aipu.bin", "ours.r329"):
        words = [pictures / name, *common, "--float", "--float-model", pictures / "net.onnx"]
        code, results[name] = run(capsys, "eval", *words)
        assert code == 0, results[name]
    for key in ("top1", "top5", "float_top1"):
        assert results["aipu.bin"][key] == results["ours.r329"][key]
    assert main([str(word) for word in ("eval", pictures / "aipu.bin", *common)]) == 0
    assert "the binary holds no scales" in capsys.readouterr().err


def test_profile_of_a_binary_on_its_model(
    pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--images", bundled.path("val.zip"), "--limit", "8", "--no-time"]
    words += ["--preprocess", bundled.path("preprocess.json"), "--float", pictures / "net.onnx"]
    code, told = run(capsys, "profile", pictures / "aipu.bin", *words)
    assert code == 0
    assert told["errors"]["output_snr"] > 15
    assert all(row["snr_single"] > 15 for row in told["layers"] if row.get("snr_single"))
