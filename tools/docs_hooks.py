"""Hooks of mkdocs: pages from files outside docs/, and links that lead to them."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from notebooks import cells  # noqa: E402  # the folder is no package

PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md",
         "CHANGELOG.md": "changelog.md"}  # fmt: skip
_LINK = re.compile(r"(\]\()([^)#\s]+)(#[^)\s]*)?(\))")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that stand elsewhere: README and others, and the scripts of examples/."""
    from mkdocs.structure.files import File

    for source, target in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, target, content=text))
    for script in sorted((ROOT / "examples").glob("*.py")):
        text = example_page(script)
        files.append(File.generated(config, f"example_{script.stem}.md", content=text))
    return files


def example_page(script: Path) -> str:
    """A script in the percent form as a page: texts, and code in fences."""
    parts = []
    for kind, source in cells(script.read_text(encoding="utf-8")):
        parts.append(source if kind == "markdown" else f"```python\n{source}\n```")
    return "\n\n".join([*parts, f"This page is `examples/{script.name}`, as a notebook too."])


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Links to files outside docs/ lead to the pages made of them."""
    return _LINK.sub(lambda found: site_link(found), markdown)


def site_link(found: re.Match[str]) -> str:
    """One link as the site has it."""
    start, target, anchor, end = found.groups()
    bare = target.removeprefix("../")
    if bare in PAGES:
        target = PAGES[bare]
    elif target.startswith("docs/"):
        target = target.removeprefix("docs/")
    elif re.fullmatch(r"(\.\./)?examples/\w+\.(py|ipynb)", target):
        target = f"example_{Path(target).stem}.md"
    return f"{start}{target}{anchor or ''}{end}"
