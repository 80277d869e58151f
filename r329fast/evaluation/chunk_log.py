"""An append-only file of chunks with checksums: what is written survives a kill at any point.

One JSON line (what the chunks belong to), then records: magic, number, length, SHA-256 of number
and payload, payload. A record that is not whole ends the file; it and what follows are cut off
when the file is opened, and done again.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from r329fast.base.archives import DAMAGED_ZIP, read_entry
from r329fast.base.files import make_dir, missing_folders
from r329fast.base.limits import TENSOR
from r329fast.base.locks import lock_file
from r329fast.base.npy import NpyError, parse_npy
from r329fast.base.reading import open_regular, reason, wrong_kind
from r329fast.errors import FileError, UsageError

_FORMAT = "r329fast chunks 1"
_MAGIC = b"CHNK"
_HEAD = struct.Struct("<4sIQ32s")

Arrays = dict[str, np.ndarray]


class ChunkLog:
    """Chunk number -> payload, on disk. One process at a time; others get a UsageError.

    `header` is the file's own description (a JSON object); `done` are the chunk numbers that
    are whole, in the order in which they stand in the file.
    """

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self._new = [path, *missing_folders(path.parent)] if not path.exists() else []
        make_dir(path.parent)
        wrong_kind(path)
        self.path = path
        try:
            self._file: BinaryIO = open(path, "r+b" if path.exists() else "w+b")  # noqa: SIM115
        except OSError as error:
            raise FileError(f"cannot write {path}: {error.strerror}", path=str(path)) from error
        try:
            lock_file(self._file)
        except OSError:
            self._file.close()
            raise UsageError(f"{path} is being written by another run") from None
        self._places: dict[int, tuple[int, int]] = {}
        try:
            found = _read_header(self._file)
            if found is None:
                self.restart(header)
            else:
                self.header = found
                self._scan()
        except BaseException as error:
            self.close()
            if not isinstance(error, OSError):
                raise
            text = f"cannot read or write {path}: {error.strerror}"
            raise FileError(text, path=str(path)) from error

    @property
    def done(self) -> tuple[int, ...]:
        return tuple(self._places)

    def restart(self, header: Mapping[str, Any]) -> None:
        """Throw away what is there and begin anew."""
        self.header = json.loads(json.dumps(dict(header)))
        self._places.clear()
        body = json.dumps(self.header)
        check = hashlib.sha256(body.encode()).hexdigest()
        self._file.seek(0)
        self._file.truncate()
        self._file.write(f"{_FORMAT} {check} {body}\n".encode())
        self._sync()

    def _scan(self) -> None:
        """Find the whole records; cut the file after the last of them."""
        end = self._file.tell()
        while True:
            head = self._file.read(_HEAD.size)
            if len(head) < _HEAD.size:
                break
            magic, number, length, check = _HEAD.unpack(head)
            if magic != _MAGIC or length > os.fstat(self._file.fileno()).st_size:
                break
            payload = self._file.read(length)
            if len(payload) < length or _digest(number, payload) != check:
                break
            self._places.setdefault(number, (end + _HEAD.size, length))
            end = self._file.tell()
        self._file.seek(end)
        self._file.truncate()

    def append(self, number: int, payload: bytes) -> None:
        """Add a chunk and see it to the disk; one that is there already is left alone."""
        if number in self._places:
            return
        try:
            place = self._file.seek(0, os.SEEK_END)
            head = _HEAD.pack(_MAGIC, number, len(payload), _digest(number, payload))
            self._file.write(head + payload)
            self._sync()
        except OSError as error:
            raise FileError(f"cannot write {self.path}: {error.strerror}") from error
        self._places[number] = (place + _HEAD.size, len(payload))

    def read(self, number: int) -> bytes:
        """The payload of a chunk; KeyError where there is none."""
        place, length = self._places[number]
        self._file.seek(place)
        return self._file.read(length)

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        with suppress(OSError):  # what could not be written has been said
            self._file.close()

    def withdraw(self) -> None:
        """Close; without a chunk also remove what opening has made: the file and its folders."""
        self.close()
        if self._places:
            return
        with suppress(OSError):  # a folder that others use meanwhile stays
            for path in self._new:
                path.rmdir() if path.is_dir() else path.unlink()

    def __enter__(self) -> ChunkLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close() if kind is None else self.withdraw()


def _digest(number: int, payload: bytes) -> bytes:
    return hashlib.sha256(struct.pack("<I", number) + payload).digest()


def header_of(path: Path) -> dict[str, Any] | None:
    """The description in a log, which stays as it is; None for a file that is no log."""
    with open_regular(path) as file:
        return _read_header(file)


def _read_header(file: BinaryIO) -> dict[str, Any] | None:
    """The JSON object of the first line; None where the line is not whole."""
    line = file.readline().decode("utf-8", "replace")
    prefix, _, rest = line[len(_FORMAT) + 1 :].partition(" ")
    body = rest.rstrip("\n")
    whole = line.endswith("\n") and line.startswith(_FORMAT)
    if not whole or hashlib.sha256(body.encode()).hexdigest() != prefix:
        return None
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def pack(arrays: Arrays) -> bytes:
    """Named arrays as one payload; nothing is pickled."""
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **arrays)
    return stream.getvalue()


def unpack(payload: bytes) -> Arrays:
    """The arrays of `pack`, read-only; FileError for a payload that is no such thing."""
    arrays = {}
    try:
        with zipfile.ZipFile(io.BytesIO(payload)) as archive:
            for entry in archive.infolist():
                data = read_entry(archive, entry, TENSOR, "a chunk")
                arrays[entry.filename.removesuffix(".npy")] = parse_npy(data, structured=True)
    except (*DAMAGED_ZIP, NpyError) as error:
        raise FileError(f"a chunk holds no arrays ({reason(error)})") from error
    return arrays
