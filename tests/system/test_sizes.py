"""Files and functions stay small enough to be read at once."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("r329fast", "tests", "benchmarks", "tools", "dataset")
LINES_PER_FILE = 400
LINES_PER_FUNCTION = 80


def sources() -> dict[str, str]:
    """Relative path -> text of every Python file."""
    return {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
    }


def test_files_are_short() -> None:
    found = {name: text.count("\n") for name, text in sources().items()}
    long = {name: lines for name, lines in found.items() if lines > LINES_PER_FILE}
    assert long == {}


def test_functions_are_short() -> None:
    long = {}
    for name, text in sources().items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > LINES_PER_FUNCTION:
                    long[f"{name}: {node.name}"] = lines
    assert long == {}
