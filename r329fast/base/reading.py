"""Reading files that somebody else made: regular files of bounded size, faults as typed errors."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from r329fast.base.limits import RECORD, TEXT, Limit
from r329fast.errors import FileError, R329Error

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def open_regular(path: Path | str) -> BinaryIO:
    """Open a regular file for reading; FileError for anything else, which is not waited for."""
    name = str(path)
    try:
        # a plain open of a pipe waits for its writer, perhaps for ever
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        handle = os.open(path, flags)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        if name and not isinstance(error, FileNotFoundError):
            wrong_kind(path)
        raise FileError(f"cannot read {name}: {reason(error)}", path=name) from error
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        raise FileError(f"cannot read {name}: {_kind(mode)}, allowed: a file", path=name)
    return os.fdopen(handle, "rb")


def _kind(mode: int) -> str:
    return next((text for test, text in _KINDS if test(mode)), "no regular file")


def wrong_kind(path: Path | str) -> None:
    """FileError for something that is there and is no regular file."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return
    if not stat.S_ISREG(mode):
        raise FileError(f"cannot read {path}: {_kind(mode)}, allowed: a file", path=str(path))


def is_file(path: Path | str) -> bool:
    """Whether a regular file is there; False for names that no file can have, too."""
    return os.path.isfile(path)


def is_folder(path: Path | str) -> bool:
    """Whether a folder is there; False for names that none can have, too."""
    return os.path.isdir(path)


def is_there(path: Path | str) -> bool:
    """Whether anything is there; False for names that nothing can have, too."""
    return os.path.exists(path)


def reason(error: BaseException) -> str:
    """Why something failed, on one line: the system's words, or those of a library."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    line = " ".join(str(text).split())
    return line if len(line) <= 200 else f"{line[:197]}..."


def size_of(stream: BinaryIO) -> int:
    """The bytes of an open regular file."""
    return os.fstat(stream.fileno()).st_size


def check_size(name: object, size: int, limit: Limit) -> None:
    """FileError where `size` bytes are more than a limit in MB allows."""
    if size > limit.bytes():
        raise FileError(
            f"cannot read {name}: found {size / (1 << 20):,.0f} MB, {limit.advice()}",
            path=str(name),
            limit=limit.variable,
        )


def read_bytes(path: Path | str, limit: Limit) -> bytes:
    """All bytes of a regular file no larger than `limit`; raises FileError."""
    with open_regular(path) as stream:
        size = size_of(stream)
        check_size(path, size, limit)
        try:
            data = stream.read(size)  # what it grows by meanwhile is left out
        except OSError as error:
            raise FileError(f"cannot read {path}: {reason(error)}", path=str(path)) from error
    return data


def read_text(path: Path | str, limit: Limit = TEXT) -> str:
    """A text file in UTF-8, with or without its mark; raises FileError."""
    return decoded(read_bytes(path, limit), path)


def decoded(data: bytes, where: object) -> str:
    """Bytes of a text file in UTF-8 as text; raises FileError."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileError(f"{where}: not a text file in UTF-8", path=str(where)) from error


def parse_json(content: str | bytes, where: object) -> Any:
    """A JSON value; FileError for anything else, however deep it is nested."""
    try:
        return json.loads(content)
    except RecursionError as error:
        raise FileError(
            f"cannot read {where}: not JSON that can be used (nested too deep)", path=str(where)
        ) from error
    except ValueError as error:  # bad UTF-8 and numbers of thousands of digits too
        raise FileError(
            f"cannot read {where}: not JSON ({reason(error)})", path=str(where)
        ) from error


def read_json(path: Path | str) -> Any:
    """The value in a JSON file; raises FileError."""
    return parse_json(read_text(path, RECORD), path)


@contextmanager
def faults_of(where: object, what: str, also: str = "") -> Iterator[None]:
    """Turn whatever a library raises about a file's content into one FileError.

    For readers whose library documents no closed list of exceptions. `what` is what the file was
    taken for, `also` what to do. Typed errors, interrupts and a full memory pass unchanged.
    """
    try:
        yield
    except (R329Error, MemoryError):
        raise
    except Exception as error:
        raise FileError(f"{where}: not {what} ({reason(error)}){also}", path=str(where)) from error
