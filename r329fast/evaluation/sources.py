"""What is evaluated: labelled images in files, or arrays that are ready, one item at a time."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from r329fast.base.fork import hold_during_fork
from r329fast.base.npy import map_npy
from r329fast.base.reading import is_file, is_there
from r329fast.errors import DataError, FileError
from r329fast.images.class_folders import Naming
from r329fast.images.dataset import load_labels
from r329fast.images.forms import open_images
from r329fast.images.label_files import LABEL_FILE
from r329fast.images.opencv import cv2
from r329fast.images.preprocess import Preprocess
from r329fast.images.sequences import is_sequence
from r329fast.images.sets import ImageSet, decode
from r329fast.images.stores import Store

Key = str | int | bytes
_opening = threading.Lock()  # readers are sent to other processes, locks cannot be
hold_during_fork(_opening)
_ARRAY, _ARRAY_LABELS = "dataset.npy", "label.npy"


class BadImageError(Exception):
    """An image that cannot be used; the text gives the reason, without the image's name."""


@dataclass
class ImageReader:
    """Reads one image as the network's pixels; goes to other processes without its open files.

    A key is a name inside the set, or the bytes of an image file. held: the images are in this
    process's memory, and reach others as bytes alone.
    """

    path: str
    recipe: Preprocess
    held: bool = False
    dtype = "uint8"
    _store: Store | None = field(default=None, repr=False, compare=False)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        return self.recipe.size[1], self.recipe.size[0], 3

    def ship(self, key: Key) -> bytes:
        """The bytes that stand for a name elsewhere; empty where the file cannot be read."""
        try:
            return self._read(key)
        except BadImageError:
            return b""

    def load(self, key: Key) -> np.ndarray:
        """uint8 [height, width, 3] in the recipe's channel order; raises BadImageError."""
        data = key if isinstance(key, bytes) else self._read(key)
        if not data:
            raise BadImageError("the file is empty or cannot be read")
        try:
            return self.recipe.fit(decode(data))
        except DataError as error:
            if "limit" in error.details:
                why = f"too many pixels ({error.details['limit']} raises the limit)"
                raise BadImageError(why) from None
            raise BadImageError("not an image that OpenCV reads") from None
        except cv2.error as error:
            raise BadImageError(f"OpenCV cannot resize it ({error.err})") from None

    def _read(self, key: Key) -> bytes:
        with _opening:
            if self._store is None and not self.held:
                self._store = open_images(Path(self.path))
            store = self._store
        if store is None:
            raise BadImageError("it is in the memory of another process")
        try:
            return store.read(str(key))
        except FileError as error:
            if "limit" in error.details:
                raise BadImageError(
                    f"too large ({error.details['limit']} raises the limit)"
                ) from None
            why = error.details.get("why", "the file is empty or cannot be read")
            raise BadImageError(str(why)) from None

    def close(self) -> None:
        """Close the archive; the next image opens it again."""
        if self.held:
            return
        with _opening:
            store, self._store = self._store, None
        if store is not None:
            store.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_store": None}


@dataclass
class ArrayReader:
    """Reads one item of a float32 .npy array [N, height, width, channels].

    The array is mapped for one item at a time, so that the pages of the others do not pile up.
    A key is an index, or the bytes of an item.
    """

    path: str
    item: tuple[int, ...]
    dtype = "float32"

    @property
    def shape(self) -> tuple[int, ...]:
        """Height, width, channels."""
        return self.item

    def ship(self, key: Key) -> bytes:
        return self._item(int(key)).tobytes()

    def load(self, key: Key) -> np.ndarray:
        """float32 [height, width, channels]; raises BadImageError for NaN and infinity."""
        if isinstance(key, bytes):
            item = np.frombuffer(key, dtype=np.float32).reshape(self.shape)
        else:
            item = np.array(self._item(int(key)))
        if not np.isfinite(item).all():
            raise BadImageError("holds NaN or infinity")
        return item

    def _item(self, index: int) -> np.ndarray:
        """One item; raises BadImageError where the file has been made shorter meanwhile."""
        array = map_npy(self.path)
        if index >= len(array) or array.shape[1:] != self.shape or array.dtype != np.float32:
            raise BadImageError("the file has been changed meanwhile")
        return array[index]

    def close(self) -> None:
        """Nothing stays open."""


class Reader(Protocol):
    """What loads one item after the other; it goes to other processes without its open files."""

    dtype: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one item."""

    def ship(self, key: Key) -> bytes:
        """The bytes that stand for a key elsewhere."""

    def load(self, key: Key) -> np.ndarray:
        """One item; raises BadImageError."""

    def close(self) -> None:
        """Give back what is open."""


@dataclass
class Source:
    """A labelled set: `keys` are what `reader` loads, `names` what tables show.

    labels: int64 [N], as in the label file. recipe: of images; None for arrays, whose values are
    normalised already. stamp: changes when the files do. note: a warning about what was chosen.
    held: the images are in memory, so that no later run can know them again.
    """

    path: str
    reader: Reader
    names: tuple[str, ...]
    keys: tuple[Key, ...]
    labels: np.ndarray
    recipe: Preprocess | None
    stamp: str
    note: str = ""

    @property
    def held(self) -> bool:
        return isinstance(self.reader, ImageReader) and self.reader.held

    def __len__(self) -> int:
        return len(self.names)


def open_source(
    images: str | Path | Any,
    labels: str | Path | None,
    recipe: Preprocess,
    *,
    limit: int | None = None,
    naming: Naming | None = None,
    spread: bool = False,
) -> Source:
    """Any set of `ImageSet`, or a float32 `dataset.npy` with `label.npy` (or the folder of both).

    recipe: how images become pixels; not used for arrays. naming: of class folders.
    spread: `limit` images from the whole set, not the first. Raises FileError and DataError.
    """
    if is_sequence(images):
        return _images(ImageSet(images, labels, limit, naming, spread), recipe, held=True)
    path = Path(images)
    holds_array = is_file(path / _ARRAY) and not is_there(path / LABEL_FILE)
    if holds_array and (labels is None or Path(labels).suffix == ".npy"):
        path = path / _ARRAY
    if path.suffix == ".npy" and map_npy(path).dtype != np.uint8:
        return _open_arrays(path, labels, limit)
    return _images(ImageSet(path, labels, limit, naming, spread), recipe)


def _images(found: ImageSet, recipe: Preprocess, held: bool = False) -> Source:
    """The source of a set, which is closed where it can be opened again."""
    digest = hashlib.sha256()
    for name in found.members:
        try:
            stamp = found.store.stamp(name)
        except OSError:  # whether that matters is decided when the image is read
            stamp = "unreadable"
        digest.update(f"{name}\n{stamp}\n".encode())
    path = str(found.path)
    reader = ImageReader(path, recipe, held, found.store if held else None)
    if not held:
        found.close()
    return Source(
        path,
        reader,
        found.names,
        found.members,
        found.labels,
        recipe,
        digest.hexdigest(),
        found.note,
    )


def _open_arrays(path: Path, labels: str | Path | None, limit: int | None) -> Source:
    array = map_npy(path)
    changed = path.stat().st_mtime_ns
    if array.dtype != np.float32 or array.ndim < 2 or not array.size:
        raise DataError(
            f"{path}: found {array.dtype} {list(array.shape)}, allowed float32 [N, height, width, "
            "channels]",
            path=str(path),
        )
    answer = Path(labels) if labels is not None else path.with_name(_ARRAY_LABELS)
    if answer.suffix != ".npy":
        raise DataError(f"{answer}: labels of a .npy array stand in a .npy file too")
    numbers = load_labels(answer, len(array))[:limit]
    names = tuple(f"{path.name}[{index}]" for index in range(len(numbers)))
    stamp = hashlib.sha256(f"{array.shape} {changed}".encode()).hexdigest()
    reader = ArrayReader(str(path), tuple(array.shape[1:]))
    return Source(str(path), reader, names, tuple(range(len(names))), numbers, None, stamp)
