"""A minute of mutated inputs for every reader; hours of them: tools/fuzz.py."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz.engine import fuzz, mutated
from fuzz.targets import TARGETS, Target
from r329fast.errors import R329Error

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked")
def test_no_reader_ends_in_a_fault(tmp_path: Path) -> None:
    seed = os.environ.get("R329FAST_FUZZ_SEED", "10")
    done = subprocess.run(
        [sys.executable, "tools/fuzz.py", "--inputs", "1000000", "--seconds", "60", "--seed", seed,
         "--keep", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(TARGETS) + 1
    assert int(lines[-1].split()[0]) > 2000


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_files_that_are_made_to_harm(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "tools/hostile.py", "--seconds", "120"],
        cwd=ROOT, capture_output=True, text=True, timeout=900,
        env={**os.environ, "TMPDIR": str(tmp_path)}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].endswith(" 0 bad")


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_the_files_that_mutations_start_from_are_read(target: Target, tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "in").mkdir()
    for data in target.base(tmp_path / "base"):
        path = tmp_path / "in" / target.file
        path.write_bytes(data)
        target.read(path)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_the_same_seed_makes_the_same_inputs(target: Target, tmp_path: Path) -> None:
    bases = target.base(tmp_path)
    made = [[mutated(target, bases, 5, number) for number in range(6)] for _ in range(2)]
    assert made[0] == made[1]
    assert len(set(made[0])) > 1


def _reads(path: Path) -> None:
    """A reader with one of each fault."""
    data = path.read_bytes()
    if data == b"signal":
        os.kill(os.getpid(), signal.SIGKILL)
    if data == b"defect":
        raise ZeroDivisionError
    if data == b"memory":
        bytearray(1 << 40)
    if data == b"refused":
        raise R329Error("no")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked")
def test_faults_are_found(tmp_path: Path) -> None:
    """The double that the minute above relies on: every kind of fault is counted and kept."""
    words = [b"fine", b"signal", b"defect", b"memory", b"refused"]
    target = Target("double", "x", lambda folder: words, lambda data, rng: data, _reads)
    outcome = fuzz(target, 40, seed=1, keep=tmp_path)
    made = [mutated(target, words, 1, number) for number in range(40)]
    assert outcome.tried == 40
    assert outcome.read == made.count(b"fine") > 0
    assert outcome.refused == made.count(b"refused") > 0
    assert len(outcome.faults) == sum(made.count(word) for word in words[1:4])
    assert {path.read_bytes() for path in tmp_path.iterdir()} == set(words[1:4])
