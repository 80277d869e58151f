"""Writing files so that an interrupted command leaves no half file behind."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np

from r329fast.base.temporary import temporary_path
from r329fast.errors import FileError


def make_dir(path: Path) -> Path:
    """Create a folder (and its parents); the error is one line with the reason."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"cannot create folder {path}: {error.strerror}", path=str(path)) from error
    return path


def check_folder(path: Path) -> None:
    """Before work that would be lost: raises FileError where no such folder is or could be made."""
    if os.path.lexists(path) and not os.path.isdir(path):
        raise FileError(f"{path} is no folder: give a new name or a folder", path=str(path))
    _check_name(path)
    _check_room(path, path)


def check_file(path: Path) -> None:
    """Before work that would be lost: raises FileError where no such file could be written."""
    _check_name(path)
    if path.is_dir():
        raise FileError(f"cannot write {path}: it is a folder", path=str(path))
    if not path.exists() or path.is_file():  # a pipe or a device is written to as it is
        _check_room(path, Path(os.path.realpath(path)).parent)


def _check_name(path: Path) -> None:
    """FileError where nobody can say what is there: too long, links in a circle, closed folders."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror}", path=str(path)) from error


def _check_room(path: Path, folder: Path) -> None:
    """FileError of `path` where nothing can be made in `folder`, which may not be there yet."""
    above = next(item for item in (folder, *folder.parents, Path()) if os.path.lexists(item))
    if not above.is_dir():
        raise FileError(f"cannot write {path}: {above} is no folder", path=str(path))
    if not os.access(above, os.W_OK | os.X_OK):
        raise FileError(f"cannot write {path}: no right to write in {above}", path=str(path))


def missing_folders(path: Path) -> list[Path]:
    """The folders that `make_dir` would make for a path, the innermost first."""
    return [folder for folder in (path, *path.parents) if not folder.exists()]


Writer = Callable[[BinaryIO], object]


def write_all(items: Sequence[tuple[Path, Writer]]) -> list[Path]:
    """Write several files, all or none: each to a temporary name beside it, then all renamed.

    What is renamed is on the disk before. A symbolic link is followed; a target that is no regular
    file (a pipe, a device) is written to directly, last. Raises FileError naming the first target
    that cannot be written; the old files, if any, then stay.
    """
    staged: list[tuple[Path, Path]] = []
    direct: list[tuple[Path, Writer]] = []
    path = Path()
    try:
        for path, write in items:
            target = Path(os.path.realpath(path))
            if target.is_dir():
                raise FileError(f"cannot write {path}: it is a folder", path=str(path))
            if target.exists() and not target.is_file():
                direct.append((target, write))
                continue
            make_dir(target.parent)
            temporary = temporary_path(target)
            with open(temporary, "xb") as stream:
                staged.append((temporary, target))
                write(stream)
                if not stream.closed:
                    stream.flush()
                    os.fsync(
                        stream.fileno()
                    )  # else a name may survive a power cut without its bytes
        path = _rename_all(staged)
        for path, write in direct:
            with open(path, "wb") as stream:
                write(stream)
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror}", path=str(path)) from error
    finally:
        for temporary, _ in staged:
            with suppress(OSError):  # what went wrong before is what matters
                os.unlink(temporary)
    return [path for path, _ in items]


def _rename_all(staged: list[tuple[Path, Path]]) -> Path:
    """Rename each to its target, or none: a failure puts back what was there.

    Renamed pairs leave the list. Returns the last target; FileError names the one that failed.
    """
    old: list[tuple[Path, Path | None]] = []  # target, where its old content is kept
    target = Path()
    try:
        while staged:
            temporary, target = staged[0]
            old.append((target, _kept(target)))
            os.replace(temporary, target)
            staged.pop(0)
    except OSError as error:
        for place, kept in old[:-1]:
            with suppress(OSError):
                os.rename(kept, place) if kept is not None else os.unlink(place)
        raise FileError(f"cannot write {target}: {error.strerror}", path=str(target)) from error
    finally:
        for _, kept in old:
            if kept is not None:
                with suppress(OSError):
                    os.unlink(kept)
    return target


def _kept(target: Path) -> Path | None:
    """A second name for the content of `target`; None where there is none, or no such names."""
    kept = temporary_path(target)
    try:
        os.link(target, kept)
    except (OSError, NotImplementedError, AttributeError):
        return None
    return kept


def write_atomic(path: Path, write: Writer) -> Path:
    """`write_all` for one file."""
    return write_all([(path, write)])[0]


def bytes_writer(data: bytes) -> Writer:
    return lambda stream: stream.write(data)


def json_writer(value: object) -> Writer:
    return bytes_writer((json.dumps(value, indent=2) + "\n").encode())


def npy_writer(array: np.ndarray, *, allow_pickle: bool = False) -> Writer:
    """One array as .npy; the pickled form is only for the vendor's max_min dicts."""
    return lambda stream: np.save(stream, array, allow_pickle=allow_pickle)


def write_bytes(path: Path, data: bytes) -> Path:
    return write_atomic(path, bytes_writer(data))


def write_text(path: Path, text: str) -> Path:
    return write_bytes(path, text.encode())


def write_json(path: Path, value: object) -> Path:
    return write_atomic(path, json_writer(value))


def write_npy(path: Path, array: np.ndarray, *, allow_pickle: bool = False) -> Path:
    """`npy_writer` for one file."""
    return write_atomic(path, npy_writer(array, allow_pickle=allow_pickle))
