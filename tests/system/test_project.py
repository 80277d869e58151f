"""What the project tells of itself: scripts that the README names, bounds, the change log."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import r329fast

ROOT = Path(__file__).resolve().parents[2]
LOWEST = ROOT / "tools" / "lowest_versions.py"


def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_readme_and_ci_call_the_same_test_script() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "```sh\ntools/test.sh\n```" in readme
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "\ntools/test.sh\n" in ci
    assert "eval" not in ci
    for script in ("tools/test.sh", ".ci/run"):
        assert os.access(ROOT / script, os.X_OK), script


def test_module_runs_as_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "r329fast", "--version"],
        capture_output=True, text=True, cwd=ROOT, check=True,
    )  # fmt: skip
    assert done.stdout == f"r329fast {r329fast.__version__}\n"


def test_lowest_versions_pin_each_dependency() -> None:
    done = subprocess.run([sys.executable, LOWEST], capture_output=True, text=True, check=True)
    pinned = dict(line.split("==") for line in done.stdout.splitlines())
    bounds = dict(item.split(">=") for item in project()["dependencies"])
    assert bounds.items() <= pinned.items()
    assert {"pytest", "pyarrow", "distributed"} <= pinned.keys()
    assert "ruff" not in pinned


@pytest.mark.parametrize("requirement", ["numpy", "numpy>2", "numpy>=2,<3", "numpy~=2.0"])
def test_lowest_versions_refuse_what_they_cannot_pin(tmp_path: Path, requirement: str) -> None:
    text = f'[project]\nname = "x"\ndependencies = ["{requirement}"]\n'
    text += "[project.optional-dependencies]\neval = []\ndask = []\ntest = []\n"
    (tmp_path / "pyproject.toml").write_text(text)
    done = subprocess.run(
        [sys.executable, LOWEST, "--pyproject", tmp_path / "pyproject.toml"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert f"{requirement!r} in pyproject.toml: expected NAME>=VERSION" in done.stderr
