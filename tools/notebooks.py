"""Builds the notebooks of examples/ from the scripts of the same names.

    python tools/notebooks.py            write examples/*.ipynb
    python tools/notebooks.py --check    exit 1 where one is not what its script gives
    python tools/notebooks.py --run DIR  execute each in DIR and keep it there, with its outputs

A script has cells in the percent form: `# %%` starts code, `# %% [markdown]` a text whose lines
are comments.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"


def cells(text: str) -> list[tuple[str, str]]:
    """(kind, source) of each cell; kind is "markdown" or "code"."""
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("# %%"):
            found.append(("markdown" if "[markdown]" in line else "code", []))
        elif found:
            kind, lines = found[-1]
            lines.append(line.removeprefix("#").removeprefix(" ") if kind == "markdown" else line)
    return [(kind, "\n".join(lines).strip("\n")) for kind, lines in found]


def notebook(script: Path) -> str:
    """The notebook's JSON, without outputs; the same text for the same script."""
    made: list[dict[str, Any]] = []
    for number, (kind, source) in enumerate(cells(script.read_text(encoding="utf-8"))):
        cell: dict[str, Any] = {
            "cell_type": kind,
            "id": f"cell-{number}",
            "metadata": {},
            "source": source.splitlines(keepends=True),
        }
        if kind == "code":
            cell |= {"execution_count": None, "outputs": []}
        made.append(cell)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    about = {"kernelspec": kernel, "language_info": {"name": "python"}}
    whole = {"cells": made, "metadata": about, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, indent=1) + "\n"


def execute(path: Path, folder: Path) -> Path:
    """Run a notebook with `folder` as its working folder; raises CellExecutionError."""
    import nbformat
    from nbclient import NotebookClient

    book = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(book, timeout=600, kernel_name="python3", resources=resources).execute()
    target = folder / path.name
    nbformat.write(book, target)
    return target


def main() -> int:
    parser = argparse.ArgumentParser(description="notebooks from the scripts of examples/")
    parser.add_argument("--check", action="store_true", help="only say which differ")
    parser.add_argument("--run", metavar="DIR", type=Path, help="execute each, keep it in DIR")
    args = parser.parse_args()
    differs = False
    for script in sorted(EXAMPLES.glob("*.py")):
        path, text = script.with_suffix(".ipynb"), notebook(script)
        if args.check:
            same = path.is_file() and path.read_text(encoding="utf-8") == text
            differs |= not same
            print(f"{path.name}: {'as its script' if same else 'not as its script: run me'}")
            continue
        path.write_text(text, encoding="utf-8")
        if args.run is not None:
            args.run.mkdir(parents=True, exist_ok=True)
            print(f"executed: {execute(path, args.run)}")
    return int(differs)


if __name__ == "__main__":
    sys.exit(main())
