"""Where a command writes: refused before the work whose result would have no place."""

from __future__ import annotations

from pathlib import Path

from r329fast.base.files import check_file, check_folder


def folder_to_write(text: str) -> Path:
    """argparse type of a folder; raises FileError where there is none and none can be made."""
    check_folder(Path(text))
    return Path(text)


def file_to_write(text: str) -> Path:
    """argparse type of a file; raises FileError where it cannot be written."""
    check_file(Path(text))
    return Path(text)
