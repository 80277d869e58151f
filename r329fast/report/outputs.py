"""Writes a profile record in every form that was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from r329fast.base import reading
from r329fast.base.files import write_json, write_text
from r329fast.errors import DataError
from r329fast.report.csv_file import layers_csv

PROFILE_FILE = "profile.json"


def write_record(path: Path, record: Mapping[str, Any]) -> Path:
    """The record as JSON; `read_record` reads it back."""
    return write_json(path, record)


def write_csv(path: Path, record: Mapping[str, Any]) -> Path:
    """The layer table."""
    return write_text(path, layers_csv(record["layers"]))


def write_html(path: Path, record: Mapping[str, Any]) -> Path:
    """The self-contained page."""
    from r329fast.report.html import page

    return write_text(path, page([record]))


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; raises FileError and DataError."""
    value = reading.read_json(path)
    if not isinstance(value, dict):
        raise DataError(f"{path}: found no JSON object", path=str(path))
    return value
