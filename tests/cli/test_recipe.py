"""The recipe travels: images are prepared as the calibration set was, or a warning says so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.evaluation_sets import image_zip, small_net

from r329fast.cfg import read_cfg
from r329fast.cli import main as cli
from r329fast.deploy import bundled
from r329fast.deploy.recipe import recipe_of_cfg
from r329fast.evaluation import evaluate
from r329fast.images.preprocess import Preprocess

# minus and by 127.5, cropped: nothing of it is the tutorial's
RECIPE = ["--size", 8, 6, "--sub", 127.5, 127.5, 127.5, "--div", 127.5, 127.5, 127.5]
RECIPE += ["--order", "BGR", "--resize", "crop"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibration set made by `dataset` and a cfg made by `cfg new`."""
    path = tmp_path_factory.mktemp("travel")
    small_net(path / "m.onnx")
    image_zip(path / "calib.zip", 30, seed=5)
    image_zip(path / "val.zip", 60)
    data = path / "dataset"
    new = ["cfg", "new", path / "m.onnx", "--out", path / "run.cfg"]
    for words in (
        ["dataset", path / "calib.zip", "--out", data, *RECIPE],
        [*new, "--calibration-data", data / "dataset.npy"],
    ):
        assert cli.main([str(word) for word in words]) == 0
    return path


@pytest.fixture
def own(folder: Path, tmp_path: Path) -> Path:
    """A copy of the folder whose cfg names its own files."""
    shutil.copytree(folder, tmp_path / "own")
    cfg = tmp_path / "own" / "run.cfg"
    cfg.write_text(cfg.read_text().replace(str(folder), str(tmp_path / "own")))
    return tmp_path / "own"


def figures(run, cfg: Path, *words: object) -> tuple[list[float], str]:
    """Figures that other pixels change, and the warnings."""
    code, out, err = run(
        "eval", cfg, "--images", cfg.parent / "val.zip", "--backend", "reference", "--json", *words
    )
    assert code == 0, err
    found = json.loads(out)
    keys = ("top1", "top5", "mean_rank", "saturated_values")
    return [found[key] for key in keys], "".join(
        line for line in err.splitlines(True) if "warning" in line
    )


def test_eval_takes_the_recipe_of_the_calibration_set(run, folder: Path) -> None:
    told, warned = figures(run, folder / "run.cfg", *RECIPE)
    assert not warned
    assert figures(run, folder / "run.cfg") == (told, "")
    # whoever asks for the size that it has anyway asks for nothing
    assert figures(run, folder / "run.cfg", "--size", 8, 6) == (told, "")
    best = evaluate(folder / "run.cfg", folder / "val.zip").best.as_json()
    assert [best[key] for key in ("top1", "top5", "mean_rank", "saturated_values")] == told
    # one option changes only its part of the recipe, and is told apart
    _, warned = figures(run, folder / "run.cfg", "--order", "RGB")
    assert "RGB instead of BGR" in warned
    assert "stretch" not in warned
    tutorial, warned = figures(run, folder / "run.cfg", "--sub", 123.675, 116.28, 103.53,
                            "--div", 58.395, 57.12, 57.375, "--order", "RGB",
                            "--resize", "stretch")  # fmt: skip
    assert tutorial != told
    assert "in another way than the calibration set" in warned
    assert "instead of -1 to 1" in warned
    assert "saturated" in warned


def test_the_comment_of_the_cfg_stands_in_for_the_file(run, own: Path) -> None:
    told, _ = figures(run, own / "run.cfg")
    (own / "dataset" / "preprocess.json").unlink()
    assert figures(run, own / "run.cfg") == (told, "")
    lines = (own / "run.cfg").read_text().splitlines(True)
    assert lines[0].startswith("# r329fast preprocess = {")
    (own / "run.cfg").write_text("".join(lines[1:]))
    tutorial, warned = figures(run, own / "run.cfg")
    assert tutorial != told
    assert "no recipe is known for calibration data" in warned
    assert "--preprocess" in warned
    assert "saturated" in warned
    # whoever says how is not asked again
    assert figures(run, own / "run.cfg", *RECIPE) == (told, "")


def test_a_recipe_that_the_calibration_set_cannot_come_from(run, own: Path) -> None:
    """Nothing is saturated then, and all the same every class is of other integers."""
    (own / "dataset" / "preprocess.json").unlink()
    cfg = own / "run.cfg"
    cfg.write_text("".join(cfg.read_text().splitlines(True)[1:]))
    words = ["--sub", 0, 0, 0, "--div", 1000, 1000, 1000]
    _, warned = figures(run, cfg, *words)
    assert "calibration saw input values up to 1, this recipe makes 0 to 0.255" in warned
    assert "saturated" not in warned


def test_file_and_comment_that_differ(run, own: Path) -> None:
    told, _ = figures(run, own / "run.cfg")
    text = (own / "run.cfg").read_text()
    (own / "run.cfg").write_text(text.replace('"order": "BGR"', '"order": "RGB"'))
    found, warned = figures(run, own / "run.cfg")
    assert found == told
    assert "another recipe than the cfg's comment: BGR instead of RGB" in warned


def test_files_that_are_no_recipe(run, own: Path) -> None:
    told, _ = figures(run, own / "run.cfg")
    (own / "dataset" / "preprocess.json").write_text('{"do_resize": true}')
    found, warned = figures(run, own / "run.cfg")
    assert found == told
    assert "no recipe of the calibration images" in warned
    assert run("cfg", "new", own / "m.onnx", "--out", own / "b.cfg", "--calibration-data",
               own / "dataset" / "dataset.npy")[0] == 0  # fmt: skip
    assert not read_cfg(own / "b.cfg").recipe


def test_the_comment_survives(folder: Path, tmp_path: Path) -> None:
    text = (folder / "run.cfg").read_text()
    config = read_cfg(folder / "run.cfg")
    assert config.to_text() == text
    # wherever it stands, with either sign
    first, rest = text.split("\n", 1)
    for moved in (f"{rest}\n{first}\n", f"{rest}\n  ; {first[2:]}  \n"):
        (tmp_path / "moved.cfg").write_text(moved)
        assert read_cfg(tmp_path / "moved.cfg").to_text() == text
    # configparser, which the vendor's tool reads with, sees nothing of it
    import configparser

    readers = [configparser.ConfigParser(), configparser.ConfigParser()]
    for reader, content in zip(readers, (text, rest), strict=True):
        reader.read_string(content)
    assert readers[0] == readers[1]


def test_input_takes_it_too(run, folder: Path, tmp_path: Path) -> None:
    import cv2

    image, bins = tmp_path / "i.png", []
    cv2.imwrite(str(image), np.random.default_rng(3).integers(0, 256, (9, 16, 3), np.uint8))
    base = ["input", image, "--cfg", folder / "run.cfg", "--out", tmp_path / "input.bin"]
    for words in ([], RECIPE):
        code, _, err = run(*base, *words)
        assert (code, err) == (0, "")
        bins.append((tmp_path / "input.bin").read_bytes())
    assert bins[0] == bins[1]
    code, _, err = run(*base, "--sub", 0, 0, 0, "--div", 30, 30, 30)
    assert code == 0
    assert "in another way than the calibration set" in err
    assert "saturated" in err


def test_profile_takes_it_too(run, folder: Path) -> None:
    base = ["profile", folder / "run.cfg", "--images", folder / "val.zip", "--no-time", "--json"]
    records = []
    for words in ([], RECIPE):
        code, out, err = run(*base, *words)
        assert code == 0
        assert "warning" not in err
        record = json.loads(out)
        assert record["input_saturated"] < 0.01
        records.append(record["layers"])
    assert records[0] == records[1]
    code, out, err = run(*base, "--sub", 0, 0, 0, "--div", 30, 30, 30)
    assert json.loads(out)["input_saturated"] > 0.5
    assert "in another way than the calibration set" in err
    assert "of the input values were saturated" in err


def test_a_program_carries_it(run, folder: Path, tmp_path: Path) -> None:
    code, _, err = run("quantize", folder / "run.cfg", "--out", tmp_path / "m.r329")
    assert (code, err) == (0, "")
    shutil.copy(folder / "val.zip", tmp_path)
    told = figures(run, folder / "run.cfg")
    assert figures(run, tmp_path / "m.r329") == told
    _, warned = figures(run, tmp_path / "m.r329", "--resize", "stretch", "--order", "RGB")
    assert "the program's recipe" in warned


@pytest.mark.parametrize(
    ("model", "right"),
    [("mobilenet_v2_1.0_224", 0.648), ("mobilenet_v1_0.25_128", None)],
)
def test_mobilenets(run, shared: Path, tmp_path: Path, model: str, right: float | None) -> None:
    """The accuracy without options is that with the network's recipe, not ten points below."""
    data = shared / "data"
    recipe = ["--preprocess", f"{data}/preprocess.json:{model}"]
    code, _, err = run("dataset", data / "imagenet" / "samples256.zip", "calib.txt", "--out",
                       tmp_path / "d", *recipe)  # fmt: skip
    assert code == 0, err
    code, _, err = run("cfg", "new", data / "models" / f"{model}.onnx", "--out",
                       tmp_path / "run.cfg", "--calibration-data",
                       tmp_path / "d" / "dataset.npy")  # fmt: skip
    assert code == 0, err
    base = ["eval", tmp_path / "run.cfg", "--images", data / "imagenet" / "val10.zip", "--json"]
    found = []
    for words in ([], recipe):
        code, out, err = run(*base, *words)
        assert code == 0
        assert "warning" not in err
        found.append(json.loads(out)["top1"])
    assert found[0] == found[1]
    if right is not None:
        assert found[0] == right
    (tmp_path / "d" / "preprocess.json").unlink()
    text = (tmp_path / "run.cfg").read_text()
    (tmp_path / "run.cfg").write_text(text.split("\n", 1)[1])
    code, out, err = run(*base)
    assert json.loads(out)["top1"] < found[0]
    assert "no recipe is known" in err
    assert "--preprocess" in err


def test_options_change_the_recipe_near_a_model_and_not_the_tutorials(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net, calib = str(bundled.path("net.onnx")), str(bundled.path("calib.zip"))
    words = ["eval", net, "--images", calib, "--limit", "4", "--resize", "crop"]
    assert cli.main([*words, "--save-cfg", str(tmp_path / "run.cfg")]) == 0
    assert "recipe: as asked for, other than" in " ".join(capsys.readouterr().out.split())
    near = Preprocess.from_json(bundled.path("preprocess.json"))
    found = recipe_of_cfg(read_cfg(tmp_path / "run.cfg")).recipe
    assert found is not None
    assert (found.sub, found.div, found.scale) == (near.sub, near.div, near.scale)
    assert found.resize == "crop"
