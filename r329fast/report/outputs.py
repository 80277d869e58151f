"""Writes a profile record in every form that was asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from r329fast.base.files import write_json, write_text
from r329fast.errors import DataError, FileError
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
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror}", path=str(path)) from error
    except ValueError as error:
        raise FileError(f"cannot read {path}: not JSON ({error})", path=str(path)) from error
    if not isinstance(value, dict):
        raise DataError(f"{path}: found no JSON object", path=str(path))
    return value
