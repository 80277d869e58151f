"""Locks, and names of files that every system takes."""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from r329fast.base.locks import lock_file
from r329fast.base.temporary import file_stem
from r329fast.deploy.run_cfg import planned_dump


def test_a_file_is_locked_once(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with open(path, "w+b") as first, open(path, "r+b") as second:
        lock_file(first)
        with pytest.raises(BlockingIOError):
            lock_file(second)
    with open(path, "r+b") as third:
        lock_file(third)  # it ended with the file


def test_on_windows_a_far_byte_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not run on Windows: a double of its module. What is locked there, others cannot read."""
    calls: list[tuple[int, int, int]] = []

    def locking(fd: int, mode: int, count: int) -> None:
        calls.append((os.lseek(fd, 0, os.SEEK_CUR), mode, count))

    double = types.SimpleNamespace(locking=locking, LK_NBLCK=2)
    monkeypatch.setitem(sys.modules, "msvcrt", double)  # type: ignore[arg-type]
    monkeypatch.setattr(sys, "platform", "win32")
    with open(tmp_path / "log", "w+b") as file:
        file.write(b"abc")
        file.seek(0)
        lock_file(file)
        assert calls == [(1 << 40, 2, 1)]
        assert file.read() == b"abc"


def test_names_of_dumps(tmp_path: Path) -> None:
    names = [
        "Relu:0",
        'a/b\\c*?"<>|',
        "tab\tnul\0",
        "\N{LATIN SMALL LETTER U WITH DIAERESIS}" * 300,
    ]
    files = planned_dump(tmp_path, {name: np.zeros(1) for name in names})
    for path, write in files:
        with open(path, "wb") as stream:  # each is a name here
            write(stream)
        assert not set(path.name) & set('<>:"/\\|?*\0\t')
    assert len({path for path, _ in files}) == len(names) + 1
    assert file_stem("conv1_x.y-z") == "conv1_x.y-z"
