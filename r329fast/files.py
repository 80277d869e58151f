"""Writing files so that an interrupted command leaves no half file behind."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from r329fast.errors import FileError


def make_dir(path: Path) -> Path:
    """Create a folder (and its parents) or say in one line why that cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"cannot create folder {path}: {error.strerror}", path=str(path)) from error
    return path


def write_atomic(path: Path, write: Callable[[BinaryIO], object]) -> Path:
    """Call `write` on a temporary file beside `path`, then rename it into place.

    Raises FileError when the folder cannot be written; the old file, if any, then stays.
    """
    make_dir(path.parent)
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror}", path=str(path)) from error
    try:
        with os.fdopen(handle, "wb") as stream:
            write(stream)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror}", path=str(path)) from error
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
    return path


def write_bytes(path: Path, data: bytes) -> Path:
    return write_atomic(path, lambda stream: stream.write(data))


def write_text(path: Path, text: str) -> Path:
    return write_bytes(path, text.encode())


def write_json(path: Path, value: object) -> Path:
    return write_text(path, json.dumps(value, indent=2) + "\n")


def write_npy(path: Path, array: np.ndarray, *, allow_pickle: bool = False) -> Path:
    """Save one array as .npy; the pickled form is only for the vendor's max_min dicts."""
    return write_atomic(path, lambda stream: np.save(stream, array, allow_pickle=allow_pickle))
