"""Places where nothing can be written are refused before the work, by every command."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from r329fast.base.files import check_file, check_folder
from r329fast.cli.main import whole_parser
from r329fast.cli.options.targets import file_to_write, folder_to_write
from r329fast.errors import FileError

_WRITTEN = {"--out", "--html", "--csv", "--save", "--onnx", "--write", "--dump", "--save-cfg",
            "--cache"}  # fmt: skip


def _commands(
    parser: argparse.ArgumentParser, words: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    below = [item for item in parser._actions if isinstance(item, argparse._SubParsersAction)]
    for action in below:
        for name, sub in action.choices.items():
            yield from _commands(sub, (*words, name))
    if not below:
        yield words, parser


def _written() -> Iterator[tuple[tuple[str, ...], argparse.Action]]:
    for words, parser in _commands(whole_parser()):
        for action in parser._actions:
            if _WRITTEN & set(action.option_strings):
                yield words, action


_OPTIONS = list(_written())


@pytest.mark.parametrize(
    ("words", "action"), _OPTIONS, ids=[f"{' '.join(w)} {a.option_strings[0]}" for w, a in _OPTIONS]
)
def test_refused_before_anything_is_read(
    run, tmp_path: Path, words: tuple[str, ...], action: argparse.Action
) -> None:
    assert action.type in (file_to_write, folder_to_write)
    (tmp_path / "file").write_text("kept")
    place = tmp_path / "file" / "below"
    code, out, err = run(*words, "nothing.onnx", action.option_strings[0], str(place))
    assert (code, out) == (2, "")
    assert str(tmp_path / "file") in err
    assert "nothing.onnx" not in err
    assert err.count("\n") == 1
    assert (tmp_path / "file").read_text() == "kept"


def test_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("gone")
    for name in (".", "new", "new/in/new"):
        check_folder(tmp_path / name)
    for name in ("file", "file/new", "link", "link/new"):
        with pytest.raises(FileError, match="is no folder"):
            check_folder(tmp_path / name)
    assert not (tmp_path / "new").exists()


def test_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("new-file")  # is followed, as writing does
    for name in ("file", "new", "new/in/new", "link"):
        check_file(tmp_path / name)
    with pytest.raises(FileError, match="it is a folder"):
        check_file(tmp_path)
    with pytest.raises(FileError, match="is no folder"):
        check_file(tmp_path / "file" / "new")
    monkeypatch.chdir(tmp_path)
    check_file(Path("new"))
    check_folder(Path("new"))


@pytest.mark.skipif(sys.platform == "win32", reason="has other rules for names")
def test_names_that_can_be_nothing(run, tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    for name in ("circle", "circle/new", "n" * 300, "n/" * 3000):
        for check in (check_file, check_folder):
            with pytest.raises(FileError) as found:
                check(tmp_path / name)
            assert "\n" not in str(found.value)
    code, out, err = run("cfg", "new", "nothing.onnx", "--out", str(tmp_path / "circle"))
    assert (code, out) == (2, "")
    assert "cannot write" in err


@pytest.mark.skipif(sys.platform == "win32", reason="has no such device")
def test_a_device_is_written_to_as_it_is() -> None:
    check_file(Path("/dev/null"))
    check_file(Path("/dev/stdout"))


def test_what_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # who tests may be root
    for check in (check_file, check_folder):
        with pytest.raises(FileError, match="no right to write in"):
            check(tmp_path / "new")
