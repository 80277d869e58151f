"""Labelled images that a program holds: pairs, or a data set of torch or Hugging Face."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from r329fast.base.limits import IMAGE, Limit
from r329fast.base.reading import check_size, read_bytes
from r329fast.errors import DataError, FileError
from r329fast.images.parts import Part
from r329fast.images.pixel_sets import as_bmp, label_texts

_IMAGES, _LABELS = ("image", "img", "jpg", "png"), ("label", "labels", "fine_label", "cls")


class Sequences:
    """A store of the images of a sequence or iterable of (image, label).

    An image is a path, uint8 [height, width, 3] RGB or [height, width] grey, a uint8 tensor
    [3, height, width], or anything with the array interface (PIL). Items may be dicts with
    `image` and `label`. A sequence is asked for an item when it is needed, one at a time; of an
    iterable all items are kept. Labels come from `targets` or the column `label` where the data
    set has them, so that no image is decoded for them.

    Raises DataError for items of another form.
    """

    kinds = ("",)

    def __init__(self, items: Any) -> None:
        sequence = hasattr(items, "__getitem__") and hasattr(items, "__len__")
        self._items = items if sequence else list(items)
        self._lock = threading.Lock()
        self._count = len(self._items)
        if not self._count:
            raise DataError("found no image in the sequence")
        self.names = [f"[{index}]" for index in range(self._count)]
        self._labels = _column(self._items)
        if self._labels is None:
            self._labels = [_pair(self._items[index], index)[1] for index in range(self._count)]
        if len(self._labels) != self._count:
            raise DataError(f"found {len(self._labels)} labels for {self._count} images")

    def part(self, kind: str) -> Part:
        return Part(self.names, self._labels)

    def read(self, name: str, limit: Limit = IMAGE) -> bytes:
        index = int(name[1:-1])
        with self._lock:  # a data set need not be made for threads
            item = self._items[index]
        try:
            image = _pair(item, index)[0]
            data = read_bytes(image, limit) if isinstance(image, (str, Path)) else _encoded(image)
        except DataError as error:
            raise FileError(error.message) from error
        check_size(name, len(data), limit)
        return data

    def stamp(self, name: str) -> str:
        return f"{id(self):x}"

    def close(self) -> None:
        """Nothing is open."""


def _column(items: Any) -> list[str] | None:
    """The labels of a data set that keeps them apart from its images."""
    found = getattr(items, "targets", None)
    columns = getattr(items, "column_names", None)
    if found is None and isinstance(columns, Sequence) and not isinstance(columns, str):
        name = next((name for name in _LABELS if name in columns), None)
        found = items[name] if name is not None else None
    if found is None:
        return None
    return label_texts(np.asarray(found), "the data set")


def _pair(item: Any, index: int) -> tuple[Any, str]:
    """Image and label of an item."""
    if isinstance(item, Mapping):
        image = next((item[name] for name in _IMAGES if name in item), None)
        label = next((item[name] for name in _LABELS if name in item), None)
    elif isinstance(item, (tuple, list)) and len(item) == 2:
        image, label = item
    else:
        image = label = None
    number = np.asarray(label) if label is not None else np.empty(0)
    whole = number.size == 1 and number.dtype.kind in "iu" and int(number.reshape(-1)[0]) >= 0
    if image is None or not whole:
        raise DataError(
            f"item {index}: found {type(item).__name__}, allowed (image, label) or a dict of image "
            "and label, the label a class number from 0"
        )
    return image, str(int(number.reshape(-1)[0]))


def _encoded(image: Any) -> bytes:
    """An image as the bytes of a file with the same pixels; DataError for another form."""
    convert = getattr(image, "convert", None)
    if callable(convert) and getattr(image, "mode", "RGB") not in ("RGB", "L"):
        image = convert("RGB")
    pixels = np.asarray(image)
    if pixels.ndim == 3 and pixels.shape[2] not in (1, 3) and pixels.shape[0] in (1, 3):
        pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    grey, colour = pixels.ndim == 2, pixels.ndim == 3 and pixels.shape[2] == 3
    if pixels.dtype != np.uint8 or not (grey or colour) or not pixels.size:
        raise DataError(
            f"found an image of {pixels.dtype} {list(pixels.shape)}, allowed uint8 pixels [height, "
            "width, 3] (a data set's own transform has to go: the recipe does that)"
        )
    return as_bmp(pixels)


def is_sequence(images: object) -> bool:
    """Whether images are held by the program rather than named by a path."""
    return (isinstance(images, Iterable) and not isinstance(images, (str, bytes, Path))) or (
        hasattr(images, "__getitem__") and not isinstance(images, (str, bytes))
    )
