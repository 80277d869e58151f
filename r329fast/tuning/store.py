"""Arrays by key in bounded memory: what has no room there stands in a file without a name."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from r329fast.base.files import make_dir
from r329fast.errors import FileError

Key = tuple[str, str]  # kind, name
IN_MEMORY = 64 << 20  # bytes of one store that never go to a disk


class Store(Mapping[Key, np.ndarray]):
    """float32 arrays, written in parts and read whole; a read gives an array of the caller's own
    only where it comes from the file, so nobody writes to what is read.

    folder: where the file lies, made when it is needed; None: the system's place for such files.
    It vanishes with the process, however that ends. Raises FileError where the disk is full.
    """

    def __init__(self, folder: Path | None = None, in_memory: int = IN_MEMORY) -> None:
        self.folder, self._room = folder, in_memory
        self._arrays: dict[Key, np.ndarray] = {}
        self._places: dict[Key, tuple[int, tuple[int, ...]]] = {}  # offset in the file, shape
        self._end = 0
        self._file: BinaryIO | None = None

    def reserve(self, key: Key, shape: tuple[int, ...]) -> None:
        """Room for an array, which `write` fills."""
        size = 4 * int(np.prod(shape))
        if size <= self._room:
            self._room -= size
            self._arrays[key] = np.empty(shape, dtype=np.float32)
            return
        self._places[key] = self._end, shape
        self._end += size

    def write(self, key: Key, first: int, part: np.ndarray) -> None:
        """The rows of an array from `first` on."""
        if key in self._arrays:
            self._arrays[key][first : first + len(part)] = part
            return
        offset, shape = self._places[key]
        data = np.ascontiguousarray(part, dtype=np.float32)
        try:
            file = self._opened()
            file.seek(offset + 4 * first * int(np.prod(shape[1:])))
            file.write(data.data)
        except OSError as error:
            place = self.folder or tempfile.gettempdir()
            raise FileError(
                f"cannot keep {self._end >> 20} MB of float values for a while in {place}: "
                f"{error.strerror}",
                path=str(place),
            ) from error

    def spill(self) -> None:
        """All that is in memory goes to the file; reads give the same."""
        self._room = 0
        for key in list(self._arrays):
            array = self._arrays.pop(key)
            self._places[key] = self._end, array.shape
            self._end += array.nbytes
            self.write(key, 0, array)

    def __getitem__(self, key: Key) -> np.ndarray:
        if key in self._arrays:
            return self._arrays[key]
        offset, shape = self._places[key]
        result = np.empty(shape, dtype=np.float32)
        file = self._opened()
        file.seek(offset)
        if file.readinto(result.data) != result.nbytes:  # type: ignore[attr-defined]
            raise FileError(f"float values of {key[1]!r} are gone from the disk")
        return result

    def __contains__(self, key: object) -> bool:
        return key in self._arrays or key in self._places

    def __iter__(self) -> Iterator[Key]:
        yield from self._arrays
        yield from self._places

    def __len__(self) -> int:
        return len(self._arrays) + len(self._places)

    def close(self) -> None:
        """Give memory and file back."""
        self._arrays, self._places = {}, {}
        if self._file is not None:
            self._file.close()
            self._file = None

    def __del__(self) -> None:
        file = getattr(self, "_file", None)
        if file is not None:
            file.close()

    def _opened(self) -> BinaryIO:
        if self._file is None:
            folder = make_dir(self.folder) if self.folder is not None else None
            self._file = cast(BinaryIO, tempfile.TemporaryFile(dir=folder))  # noqa: SIM115
        return self._file
