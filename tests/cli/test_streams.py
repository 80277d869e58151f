"""Outputs that cannot be written: a full disk behind stdout, a closed stream, a reader gone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

RUN = f"{sys.executable} -m r329fast.cli.main"


def shell(command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device here")
@pytest.mark.parametrize("words", ["--help", "--version", "--json --version", "info"])
def test_a_full_disk_behind_stdout_ends_with_2(words: str) -> None:
    done = shell(f"{RUN} {words} > /dev/full")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("r329fast: error: cannot ")
    assert line.endswith(": No space left on device")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device here")
def test_an_error_for_a_full_stdout_ends_with_2() -> None:
    done = shell(f"{RUN} --json check none.onnx > /dev/full")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="shell words of POSIX")
@pytest.mark.parametrize("words", ["--help", "--json --version", "info"])
def test_closed_streams_are_quiet(words: str) -> None:
    done = shell(f"{RUN} {words} >&-")
    assert (done.returncode, done.stderr) == (0, "")
    done = shell(f"{RUN} {words} >&- 2>&-")
    assert done.returncode == 0
    assert shell(f"{RUN} check none.onnx >&- 2>&-").returncode == 2


@pytest.mark.skipif(sys.platform == "win32", reason="shell words of POSIX")
def test_a_reader_that_has_gone_is_no_fault() -> None:
    done = shell(f"{{ {RUN} --help; echo $? >&2; }} | true")
    assert done.stderr.splitlines() == ["0"]
