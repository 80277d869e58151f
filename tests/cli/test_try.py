"""A model that comes alone: `try`, and `run`, `eval`, `profile`, `quantize` on a model."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.evaluation_sets import CLASSES, image_zip, pictures_of, small_net
from support.pictures import png

import r329fast
from r329fast.cfg import read_cfg
from r329fast.deploy import bundled
from r329fast.deploy.guess import CONVENTIONS
from r329fast.deploy.pipeline import prepare

RECIPE = {"size": [8, 6], "sub": [127.5] * 3, "div": [127.5] * 3, "interpolation": "linear"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("alone")
    small_net(path / "m.onnx")
    image_zip(path / "val.zip", 40)
    return path


def test_images_without_labels(run, folder: Path, tmp_path: Path) -> None:
    """No accuracy, errors against float; the recipe is said to be guessed."""
    (tmp_path / "set").mkdir()
    for index, image in enumerate(pictures_of(12)):
        (tmp_path / "set" / f"{index}.png").write_bytes(png(image))
    code, out, err = run("try", folder / "m.onnx", tmp_path / "set", "--out", tmp_path / "o")
    assert (code, err) == (0, "")
    assert "recipe guessed: RGB, ImageNet mean and std (torchvision), without labels" in out
    assert "no accuracy: no label.txt" in out
    assert "calibrated on 12 images of set" in out
    record = json.loads((tmp_path / "o" / "profile.json").read_text())
    assert record["errors"]["images"] == 8
    assert record["errors"]["top1"] is None
    assert (tmp_path / "o" / "report.html").stat().st_size > 10000
    assert not (tmp_path / "o" / "run.json").exists()


def test_random_data(run, folder: Path, tmp_path: Path) -> None:
    """Cost and memory only, said plainly."""
    code, out, err = run("try", folder / "m.onnx", "--out", tmp_path)
    assert (code, err) == (0, "")
    assert "random data" in out
    assert "mean nothing" in out
    assert "accuracy on" not in out
    assert "against float" not in out
    # the advice is a command for the file that was given
    assert f"Measure it: r329fast try {folder / 'm.onnx'} IMAGES" in " ".join(out.split())
    record = json.loads((tmp_path / "profile.json").read_text())
    assert record["cost"] is not None
    assert record["errors"] is None
    assert record["images"] == 0


def test_labelled_images(run, folder: Path, tmp_path: Path) -> None:
    """All of it, and the numbers are those of the cfg that is left."""
    shutil.copytree(folder, tmp_path / "w")
    (tmp_path / "w" / "preprocess.json").write_text(json.dumps({"m": RECIPE}))
    cfg = tmp_path / "w" / "run.cfg"
    code, out, err = run("try", tmp_path / "w" / "m.onnx", tmp_path / "w" / "val.zip", "--out",
                         tmp_path / "o", "--save-cfg", cfg, "--json")  # fmt: skip
    assert code == 0
    assert "warning" not in err
    assert f"recipe: {tmp_path}/w/preprocess.json:m" in err
    found = json.loads(out)
    assert found["evaluation"]["images"] == 40
    assert found["evaluation"]["float_top1"] is not None
    assert set(found["files"]) == {"evaluation", "record", "csv", "html", "cfg"}
    assert all(Path(path).is_file() for path in found["files"].values())
    assert prepare(cfg).program.hash() == found["profile"]["hash"]
    code, out, err = run("eval", cfg, "--images", tmp_path / "w" / "val.zip", "--json")
    assert (code, "warning" in err) == (0, False)
    again = json.loads(out)
    for key in ("top1", "top5", "mean_rank", "saturated_values"):
        assert again[key] == found["evaluation"][key]
    assert run("cfg", "check", cfg)[0] == 0
    # the cfg's own input file is there too
    assert run("run", cfg, "--out", tmp_path / "r")[0] == 0


@pytest.mark.parametrize(
    "words",
    [
        ["--per-channel"],
        ["--method", "MEAN"],
        ["--scheme", "compass42", "--method", "mean", "--per-channel"],
    ],
)
def test_the_cfg_that_is_left_holds_the_settings(
    run, folder: Path, tmp_path: Path, words: list[str]
) -> None:
    cfg = tmp_path / "run.cfg"
    base = [folder / "m.onnx", "--images", folder / "val.zip", *words]
    code, out, _ = run("quantize", *base, "--save-cfg", cfg, "--out", tmp_path / "m.r329", "--json")
    assert code == 0
    assert prepare(cfg).program.hash() == json.loads(out)["hash"]
    assert prepare(read_cfg(cfg)).program.hash() == json.loads(out)["hash"]


def test_what_a_cfg_cannot_hold(run, folder: Path, tmp_path: Path) -> None:
    base = [folder / "m.onnx", folder / "val.zip", "--out", tmp_path / "o"]
    code, _, err = run("try", *base, "--save-cfg", tmp_path / "run.cfg", "--rounding", "floor")
    assert code == 2
    assert "a cfg cannot hold --rounding" in err
    assert not (tmp_path / "run.cfg").exists()


def test_models_where_a_cfg_is_wanted(run, folder: Path, tmp_path: Path, monkeypatch) -> None:
    """`run`, `eval`, `profile` and `quantize` take a model, other places say what to do."""
    monkeypatch.chdir(tmp_path)
    model, images = folder / "m.onnx", folder / "val.zip"
    code, out, err = run("run", model)
    assert (code, err) == (0, "")
    assert "random data" in out
    assert len((tmp_path / "output.bin").read_bytes()) == CLASSES
    code, out, err = run("run", model, "--images", images, "--out", "r")
    assert (code, err) == (0, "")
    assert "recipe guessed" in out
    first = (tmp_path / "r" / "output.bin").read_bytes()
    (tmp_path / "own.bin").write_bytes(bytes(6 * 8 * 3))
    assert run("run", model, "--images", images, "--inputs", "own.bin", "--out", "s")[0] == 0
    assert (tmp_path / "s" / "output.bin").read_bytes() != first
    code, out, err = run("eval", model, "--images", images, "--json")
    assert code == 0
    assert json.loads(out)["images"] == 40
    code, out, err = run("profile", model, "--no-time", "--json")
    assert code == 0
    assert json.loads(out)["errors"] is None
    code, out, err = run("profile", model, "--images", images, "--no-time", "--json")
    assert code == 0
    assert json.loads(out)["errors"]["images"] == 16
    code, _, err = run("profile", model, "--suggest")
    assert code == 2
    assert "errors need images, give --images" in err
    for words in (["cfg", "check", model], ["input", "x.png", "--cfg", model, "--out", "i"]):
        code, _, err = run(*words)
        assert code == 2
        assert "is a model, allowed here: a cfg (`r329fast cfg new" in err
    code, _, err = run("eval", tmp_path / "none.cfg", "--images", images, "--save-cfg", "b.cfg")
    assert code == 2
    assert "--save-cfg goes with a MODEL.onnx" in err


@pytest.mark.parametrize("name", sorted(CONVENTIONS))
def test_the_convention_that_fits_is_guessed(tmp_path: Path, name: str) -> None:
    """Labels that the float network gives with one convention lead back to it."""
    from dataclasses import replace

    from r329fast.deploy.guess import find_recipe
    from r329fast.graph import FloatSession, load_model
    from r329fast.images.sets import ImageSet

    recipe = replace(CONVENTIONS[name], size=(8, 6))
    pictures = pictures_of(24, 11)
    values = np.stack([recipe.apply(image) for image in pictures])
    # with a bias, without which a network would not see the scale
    small_net(tmp_path / "m.onnx", bias=float(values.std()))
    graph = load_model(tmp_path / "m.onnx")
    (logits,) = FloatSession(graph).run(values).values()
    (tmp_path / "set").mkdir()
    for index, image in enumerate(pictures):
        (tmp_path / "set" / f"{index}.png").write_bytes(png(image))
    lines = [f"{index}.png {row.argmax()}\n" for index, row in enumerate(logits)]
    (tmp_path / "set" / "label.txt").write_text("".join(lines))
    with ImageSet(tmp_path / "set") as images:
        found = find_recipe(tmp_path / "m.onnx", graph, images, 0)
    assert found.guessed
    assert found.text.startswith(f"recipe guessed: {name}, with which the float network is right")
    assert "24 of 24" in found.text
    assert found.recipe == recipe


def test_parts_and_class_folders(run, tmp_path: Path) -> None:
    """Calibration takes the train part, accuracy the val part."""
    small_net(tmp_path / "m.onnx")
    for number, image in enumerate(pictures_of(40)):
        part = "val" if number < 10 else "train"
        file = tmp_path / "set" / part / str(number % 10) / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(image))
    code, out, err = run("try", tmp_path / "m.onnx", tmp_path / "set", "--out", tmp_path / "o")
    assert code == 0
    assert "calibrated on 30 images of set" in out
    assert "accuracy on 10 images" in out
    assert "val is used" in err
    assert "train is used" in out


def test_python_call_on_the_bundled_network(tmp_path: Path) -> None:
    trial = r329fast.try_model(
        bundled.path("net.onnx"), bundled.path("val.zip"), tmp_path, limit=100, threads=1
    )
    assert trial.evaluation is not None
    assert trial.evaluation.best.accuracy.images == 100
    assert trial.evaluation.best.accuracy.top1 > 0.6
    assert not trial.warnings
    assert trial.page.is_file()
    assert any(re.match("recipe: .*preprocess.json", line) for line in trial.notes)
    with pytest.raises(r329fast.errors.UsageError, match="did you mean 'limit'"):
        r329fast.try_model("m.onnx", limt=3)


def test_several_inputs(run, tmp_path: Path, shared: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = shared / "cases" / "models" / "two_inputs.onnx"
    assert run("try", model, "--out", "o")[0] == 0
    assert run("run", model, "--out", "r")[0] == 0
    (tmp_path / "x.png").write_bytes(png(pictures_of(1)[0]))
    code, _, err = run("try", model, tmp_path, "--out", "o")
    assert code == 2
    assert "images need one input of height x width x 3" in err
