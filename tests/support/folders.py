"""What a command leaves in a folder."""

from __future__ import annotations

from pathlib import Path


def files_in(folder: Path) -> set[str]:
    """The files below `folder`, relative to it."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
