"""The scripts of examples/ run, their notebooks are theirs, and the documentation's pages exist."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((ROOT / "examples").glob("*.py"))
PAGES = re.compile(r"^ +(?:- [^:]+|- \"[^\"]+\"): (\S+\.md)$", re.MULTILINE)


def tool(name: str) -> ModuleType:
    """A module of tools/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_there_are_examples() -> None:
    assert {path.stem for path in SCRIPTS} >= {"deploy", "find_the_layer"}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_script_runs(script: Path, tmp_path: Path) -> None:
    """In an empty folder; its own assertions hold."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True, text=True, cwd=tmp_path, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 4


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_notebook_is_that_of_its_script(script: Path) -> None:
    """`python tools/notebooks.py` makes them; code and texts are complete and in order."""
    notebooks = tool("notebooks")
    text = script.with_suffix(".ipynb").read_text(encoding="utf-8")
    assert text == notebooks.notebook(script)
    cells: list[dict[str, Any]] = json.loads(text)["cells"]
    code = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    own = ast.dump(ast.parse(script.read_text(encoding="utf-8")))
    assert ast.dump(ast.parse(code)) == own
    assert cells[0]["cell_type"] == "markdown"
    assert "".join(cells[0]["source"]).startswith("# ")
    assert not any(cell.get("outputs") for cell in cells)


def test_every_document_has_a_place_on_the_site() -> None:
    named = set(PAGES.findall((ROOT / "mkdocs.yml").read_text(encoding="utf-8")))
    there = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    made = {"index.md", "contributing.md", "changelog.md"}
    made |= {f"example_{path.stem}.md" for path in SCRIPTS}
    assert named == there | made


def test_site_links_lead_to_the_pages_made(monkeypatch: pytest.MonkeyPatch) -> None:
    hooks = tool("docs_hooks")
    text = (
        "[a](docs/schemes.md#x) [b](../CONTRIBUTING.md) [c](CHANGELOG.md) "
        "[d](../examples/deploy.py) [e](peers.md) ![f](docs/img/page.png) [g](#here)"
    )
    assert hooks.on_page_markdown(text, None, None, None) == (
        "[a](schemes.md#x) [b](contributing.md) [c](changelog.md) "
        "[d](example_deploy.md) [e](peers.md) ![f](img/page.png) [g](#here)"
    )
    page = hooks.example_page(SCRIPTS[0])
    assert page.startswith("# ")
    assert page.count("```") % 2 == 0


def test_reference_covers_every_public_name() -> None:
    """Each name of `r329fast.__all__` is on a page of the reference, in its own module."""
    import r329fast

    text = "".join(path.read_text() for path in (ROOT / "docs" / "reference").glob("*.md"))
    listed = [line.removeprefix("::: ").strip() for line in text.splitlines() if ":::" in line]
    for name in r329fast.__all__:
        if name == "__version__":
            continue
        thing = getattr(r329fast, name)
        full = f"{thing.__module__}.{thing.__qualname__}"
        assert full in listed or thing.__module__ in listed, full
