"""The files of an image set by name: in a folder, a zip or a tar."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import tarfile
import tempfile
import threading
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol, cast

from r329fast.base.archives import DAMAGED_ZIP, CappedFile, close_zip, open_zip, read_entry
from r329fast.base.limits import IMAGE, RATIO, UNPACKED, Limit
from r329fast.base.reading import (
    check_size,
    is_folder,
    is_there,
    open_regular,
    read_bytes,
    reason,
    size_of,
)
from r329fast.errors import FileError

_DAMAGED = (*DAMAGED_ZIP, tarfile.TarError, lzma.LZMAError, zlib.error)
_PIECE = 1 << 20
# a compressed tar of this size may be of one colour; beyond it the ratio counts
_ALWAYS = 256 << 20


class Store(Protocol):
    """Where the files of a set are: their names, relative and with `/`, and their bytes.

    `read` may be called from several threads and raises FileError, also for a file above
    `limit`; `stamp` changes when a file does, without reading it.
    """

    @property
    def names(self) -> list[str]: ...

    def read(self, name: str, limit: Limit = IMAGE) -> bytes: ...

    def stamp(self, name: str) -> str: ...

    def close(self) -> None: ...


class _Folder:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.names: list[str] = []
        for folder, _, files in os.walk(root):
            relative = Path(folder).relative_to(root)
            self.names += [(relative / file).as_posix() for file in files]
        self.names.sort()

    def read(self, name: str, limit: Limit = IMAGE) -> bytes:
        return read_bytes(self.root / name, limit)

    def stamp(self, name: str) -> str:
        status = (self.root / name).stat()
        return f"{status.st_size} {status.st_mtime_ns}"

    def close(self) -> None:
        """Nothing is open."""


class _Zip:
    def __init__(self, path: Path) -> None:
        self.path, self.archive = path, open_zip(path)
        self.names = [item.filename for item in self.archive.infolist() if not item.is_dir()]

    def read(self, name: str, limit: Limit = IMAGE) -> bytes:
        # zipfile locks the file itself, so that threads inflate side by side
        return read_entry(self.archive, name, limit, self.path)

    def stamp(self, name: str) -> str:
        item = self.archive.getinfo(name)
        return f"{item.file_size} {item.CRC:08x}"

    def close(self) -> None:
        close_zip(self.archive)


class _Tar:
    """A compressed tar is unpacked once into one temporary file: it cannot be read at random."""

    def __init__(self, path: Path) -> None:
        self.path, self.lock = path, threading.Lock()
        self.changed = path.stat().st_mtime_ns
        self.file: BinaryIO = open_regular(path)
        try:
            if not _is_plain_tar(self.file):
                with self.file as packed:
                    self.file = _unpacked(packed, path)
            with _open_tar(self.file) as archive:
                # sizes and places are enough: each member is read from the file itself
                self.members = {
                    str(PurePosixPath(item.name)): (item.offset_data, item.size)
                    for item in archive
                    if item.isreg() and not item.issparse()
                }
        except BaseException:
            self.file.close()
            raise
        self.names = list(self.members)

    def read(self, name: str, limit: Limit = IMAGE) -> bytes:
        offset, size = self.members[name]
        check_size(f"{name} in {self.path}", size, limit)
        try:
            with self.lock:
                self.file.seek(offset)
                return self.file.read(size)
        except (OSError, ValueError) as error:  # ValueError: an absurd offset
            text = f"cannot read {name} in {self.path}: {reason(error)}"
            raise FileError(text, path=str(self.path)) from error

    def stamp(self, name: str) -> str:
        offset, size = self.members[name]
        return f"{size} {offset} {self.changed}"

    def close(self) -> None:
        self.file.close()


def _open_tar(file: BinaryIO) -> tarfile.TarFile:
    return tarfile.open(fileobj=CappedFile(file), mode="r:")  # type: ignore[call-overload]


def _is_plain_tar(file: BinaryIO) -> bool:
    try:
        _open_tar(file).close()
    except tarfile.ReadError:
        return False
    finally:
        file.seek(0)
    return True


def _unpacked(packed: BinaryIO, path: Path) -> BinaryIO:
    """What a compressed file holds, as a temporary file; FileError where that is too much."""
    start = packed.read(3)
    packed.seek(0)
    stream: gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile
    if start[:2] == b"\x1f\x8b":
        stream = gzip.GzipFile(fileobj=packed)
    elif start == b"BZh":
        stream = bz2.BZ2File(packed)
    else:
        stream = lzma.LZMAFile(packed)  # noqa: SIM115 (closed below)
    most = max(RATIO.get() * size_of(packed), _ALWAYS)
    unpacked = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 (closed by whoever reads it)
    total = 0
    try:
        with stream:
            while piece := stream.read(_PIECE):
                total += len(piece)
                check_size(f"{path}, unpacked", total, UNPACKED)
                if total > most:
                    raise FileError(
                        f"cannot read {path}: it unpacks to more than {most >> 20:,} MB, "
                        f"{RATIO.advice()}",
                        path=str(path),
                    )
                unpacked.write(piece)
        unpacked.seek(0)
    except BaseException:
        unpacked.close()
        raise
    return unpacked


def open_store(path: Path) -> Store:
    """The files of a folder, zip or tar; raises FileError."""
    if is_folder(path):
        return _Folder(path)
    if not is_there(path):
        raise FileError(f"image set not found: {path}", path=str(path))
    try:
        with open_regular(path) as file:
            zipped = zipfile.is_zipfile(file)
        return _Zip(path) if zipped else _Tar(path)
    except FileError:
        raise
    except _DAMAGED as error:
        why = f" ({reason(error)})" if isinstance(error, OSError) and error.errno else ""
        raise FileError(
            f"cannot open {path}: found no folder, zip or tar{why}", path=str(path)
        ) from error


class _Beside(_Folder):
    """A file and those beside it, no further down."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.names = sorted(entry.name for entry in os.scandir(root) if entry.is_file())


def files_beside(path: Path) -> Store:
    """A store of a file and of the files in its folder, for forms of more than one file."""
    return _Beside(path.resolve().parent)
