"""Decoded and resized images kept on disk, one byte per value, for the next run.

The bytes are those before normalisation and input quantisation, which are table look-ups: so the
cache serves every scheme of a sweep and the float baseline alike. The folder's name is a hash of
everything that decides the bytes: file list with sizes and dates, recipe of size and crop, OpenCV
version, chunk size. A chunk is valid when its record in the log is whole and every image has the
checksum noted there; others are decoded again.
"""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from r329fast.base.files import make_dir
from r329fast.errors import FileError
from r329fast.evaluation.chunk_log import ChunkLog, pack, unpack
from r329fast.evaluation.sources import BadImageError, Source
from r329fast.images.opencv import cv2

_PAGE = mmap.ALLOCATIONGRANULARITY


def pixel_key(source: Source, chunk: int) -> dict[str, object]:
    """What decides the decoded bytes of an image set."""
    recipe = source.recipe.as_json() if source.recipe is not None else {}
    kept = ("size", "order", "resize", "shorter", "interpolation")
    return {
        "path": str(Path(source.path).absolute()),
        "files": source.stamp,
        "images": len(source),
        "recipe": {name: recipe.get(name) for name in kept},
        "opencv": cv2.__version__,
        "chunk": chunk,
        "checksum": "page sums",
    }


def key_hash(key: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]


class PixelCache:
    """Chunks of uint8 images in one file that is mapped for reading, chunk by chunk."""

    def __init__(self, folder: Path, source: Source, chunk: int) -> None:
        from r329fast.kernels.pixels import checksum

        key = pixel_key(source, chunk)
        self.checksum = checksum
        self.folder = make_dir(folder / f"pixels-{key_hash(key)}")
        self.shape, self.count, self.chunk = source.reader.shape, len(source), chunk
        self.item = int(np.prod(self.shape))
        self.log = ChunkLog(self.folder / "chunks.log", key)
        self.path = self.folder / "pixels.bin"
        try:
            with open(self.path, "ab") as file:
                if file.tell() != self.count * self.item:
                    file.truncate(self.count * self.item)
        except OSError as error:
            self.log.close()
            raise FileError(f"cannot write {self.path}: {error.strerror}") from error
        self.hits = 0

    def open_chunk(self, number: int) -> CachedChunk | None:
        """The images of a chunk, or None where they are not there yet."""
        if number not in self.log.done:
            return None
        start = number * self.chunk
        try:
            notes = unpack(self.log.read(number))
            bad = {str(row): str(why) for row, why in json.loads(notes["bad"].tobytes()).items()}
            sums = notes["sums"]
            right = sums.dtype == np.uint32 and sums.shape == (min(self.chunk, self.count - start),)
        except (FileError, KeyError, ValueError, AttributeError, RecursionError):
            return None  # decoded anew
        if not right:
            return None
        self.hits += 1
        return CachedChunk(self.path, start, self.shape, sums, bad, self.checksum)

    def store(self, number: int, pixels: np.ndarray, bad: Mapping[int, str]) -> None:
        """Keep a chunk: pixels uint8 [n, height, width, 3]; `bad`: the unreadable ones."""
        try:
            with open(self.path, "r+b") as file:
                file.seek(number * self.chunk * self.item)
                file.write(pixels.data)
        except OSError as error:
            raise FileError(f"cannot write {self.path}: {error.strerror}") from error
        words = json.dumps({str(row): text for row, text in bad.items()}).encode()
        sums = np.array([self.checksum(image) for image in pixels], dtype=np.uint32)
        self.log.append(number, pack({"sums": sums, "bad": np.frombuffer(words, dtype=np.uint8)}))

    def close(self) -> None:
        self.log.close()


class CachedChunk:
    """One chunk, mapped; the map is gone when this object is."""

    def __init__(
        self,
        path: Path,
        start: int,
        shape: tuple[int, ...],
        sums: np.ndarray,
        bad: Mapping[str, str],
        checksum: Callable[[np.ndarray], int],
    ) -> None:
        self.sums, self.bad, self.checksum = sums, bad, checksum
        item = int(np.prod(shape))
        begin = start * item
        offset = begin // _PAGE * _PAGE
        length = begin - offset + len(sums) * item
        with open(path, "rb") as file:
            # a private copy, of which nothing is written: kernels take writable arrays
            mapped = mmap.mmap(file.fileno(), length, access=mmap.ACCESS_COPY, offset=offset)
        flat = np.frombuffer(mapped, dtype=np.uint8)[begin - offset :]
        self.pixels = flat.reshape(len(sums), *shape)

    def load(self, row: int) -> np.ndarray:
        """uint8 [height, width, 3]; raises BadImageError as decoding did, KeyError if damaged."""
        if str(row) in self.bad:
            raise BadImageError(self.bad[str(row)])
        image = self.pixels[row]
        if self.checksum(image) != int(self.sums[row]):
            raise KeyError(row)
        return np.asarray(image)
