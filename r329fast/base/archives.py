"""Zip files that somebody else made: the list of entries and each entry are of bounded size."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

from r329fast.base.limits import DIRECTORY, Limit
from r329fast.base.reading import check_size, open_regular, reason, size_of
from r329fast.errors import FileError

# what a damaged, encrypted or oddly compressed zip raises when it is opened or an entry is read
DAMAGED_ZIP = (
    OSError, ValueError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError,
    NotImplementedError, KeyError, IndexError, OverflowError, TypeError,
)  # fmt: skip


class CappedFile:
    """An open file that refuses to read more at once than the list of an archive's files takes.

    zipfile and tarfile read that list whole, at the length that the file announces.
    """

    def __init__(self, stream: BinaryIO, limit: Limit = DIRECTORY) -> None:
        self.stream, self.limit, self.capped = stream, limit, True

    def read(self, size: int = -1) -> bytes:
        if self.capped and (size < 0 or size > self.limit.bytes()):
            left = max(size_of(self.stream) - self.stream.tell(), 0)
            check_size("its list of files", left if size < 0 else min(size, left), self.limit)
        return self.stream.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.stream.seek(offset, whence)

    def tell(self) -> int:
        return self.stream.tell()

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self.stream.close()


class _OwnedFile(CappedFile):
    """One that closes the file with itself."""

    def __del__(self) -> None:
        self.stream.close()


def open_zip(path: Path | str) -> zipfile.ZipFile:
    """Open a zip for reading; FileError for anything else. `close_zip` closes it."""
    stream = open_regular(path)
    file = _OwnedFile(stream)
    try:
        archive = zipfile.ZipFile(file)
        file.capped = False
        return archive
    except FileError as error:
        stream.close()
        raise FileError(f"{path}: {error.message}", path=str(path)) from error
    except DAMAGED_ZIP as error:
        stream.close()
        raise FileError(
            f"cannot read {path}: not a zip ({reason(error)})", path=str(path)
        ) from error


def close_zip(archive: zipfile.ZipFile) -> None:
    """Close an archive of `open_zip` and its file."""
    file = archive.fp
    archive.close()
    if file is not None:
        file.close()


def read_entry(
    archive: zipfile.ZipFile, name: str | zipfile.ZipInfo, limit: Limit, where: object
) -> bytes:
    """The bytes of one entry, of which neither the stored nor the unpacked form is above `limit`.

    What it really unpacks to is bounded too, by the size that it announces. Raises FileError.
    """
    try:
        entry = archive.getinfo(name) if isinstance(name, str) else name
    except KeyError as error:
        raise FileError(f"{where}: {name!r} is missing", path=str(where)) from error
    what = f"{entry.filename} in {where}"
    check_size(what, max(entry.file_size, entry.compress_size), limit)
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # zipfile sets no bound to what the others unpack to
        raise FileError(
            f"cannot read {what}: compressed by method {entry.compress_type}, allowed: stored or "
            "deflated, as zip does by default",
            path=str(where),
        )
    parts = []
    try:
        with archive.open(entry) as stream:
            while part := stream.read(max(entry.file_size, 1)):
                parts.append(part)
    except DAMAGED_ZIP as error:
        raise FileError(f"cannot read {what}: {reason(error)}", path=str(where)) from error
    return parts[0] if len(parts) == 1 else b"".join(parts)
