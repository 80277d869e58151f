"""`r329fast tune`: what it prints, what it leaves, how it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from r329fast.cfg import read_cfg
from r329fast.cli.main import main
from r329fast.deploy import bundled
from r329fast.deploy.recipe import recipe_of_cfg
from r329fast.images.preprocess import Preprocess
from r329fast.images.recipe import differences
from r329fast.images.sets import ImageSet


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = Preprocess.from_json(bundled.path("preprocess.json"))
    with ImageSet(bundled.path("calib.zip"), None, 48) as images:
        x = np.stack([recipe.apply(images.image(index)) for index in range(len(images))])
    path = tmp_path_factory.mktemp("data") / "dataset.npy"
    np.save(path, x)
    return path


def test_tuned_cfg_runs(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["tune", str(bundled.path("net.onnx")), "--images", str(dataset)]
    words += ["--out", str(tmp_path), "--allow", "ranges,bias,rounding", "--json"]
    assert main(words) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["gained"]
    names = {"tuned.onnx", "tuned_max.npy", "tuned_min.npy", "tuned.cfg", "tune.json", "tune.html"}
    assert {path.name for path in tmp_path.iterdir()} == names
    program = tmp_path / "tuned.r329"
    assert main(["quantize", record["files"]["cfg"], "--out", str(program), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["hash"] == record["program_hash"]


def test_images_from_a_zip(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["tune", str(bundled.path("net.onnx")), "--images", str(bundled.path("calib.zip"))]
    words += ["--limit", "8", "--preprocess", str(bundled.path("preprocess.json"))]
    assert main([*words, "--out", str(tmp_path), "--allow", "bias"]) == 0
    assert "bias: " in capsys.readouterr().out


def test_the_recipe_of_the_images_goes_into_the_cfg(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the file near the model, and from the folder of a cfg's calibration data."""
    model, calib = str(bundled.path("net.onnx")), str(bundled.path("calib.zip"))
    words = ["--limit", "100", "--allow", "bias,rounding"]
    out = tmp_path / "a"
    assert main(["tune", model, "--images", calib, "--out", str(out), *words]) == 0
    assert "recipe: " in capsys.readouterr().out
    own = Preprocess.from_json(bundled.path("preprocess.json"))
    for words in (
        ["dataset", calib, "--out", str(tmp_path / "d"), "--preprocess",
         str(bundled.path("preprocess.json"))],
        ["cfg", "new", model, "--out", str(tmp_path / "run.cfg"), "--calibration-data",
         str(tmp_path / "d" / "dataset.npy")],
        ["tune", str(tmp_path / "run.cfg"), "--limit", "100", "--allow", "bias,rounding", "--out",
         str(tmp_path / "b")],
    ):  # fmt: skip
        assert main(words) == 0
    assert "warning" not in capsys.readouterr().err
    for folder in ("a", "b"):
        if (tmp_path / folder / "tuned.cfg").exists():
            known = recipe_of_cfg(read_cfg(tmp_path / folder / "tuned.cfg")).recipe
            assert known is not None
            assert not differences(known, own)
    assert (tmp_path / "a" / "tuned.cfg").exists()
    assert main([*words[:2], "--images", calib, "--order", "BGR", *words[2:]]) == 0
    assert "BGR instead of RGB" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--allow", "roundin"], "did you mean 'rounding'"),
        ([], "needs calibration images: --images"),
        (["--allow", " ,"], "found no kind of change"),
        (["--budget", "nan"], "budget: found nan"),
        (["--seed", "-1"], "seed: found -1"),
        (["--images", "nowhere"], "not found: nowhere"),
    ],
)
def test_refusals(
    words: list[str], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(bundled.path("net.onnx"))
    assert main(["tune", model, "--out", str(tmp_path / "out"), *words]) == 2
    assert text in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_file_in_place_of_the_folder_is_refused_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_bytes(b"stays")
    words = ["tune", str(bundled.path("net.onnx")), "--images", "nowhere", "--out"]
    assert main([*words, str(tmp_path / "out")]) == 2
    assert "is no folder" in capsys.readouterr().err
    assert (tmp_path / "out").read_bytes() == b"stays"


def test_a_budget_that_is_over_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["tune", str(bundled.path("net.onnx")), "--images", str(bundled.path("calib.zip"))]
    assert main([*words, "--limit", "8", "--budget", "1e-9", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert "not begun" in said.out
    assert "no step was begun: the network stays as it is" in said.out
    assert "warning: the budget of 1e-09 min was over before" in said.err


def test_help_fits_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["tune", "--help"]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if len(line) > 80] == []
