"""benchmarks/revisions.py: two checkouts in turns. Speed is never judged here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_checkout_equals_itself(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    command = [sys.executable, "benchmarks/revisions.py", str(ROOT), str(ROOT)]
    command += ["--models", "resnet20_cifar", "--rounds", "2", "--out", str(out)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "DIFFER" not in run.stdout
    assert "geometric mean" in run.stdout
    results = json.loads(out.read_text(encoding="utf-8"))["results"]
    assert {(r["batch"], r["threads"]) for r in results} >= {(256, 1), (1, 1)}
    for result in results:
        assert result["equal"]
        assert result["old_ms"] > 0
        assert result["new_ms"] > 0
        assert len(result["rounds"]) == 2


def test_a_folder_without_the_package_is_said(tmp_path: Path) -> None:
    (tmp_path / "r329fast.py").write_text("", encoding="utf-8")
    command = [sys.executable, "benchmarks/revisions.py", str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode != 0
    assert "error: a checkout ended with exit code 1" in run.stderr
