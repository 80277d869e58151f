"""Image sets of bare pixels: CIFAR-10 and -100, MNIST, `.npz` and `.npy` of uint8.

Their images are handed on as BMP files, which hold the very same pixels, so that all that reads
image files (caches, threads, workers elsewhere) reads these too. Pixels are taken as RGB, or as
grey where there is one channel.
"""

from __future__ import annotations

import gzip
import io
import re
import threading
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from r329fast.base.archives import close_zip, open_zip, read_entry
from r329fast.base.closed_pickle import StoredArray, read_pickle
from r329fast.base.limits import IMAGE, RATIO, TENSOR, Limit
from r329fast.base.npy import NpyError, map_npy, parse_npy
from r329fast.base.reading import check_size, faults_of, is_file
from r329fast.errors import DataError, FileError
from r329fast.images.opencv import cv2
from r329fast.images.parts import Part, file_and_row, joined_part, part_kind, row_names
from r329fast.images.stores import Store

_SIDE = 32  # of CIFAR's images
Arrays = tuple[np.ndarray, Sequence[str] | None]


def as_bmp(pixels: np.ndarray) -> bytes:
    """uint8 [height, width, 3] RGB or [height, width] grey as an image file of the same pixels."""
    image = pixels[..., ::-1] if pixels.ndim == 3 else pixels
    done, data = cv2.imencode(".bmp", np.ascontiguousarray(image))
    if not done:
        raise DataError(f"cannot hand on an image of shape {list(pixels.shape)}")
    return data.tobytes()


@dataclass(frozen=True)
class _File:
    """A file of a form: its part, and what it holds, uint8 [N, height, width(, 3)] and labels."""

    name: str
    kind: str
    read: Callable[[], Arrays]


class PixelSet:
    """A store of bare pixels in files of another store (or one file); each is read once.

    An image's name is that of its file with its place in brackets.
    """

    def __init__(self, base: Store | None, files: Sequence[_File], where: Path) -> None:
        self._base, self._where, self._lock = base, where, threading.Lock()
        self._files = {file.name: file for file in files}
        self._arrays: dict[str, Arrays] = {}
        self.kinds = tuple(dict.fromkeys(file.kind for file in files))

    @property
    def names(self) -> list[str]:
        return [name for kind in self.kinds for name in self.part(kind).names]

    def part(self, kind: str) -> Part:
        files = [file.name for file in self._files.values() if file.kind == kind]
        loaded = ((name, *self._loaded(name)) for name in files)
        return joined_part(
            Part(row_names(name, len(pixels)), labels) for name, pixels, labels in loaded
        )

    def _loaded(self, name: str) -> Arrays:
        with self._lock:
            if name not in self._arrays:
                where = f"{name} in {self._where}" if self._base is not None else self._where
                pixels, labels = self._files[name].read()
                _check(pixels, labels, where)
                self._arrays[name] = pixels, labels
            return self._arrays[name]

    def read(self, name: str, limit: Limit = IMAGE) -> bytes:
        file, row = file_and_row(name)
        pixels = self._loaded(file)[0] if file in self._files else ()
        if row >= len(pixels):
            raise FileError(f"{self._where}: {name!r} is missing", path=str(self._where))
        data = as_bmp(pixels[row])
        check_size(name, len(data), limit)
        return data

    def stamp(self, name: str) -> str:
        file, _ = file_and_row(name)
        if self._base is not None:
            return self._base.stamp(file)
        status = self._where.stat()
        return f"{status.st_size} {status.st_mtime_ns}"

    def close(self) -> None:
        if self._base is not None:
            self._base.close()
        self._arrays.clear()


def _check(pixels: np.ndarray, labels: Sequence[str] | None, where: object) -> None:
    """Raise DataError for what are no images, or labels of other images."""
    grey, colour = pixels.ndim == 3, pixels.ndim == 4 and pixels.shape[3] == 3
    if pixels.dtype != np.uint8 or not (grey or colour) or not pixels.size:
        raise DataError(
            f"{where}: found {pixels.dtype} {list(pixels.shape)}, allowed uint8 pixels "
            "[N, height, width, 3] (RGB) or [N, height, width]"
        )
    if labels is not None and len(labels) != len(pixels):
        raise DataError(f"{where}: found {len(labels)} labels for {len(pixels)} images")


def pixel_set(store: Store, where: Path, only: str | None = None) -> PixelSet | None:
    """The images of a store of CIFAR or MNIST files; None for other stores.

    only: the one file that is meant.
    """
    names = [only] if only is not None else sorted(store.names)
    cifar = [name for name in names if _CIFAR.fullmatch(PurePosixPath(name).name)]
    files = [_cifar_file(store, name) for name in cifar]
    if not files:
        idx = {name for name in store.names if _MNIST.fullmatch(PurePosixPath(name).name)}
        files = [_idx_file(store, name, idx) for name in names if name in idx and "images" in name]
    return PixelSet(store, files, where) if files else None


# CIFAR: a label (two in CIFAR-100: coarse, then fine) and 3 planes of 32 x 32 a record
_CIFAR = re.compile(r"(data_batch_\d|test_batch|train|test)(\.bin)?")


def _cifar_file(store: Store, name: str) -> _File:
    last = PurePosixPath(name).name
    kind = "test" if last.startswith("test") else "train"
    binary = last.endswith(".bin")
    fine = "batch" not in last  # of CIFAR-100
    read = _cifar_binary if binary else _cifar_pickle
    return _File(name, kind, lambda: read(store, name, fine))


def _planes(rows: np.ndarray) -> np.ndarray:
    """[N, 3072] in planes to [N, 32, 32, 3]."""
    return np.ascontiguousarray(rows.reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1))


def _cifar_binary(store: Store, name: str, fine: bool) -> Arrays:
    data = np.frombuffer(store.read(name, TENSOR), np.uint8)
    labels, record = (2, 2 + 3 * _SIDE**2) if fine else (1, 1 + 3 * _SIDE**2)
    if not len(data) or len(data) % record:
        raise FileError(f"{name}: found {len(data):,} bytes, allowed records of {record:,}")
    rows = data.reshape(-1, record)
    return _planes(rows[:, labels:]), [str(n) for n in rows[:, labels - 1].tolist()]


def _cifar_pickle(store: Store, name: str, fine: bool) -> Arrays:
    data = store.read(name, TENSOR)
    with faults_of(name, "a CIFAR batch"):
        found = read_pickle(data)
    table = {_text(key): value for key, value in found.items()} if isinstance(found, dict) else {}
    pixels, labels = table.get("data"), table.get("fine_labels" if fine else "labels")
    rows = pixels.numbers() if isinstance(pixels, StoredArray) else None
    good = rows is not None and rows.dtype == np.uint8 and rows.ndim == 2
    if rows is None or not good or rows.shape[1] != 3 * _SIDE**2:
        raise FileError(f"{name}: found no data of uint8 [N, {3 * _SIDE**2}]: not a CIFAR batch")
    if not isinstance(labels, list) or not all(type(n) is int and n >= 0 for n in labels):
        raise FileError(f"{name}: found no list of labels: not a CIFAR batch")
    return _planes(rows), [str(n) for n in labels]


def _text(key: object) -> str:
    return key.decode("latin1") if isinstance(key, bytes) else str(key)


# MNIST and its kin: magic 0x08 (bytes) and the number of axes, then each size in 4 bytes
_MNIST = re.compile(r"(.*[-_.])?(images|labels)[-_.]idx[13][-_.]ubyte(\.gz)?")


def _idx_file(store: Store, name: str, files: set[str]) -> _File:
    answers = name.replace("images", "labels").replace("idx3", "idx1")
    other = answers[:-3] if answers.endswith(".gz") else answers + ".gz"
    answer = next((found for found in (answers, other) if found in files), None)
    kind = part_kind(PurePosixPath(name).name)

    def read() -> Arrays:
        labels = _idx(store, answer, 1) if answer is not None else None
        texts = [str(n) for n in labels.tolist()] if labels is not None else None
        return _idx(store, name, 3), texts

    return _File(name, kind, read)


def _idx(store: Store, name: str, axes: int) -> np.ndarray:
    data = store.read(name, TENSOR)
    if name.endswith(".gz"):
        data = _gunzipped(data, name)
    if data[:4] != bytes((0, 0, 8, axes)):
        raise FileError(f"{name}: not an idx file of bytes with {axes} axes")
    sizes = tuple(np.frombuffer(data[4 : 4 + 4 * axes], ">u4").tolist())
    expected = int(np.prod(sizes, dtype=object)) if len(sizes) == axes else -1
    if len(data) - 4 - 4 * axes != expected:
        raise FileError(
            f"{name}: found {len(data) - 4 - 4 * axes:,} values, its sizes are {list(sizes)}"
        )
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(sizes)


def _gunzipped(data: bytes, name: str) -> bytes:
    """What a .gz holds, within the limits."""
    most = min(TENSOR.bytes(), max(RATIO.get() * len(data), 1 << 26))
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            unpacked = stream.read(most + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise FileError(f"{name}: not a whole .gz ({error})") from error
    if len(unpacked) > most:
        check_size(name, len(unpacked), TENSOR)
        raise FileError(f"{name}: it unpacks to more than {most >> 20} MB, {RATIO.advice()}")
    return unpacked


_IMAGE_KEYS = ("x_test", "x_val", "x_train", "images", "x", "data", "image", "arr_0", "X")
_LABEL_KEYS = ("y_test", "y_val", "y_train", "labels", "y", "label", "target", "arr_1", "Y")


def npz_set(path: Path) -> PixelSet | None:
    """The images of an `.npz` of pixels (images and labels, x and y, x_test and y_test ..).

    None where it is another zip. Raises FileError and DataError.
    """
    if path.suffix.lower() != ".npz":
        return None
    archive = open_zip(path)
    try:
        entries = {
            item.filename.removesuffix(".npy"): item
            for item in archive.infolist()
            if item.filename.endswith(".npy")
        }
        files: list[_File] = []
        for image, label in zip(_IMAGE_KEYS, _LABEL_KEYS, strict=True):
            if image in entries and not (files and image in ("images", "x", "data")):
                pixels = _entry(archive, entries[image], path)
                labels = None
                if label in entries:
                    labels = label_texts(_entry(archive, entries[label], path), path)
                files.append(_File(image, part_kind(image), _held(pixels, labels)))
    finally:
        close_zip(archive)
    if not files:
        found = ", ".join(sorted(entries)[:8]) or "nothing"
        raise DataError(
            f"{path}: found {found}, allowed: images and labels (or x and y, x_test and y_test)"
        )
    return PixelSet(None, files, path)


def _held(pixels: np.ndarray, labels: Sequence[str] | None) -> Callable[[], Arrays]:
    return lambda: (pixels, labels)


def _entry(archive: zipfile.ZipFile, item: zipfile.ZipInfo, path: Path) -> np.ndarray:
    data = read_entry(archive, item, TENSOR, path)
    try:
        array = parse_npy(data)
    except NpyError as error:
        raise FileError(f"{item.filename} in {path}: {error}", path=str(path)) from error
    return array[..., 0] if array.ndim == 4 and array.shape[3] == 1 else array


def label_texts(labels: np.ndarray, where: object) -> list[str]:
    """Labels of an array: whole numbers [N] or [N, 1], or one-hot rows."""
    if labels.ndim == 2 and labels.shape[1] > 1:
        if not ((labels == 0) | (labels == 1)).all() or not (labels.sum(axis=1) == 1).all():
            raise DataError(f"{where}: found labels {list(labels.shape)} that are not one-hot")
        labels = labels.argmax(axis=1)
    flat = labels.reshape(-1) if labels.ndim == 2 else labels
    whole = flat.ndim == 1 and flat.dtype.kind in "iuf" and bool((flat == np.floor(flat)).all())
    if whole and flat.size and flat.min() < 0:
        raise DataError(f"{where}: found label {flat.min()}, allowed class numbers from 0")
    if not whole:
        raise DataError(
            f"{where}: found labels {labels.dtype} {list(labels.shape)}, allowed class numbers [N]"
        )
    return [str(int(number)) for number in flat.tolist()]


def npy_set(path: Path) -> PixelSet | None:
    """The pixels of a uint8 `.npy`, with the `label.npy` beside it; None for another array."""
    array = map_npy(path)
    if array.dtype != np.uint8:
        return None
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    answer = path.with_name("label.npy")
    labels = label_texts(np.array(map_npy(answer)), answer) if is_file(answer) else None
    return PixelSet(None, [_File(path.name, "", _held(array, labels))], path)
