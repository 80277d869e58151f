"""What the project tells of itself: scripts that the README names, bounds, the change log."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import r329fast

ROOT = Path(__file__).resolve().parents[2]
LOWEST = ROOT / "tools" / "lowest_versions.py"


def project() -> dict[str, Any]:
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


def test_change_log_names_the_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## (?:Unreleased: )?(\d+\.\d+\.\d+)", text, re.MULTILINE)
    assert newest is not None
    assert newest[1] == r329fast.__version__


def test_hosted_ci_runs_the_declared_pythons() -> None:
    about = project()
    named = [
        item.rpartition(" ")[2]
        for item in about["classifiers"]
        if re.fullmatch(r"Programming Language :: Python :: 3\.\d+", item)
    ]
    assert about["requires-python"] == f">={named[0]}"
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    assert f"python: {named}".replace("'", '"') in workflow
    assert "run: .ci/run" in workflow


def test_every_folder_of_the_package_is_a_package() -> None:
    # A folder without __init__.py imports from a checkout, but the contract does not see it.
    folders = {path.parent for path in (ROOT / "r329fast").rglob("*.py")}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_documents_name_files_that_exist() -> None:
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "dataset" / "README.md"]
    rooms = "|".join(path.name for path in (ROOT / "r329fast").iterdir() if path.is_dir())
    missing = []
    for document in documents:
        text = document.read_text(encoding="utf-8")
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
            if not (document.parent / link).exists():
                missing.append(f"{document.name}: {link}")
        for name in re.findall(r"`((?:tests|benchmarks|tools|docs|dataset)/[\w./-]+)`", text):
            if not (ROOT / name).exists():
                missing.append(f"{document.name}: {name}")
        for name in re.findall(rf"`(?:r329fast/)?((?:{rooms})/[\w./]*)`", text):
            if not (ROOT / "r329fast" / name).exists():
                missing.append(f"{document.name}: {name}")
    assert missing == []


def test_documents_have_short_lines() -> None:
    long = [
        f"{document.name}:{number}"
        for document in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
        for number, line in enumerate(document.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > 100 and not line.startswith(("|", "![", "    "))
    ]
    assert long == []
