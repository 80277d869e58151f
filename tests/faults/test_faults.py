"""Every n: the n-th write, sync, rename, map or allocation of a command fails.

What must hold: exit 2 (or 0 where the command can do without), one line, no half file, no file in
the making left, what was there before untouched; and what an evaluation resumes is what an
unbroken one gives.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.evaluation_sets import image_zip, run_cfg

from faults.double import KINDS, faults
from r329fast.cli.main import main

# Of long rows of calls CI takes about this many; all with R329FAST_ALL_FAULTS=1.
_SAMPLE = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with its cfg, calibration set, input and images."""
    place = tmp_path_factory.mktemp("faults")
    run_cfg(place)
    image_zip(place / "val.zip", 11)
    size = 6 * 8 * 3
    (place / "input.bin").write_bytes(bytes(size))
    return place


def commands(folder: Path, out: Path) -> dict[str, list[str]]:
    cfg, images = str(folder / "run.cfg"), str(folder / "val.zip")
    return {
        "run": ["run", cfg, "--out", str(out)],
        "quantize": ["quantize", cfg, "--out", str(out / "m.r329")],
        "dataset": ["dataset", images, "--size", "8", "6", "--out", str(out)],
        "eval": ["eval", cfg, "--images", images, "--out", str(out), "--chunk", "4", "--threads",
                 "1", "--cache", str(out / "cache"), "--float", "--format", "csv"],
        "profile": ["profile", cfg, "--images", images, "--out", str(out), "--no-time"],
    }  # fmt: skip


def content(out: Path) -> dict[str, bytes]:
    """Every file but the pixel cache and figures that differ from run to run."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and "cache" not in path.parts
    }


def _numbers(count: int) -> list[int]:
    if os.environ.get("R329FAST_ALL_FAULTS") or count <= _SAMPLE:
        return list(range(1, count + 1))
    step = count / _SAMPLE
    return sorted({1, count, *(int(1 + index * step) for index in range(_SAMPLE))})


_TIMED = ("run.json", "profile.json", "report.html", "log.txt")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["run", "quantize", "dataset", "eval", "profile"])
def test_every_fault_is_survived(
    folder: Path, tmp_path: Path, name: str, kind: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(folder)
    whole = tmp_path / "whole"
    assert main(commands(folder, whole)[name]) == 0, capsys.readouterr().err
    expected = content(whole)
    with faults(kind) as counted:
        assert main(commands(folder, tmp_path / "counted")[name]) == 0
    for number in _numbers(counted.count):
        out = tmp_path / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        (out / "other").write_bytes(b"stays")
        capsys.readouterr()
        with faults(kind, number) as broken:
            code = main(commands(folder, out)[name])
        said = capsys.readouterr().err.splitlines()
        where = (name, kind, number, code, said)
        assert code in (0, 2), where
        if broken.count >= number and code == 2:
            assert [line for line in said if "error" in line] == said[-1:], where
        found = content(out)
        assert found.pop("other") == b"stays", where
        assert not [file for file in found if Path(file).name.startswith(".")], where
        _check_whole(name, code, found, expected, where)
        if name == "eval" and code == 2:
            words = commands(folder, out)[name]
            again = [*words, "--resume"] if (out / "chunks.log").exists() else words
            assert main(again) == 0, (where, capsys.readouterr().err)
            found = content(out)
            del found["other"]
            _check_whole(name, 0, found, expected, where)


def _check_whole(
    name: str, code: int, found: dict[str, bytes], expected: dict[str, bytes], where: object
) -> None:
    """Files are there whole, or not at all; a failed command left none but the evaluation's log."""
    if code == 0:
        assert set(found) == set(expected), where
    same: Callable[[str], bool] = lambda file: not file.endswith((*_TIMED, "chunks.log"))  # noqa: E731
    for file, data in found.items():
        if same(file):
            assert data == expected[file], (where, file)
    if name in ("run", "quantize", "dataset") and code == 2:
        assert found == {}, where
