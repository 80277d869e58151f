"""The same twelve images for every form of image set, and what each form has to give."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from r329fast.images.class_folders import Naming
from r329fast.images.sets import ImageSet

COUNT, CLASSES = 12, 4
RNG = np.random.default_rng(5)
PIXELS = RNG.integers(0, 256, (COUNT, 32, 32, 3), dtype=np.uint8)  # RGB
LABELS = (np.arange(COUNT) * 3 + 1) % CLASSES
WNIDS = [f"n{7654321 - 1000 * place:08d}" for place in range(CLASSES)]
NAMING = Naming(numbers={wnid: place for place, wnid in enumerate(WNIDS)}, classes=CLASSES)
Maker = Callable[[Path], Path]


def png(index: int) -> bytes:
    return cv2.imencode(".png", PIXELS[index, ..., ::-1])[1].tobytes()


def name(index: int) -> str:
    return f"ILSVRC2012_val_{index + 1:08d}.png"


def make_files(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for index in range(COUNT):
        (folder / name(index)).write_bytes(png(index))
    return folder


def rows(images: ImageSet) -> list[tuple[bytes, int]]:
    pixels = [image[..., ::-1].tobytes() for _, image in images]
    return list(zip(pixels, images.labels.tolist(), strict=True))


WANTED = [(PIXELS[index].tobytes(), int(LABELS[index])) for index in range(COUNT)]
