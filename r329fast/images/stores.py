"""The files of an image set by name: in a folder, a zip or a tar."""

from __future__ import annotations

import lzma
import os
import shutil
import tarfile
import tempfile
import threading
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, Protocol, cast

from r329fast.errors import FileError

# what a damaged, encrypted or oddly compressed archive raises when a member is read
DAMAGED = (
    OSError,
    zipfile.BadZipFile,
    tarfile.TarError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    RuntimeError,
    NotImplementedError,
)


class Store(Protocol):
    """Where the files of a set are: their names, relative and with `/`, and their bytes.

    `read` may be called from several threads; `stamp` changes when a file does, without reading
    it.
    """

    names: list[str]

    def read(self, name: str) -> bytes: ...

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

    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()

    def stamp(self, name: str) -> str:
        status = (self.root / name).stat()
        return f"{status.st_size} {status.st_mtime_ns}"

    def close(self) -> None:
        """Nothing is open."""


class _Zip:
    def __init__(self, path: Path) -> None:
        self.archive = zipfile.ZipFile(path)
        self.names = [item.filename for item in self.archive.infolist() if not item.is_dir()]

    def read(self, name: str) -> bytes:
        # zipfile locks the file itself, so that threads inflate side by side
        return self.archive.read(name)

    def stamp(self, name: str) -> str:
        item = self.archive.getinfo(name)
        return f"{item.file_size} {item.CRC:08x}"

    def close(self) -> None:
        self.archive.close()


class _Tar:
    """A compressed tar is unpacked once into one temporary file: it cannot be read at random."""

    def __init__(self, path: Path) -> None:
        self.lock = threading.Lock()
        self.changed = path.stat().st_mtime_ns
        self.file: IO[bytes] = path.open("rb")
        try:
            if not _is_plain_tar(self.file):
                with tarfile.open(path) as packed, self.file:
                    self.file = tempfile.TemporaryFile()  # noqa: SIM115 (closed by close)
                    stream = cast(IO[bytes], packed.fileobj)
                    stream.seek(0)
                    shutil.copyfileobj(stream, self.file)
                    self.file.seek(0)
            with tarfile.open(fileobj=self.file, mode="r:") as archive:
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

    def read(self, name: str) -> bytes:
        offset, size = self.members[name]
        with self.lock:
            self.file.seek(offset)
            return self.file.read(size)

    def stamp(self, name: str) -> str:
        offset, size = self.members[name]
        return f"{size} {offset} {self.changed}"

    def close(self) -> None:
        self.file.close()


def _is_plain_tar(file: IO[bytes]) -> bool:
    try:
        tarfile.open(fileobj=file, mode="r:").close()
    except tarfile.ReadError:
        return False
    finally:
        file.seek(0)
    return True


def open_store(path: Path) -> Store:
    """The files of a folder, zip or tar; raises FileError."""
    if path.is_dir():
        return _Folder(path)
    if not path.exists():
        raise FileError(f"image set not found: {path}", path=str(path))
    try:
        if zipfile.is_zipfile(path):
            return _Zip(path)
        return _Tar(path)
    except DAMAGED as error:
        raise FileError(
            f"cannot open {path}: found no folder, zip or tar", path=str(path)
        ) from error
