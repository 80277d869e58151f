"""Numba's cache files with a checksum: a damaged one is dropped, and its kernel compiled anew.

Numba unpickles what stands in its cache and runs it as machine code. Files below our folder
therefore carry the SHA-256 of their content; Numba's own, elsewhere, are left as they are.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from numba.core import caching as numba_caching

from r329fast.base.temporary import temporary_path
from r329fast.errors import R329Warning

caching: Any = numba_caching
_DIGEST = 32
_said: set[str] = set()


class DamagedError(Exception):
    """A cache file whose content does not match its checksum."""


def keep_checked(folder: str) -> None:
    """Let every cache file below `folder` be written with a checksum and read with a check."""

    class CheckedFile(caching.IndexDataCacheFile):  # type: ignore[misc]
        """One kernel's index and data."""

        @property
        def _ours(self) -> bool:
            return Path(self._cache_path).is_relative_to(folder)

        def load(self, key: Any) -> Any:
            if not self._ours:
                return super().load(key)
            try:
                return super().load(key)
            except Exception as error:  # a pickle of other versions can raise anything
                self._drop(error)
                return None

        def save(self, key: Any, data: Any) -> None:
            if not self._ours:
                super().save(key, data)
                return
            try:
                super().save(key, data)
            except Exception as error:
                self._drop(error)

        def _drop(self, error: Exception) -> None:
            """Forget this kernel's files; compiled code does without them."""
            stem = self._index_name.removesuffix(".nbi")
            with suppress(OSError):
                for path in Path(self._cache_path).iterdir():
                    if path.name.startswith(f"{stem}.") and path.suffix in (".nbi", ".nbc"):
                        path.unlink(missing_ok=True)
            say_once(
                f"kernel cache {folder}: a file cannot be used "
                f"({type(error).__name__}: {' '.join(str(error).split())[:120]}); what it held is "
                "compiled anew, which takes a while"
            )

        def _load_index(self) -> Any:
            if self._ours:
                with suppress(FileNotFoundError):
                    _check(self._index_path)
            return super()._load_index()

        def _load_data(self, name: str) -> Any:
            if self._ours:
                _check(self._data_path(name))
            return super()._load_data(name)

        @contextmanager
        def _open_for_write(self, filepath: str) -> Iterator[BinaryIO]:
            if not self._ours:
                with super()._open_for_write(filepath) as stream:
                    yield stream
                return
            temporary = temporary_path(Path(filepath))
            try:
                with open(temporary, "w+b") as stream:
                    yield stream
                    stream.seek(0)
                    digest = hashlib.sha256(stream.read()).digest()
                    stream.write(digest)
                os.replace(temporary, filepath)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary)
                raise

    caching.IndexDataCacheFile = CheckedFile


def _check(path: str) -> None:
    with open(path, "rb") as stream:
        content = stream.read()
    if hashlib.sha256(content[:-_DIGEST]).digest() != content[-_DIGEST:]:
        raise DamagedError(f"{os.path.basename(path)} does not match its checksum")


def say_once(text: str) -> None:
    """One warning of a process about its cache."""
    if not _said:
        _said.add(text)
        warnings.warn(text, R329Warning, stacklevel=2)
