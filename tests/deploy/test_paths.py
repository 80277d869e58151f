"""Paths in a cfg count from the working folder, and an error says so."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from r329fast.cfg import new_cfg
from r329fast.cli.main import main
from r329fast.deploy import bundled


def test_a_cfg_in_another_folder_says_from_where_its_paths_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(bundled.path("net.onnx"), "net.onnx")
    new_cfg("net.onnx").write("run.cfg")
    below = tmp_path / "below"
    below.mkdir()
    monkeypatch.chdir(below)
    assert main(["quantize", "../run.cfg", "--out", "x.r329"]) == 2
    assert f"go to {tmp_path.resolve()}, from where run.cfg finds it" in capsys.readouterr().err
    (tmp_path / "net.onnx").unlink()
    assert main(["quantize", "../run.cfg", "--out", "x.r329"]) == 2
    assert "from where" not in capsys.readouterr().err
