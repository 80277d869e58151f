"""What a user does with tuned.cfg next: its advice works, and nothing in it was made up."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from r329fast.cfg import new_cfg, read_cfg
from r329fast.cli.main import main
from r329fast.deploy import bundled
from r329fast.deploy.tuned import float_warnings, origin
from r329fast.tuning.options import TuneOptions

CALIB = str(bundled.path("calib.zip"))
Printed = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a network, and with a calibration set of another one."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(bundled.path("net.onnx"), "net.onnx")
    (tmp_path / "dataset").mkdir()
    np.save("dataset/dataset.npy", np.zeros((2, 9, 9, 3), np.float32))
    return tmp_path


def warned(text: str) -> bool:
    return "tuned.onnx has been tuned" in text


def test_a_model_and_a_folder_of_images(folder: Path, capsys: Printed) -> None:
    assert main(["tune", "net.onnx", "--images", CALIB, "--allow", "bias", "--out", "t"]) == 0
    said = capsys.readouterr()
    assert "recipe guessed: " in said.out
    assert "the float network is right on" in said.out  # the labels were used
    config = read_cfg("t/tuned.cfg")
    assert config.calibration_data == ""  # and not ./dataset/dataset.npy
    assert config.quantization is not None
    assert config.quantization.calibration_label == ""

    advice = re.search(r"next: r329fast (eval .*?),", " ".join(said.out.split()))
    assert advice is not None
    words = shlex.split(advice[1].replace("SET", CALIB))
    assert main([*words, "--limit", "8"]) == 0
    assert not warned(capsys.readouterr().err)

    assert main(["eval", "t/tuned.cfg", "--images", CALIB, "--limit", "8", "--float"]) == 0
    assert warned(capsys.readouterr().err)
    profile = ["profile", "t/tuned.cfg", "--no-time", "--limit", "2"]
    assert main(profile) == 0  # no images, nothing compared
    assert not warned(capsys.readouterr().err)
    assert main([*profile, "--images", CALIB]) == 0
    assert warned(capsys.readouterr().err)
    assert main([*profile, "--float", "net.onnx"]) == 2
    assert "--float is for a program" in capsys.readouterr().err

    assert main(["run", "t/tuned.cfg", "--out", "o"]) == 2
    said = capsys.readouterr()
    assert "./input.bin is not there; `r329fast input IMAGE --cfg" in said.err
    assert main(["input", str(picture(folder)), "--cfg", "t/tuned.cfg", "--out", "input.bin"]) == 0
    assert main(["run", "t/tuned.cfg", "--out", "o"]) == 0


def picture(folder: Path) -> Path:
    import zipfile

    with zipfile.ZipFile(CALIB) as file:
        name = next(item for item in file.namelist() if item.endswith((".png", ".jpg")))
        return Path(file.extract(name, folder))


@pytest.mark.parametrize("scheme", ["aqt2021", "compass42"])
def test_the_calibration_data_of_the_command_stands_in_the_cfg(
    scheme: str, folder: Path, capsys: Printed
) -> None:
    assert main(["dataset", CALIB, "--out", "own", "--size", "64", "--limit", "12"]) == 0
    words = ["--allow", "settings,ranges,bias", "--scheme", scheme, "--limit", "6"]
    new_cfg("net.onnx", calibration_data="own/dataset.npy").write("run.cfg")
    for source in (["net.onnx", "--images", "own/dataset.npy"], ["run.cfg"]):
        assert main(["tune", *source, *words, "--out", "t"]) == 0
        assert Path("t/tuned.cfg").exists(), capsys.readouterr().out
        assert read_cfg("t/tuned.cfg").calibration_data == "own/dataset.npy"
        assert read_cfg("t/tuned.cfg").scheme == scheme
        assert origin("t/tuned.onnx") == "net.onnx"
        shutil.rmtree("t")


def test_a_file_of_that_name_without_a_record_is_a_network_like_others(folder: Path) -> None:
    shutil.copy("net.onnx", "tuned.onnx")
    assert float_warnings("tuned.onnx") == []
    Path("tune.json").write_text("[]")
    (line,) = float_warnings("tuned.onnx")
    assert "--float-model ORIGINAL.onnx" in line


def test_kinds_as_one_text() -> None:
    assert TuneOptions(allow="bias, rounding").allow == ("bias", "rounding")


def test_a_rounding_that_no_cfg_holds_is_part_of_the_advice(folder: Path, capsys: Printed) -> None:
    words = ["--allow", "bias", "--rounding", "floor", "--out", "t"]
    assert main(["tune", "net.onnx", "--images", CALIB, *words]) == 0
    said = capsys.readouterr()
    assert "tuned for --rounding floor, which a cfg cannot hold" in " ".join(said.err.split())
    assert "--float-model net.onnx --rounding floor" in " ".join(said.out.split())
    assert "--rounding floor" in Path("t/tune.html").read_text()
