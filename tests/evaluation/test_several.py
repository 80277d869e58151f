"""Evaluation of a network with several inputs, by command line alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.graph_nets import Step, net, random, save

from r329fast.cli import main as cli
from r329fast.deploy.pipeline import prepare
from r329fast.errors import DataError
from r329fast.evaluation import evaluate
from r329fast.graph import FloatSession
from r329fast.simulator import Simulator

STEPS: list[Step] = [
    ("GlobalAveragePool", "x", "p", {}),
    ("Flatten", "p", "f", {}),
    ("Concat", "f b", "j", {"axis": 1}),
    ("Gemm", "j w", "y", {}),
]
COUNT = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("several")
    model = net(STEPS, ("N", 3, 6, 8), {"w": random(8, 10)}, 13, more_inputs={"b": ("N", 5)})
    save(model, path)
    arrays = {"x": random(COUNT, 6, 8, 3), "b": random(COUNT, 5)}
    for name, array in arrays.items():
        np.save(path / f"{name}.npy", array)
    np.savez(path / "both.npz", **arrays)
    np.save(path / "label.npy", np.random.default_rng(0).integers(0, 10, COUNT).astype(np.int32))
    (path / "run.cfg").write_text(
        "[Common]\nmode = run\n[Parser]\nmodel_type = onnx\nmodel_name = m\n"
        f"input_model = {path}/net.onnx\n[AutoQuantizationTool]\nquantize_method = SYMMETRIC\n"
        f"calibration_data = {path}/both.npz\n[GBuilder]\ntarget = Z1_0701\n"
        "inputs = a.bin,b.bin\noutputs = out.bin\n"
    )
    return path


def files(folder: Path, form: str) -> str:
    return f"{folder}/x.npy,{folder}/b.npy" if form == "list" else f"{folder}/both.npz"


@pytest.mark.parametrize("form", ["list", "npz"])
def test_equals_the_simulator(form: str, folder: Path, tmp_path: Path) -> None:
    result = evaluate(
        folder / "run.cfg",
        files(folder, form),
        float_baseline=True,
        out=tmp_path,
        logits=True,
        threads=2,
    )
    prepared = prepare(folder / "run.cfg")
    program, labels = prepared.program, np.load(folder / "label.npy")
    arrays = {"x": np.load(folder / "x.npy"), "b": np.load(folder / "b.npy")}
    feeds = {name: program.quantize_input(array, name) for name, array in arrays.items()}
    simulator = Simulator(program)
    (logits,) = simulator.run(feeds).values()
    simulator.close()
    assert result.best.accuracy.images == COUNT
    assert result.best.accuracy.top1 == (logits.argmax(1) == labels).mean()
    (exact,) = FloatSession(prepared.graph).run(arrays).values()
    assert result.float_accuracy is not None
    assert result.float_accuracy.top1 == pytest.approx((exact.argmax(1) == labels).mean(), abs=1e-9)


def test_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = {}
    for form in ("list", "npz"):
        argv = ["eval", str(folder / "run.cfg"), "--images", files(folder, form), "--json"]
        assert cli.main(argv) == 0
        found[form] = json.loads(capsys.readouterr().out)
    assert found["list"]["top1"] == found["npz"]["top1"]
    assert found["list"]["images"] == COUNT


def test_what_does_not_fit(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for images, words in (
        (f"{folder}/x.npy", "one .npy per input, separated by commas"),
        (f"{folder}/b.npy,{folder}/x.npy", "b.npy"),
    ):
        assert cli.main(["eval", str(folder / "run.cfg"), "--images", images]) == 2
        assert words in capsys.readouterr().err


def test_bad_items_are_refused(folder: Path, tmp_path: Path) -> None:
    bad = np.load(folder / "b.npy")
    bad[3, 2] = np.nan
    np.save(tmp_path / "b.npy", bad)
    images = f"{folder}/x.npy,{tmp_path}/b.npy"
    with pytest.raises(DataError, match="NaN in image 3"):
        evaluate(folder / "run.cfg", images, folder / "label.npy", skip_bad=True)
