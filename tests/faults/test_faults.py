"""Every n: the n-th write, sync, rename, map or allocation of a command fails.

What must hold: exit 2 (or 0 where the command can do without), one line, no half file, no file in
the making left, what was there before untouched; and what an evaluation resumes is what an
unbroken one gives.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from faults.commands import check_whole, commands, content, make_folder
from faults.double import KINDS, faults
from r329fast.cli.main import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", list(commands(Path(), Path())))
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
    for number in range(1, counted.count + 1):
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
        check_whole(name, code, found, expected, where)
        if name in ("eval", "tune") and code == 2:  # they go on from what they had
            words = commands(folder, out)[name]
            again = [*words, "--resume"] if (out / "chunks.log").exists() else words
            assert main(again) == 0, (where, capsys.readouterr().err)
            found = content(out)
            del found["other"]
            check_whole(name, 0, found, expected, where)
