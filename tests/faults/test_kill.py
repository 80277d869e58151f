"""Killed at any moment, a command loses nothing, and its next run leaves nothing in the making."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from faults.commands import (
    check_whole,
    commands,
    content,
    long_commands,
    make_folder,
    reading_commands,
)

ROOT = Path(__file__).resolve().parents[2]
_KILLS = int(os.environ.get("R329FAST_KILLS", "10"))  # a hundred by hand


def start(words: list[str], folder: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", "r329fast.cli.main", *words],
        cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(words: list[str], folder: Path) -> None:
    process = start(words, folder)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 0, (words, said)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_killed_commands(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    reading = reading_commands(folder)

    def words_of(name: str, out: Path) -> list[str]:
        return reading.get(name) or {**commands(folder, out), **long_commands(out)}[name]

    names = [*commands(folder, tmp_path), *reading, *long_commands(tmp_path)]
    expected, seconds = {}, {}
    for name in names:
        begun = time.monotonic()
        finish(words_of(name, tmp_path / f"whole-{name}"), folder)
        seconds[name] = time.monotonic() - begun
        expected[name] = content(tmp_path / f"whole-{name}")
    seed = int(os.environ.get("R329FAST_KILL_SEED", "9"))
    generator = random.Random(seed)
    killed = 0
    for number in range(_KILLS):
        name = names[(number + seed) % len(names)]  # in CI some of them, by hand all
        out = tmp_path / f"out-{number}"
        words = words_of(name, out)
        process = start(words, folder)
        # files are written in the last part of a command
        time.sleep(generator.uniform(0.3, 1.0) * seconds[name])
        process.kill()
        process.communicate()
        killed += process.returncode < 0
        if name == "eval" and (out / "chunks.log").exists():
            words = [*words, "--resume" if process.returncode else "--overwrite"]
        finish(words, folder)
        found = content(out)
        assert not [file for file in found if Path(file).name.startswith(".")], (name, number)
        check_whole(name, 0, found, expected[name], (name, number))
        assert not (out / ".tune").exists(), (name, number)
    assert killed >= _KILLS // 3
    left = [file.name for file in folder.rglob("*") if "r329part" in file.name]
    assert not left
