"""Images that a program holds: pairs, dicts, data sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.image_forms import (
    COUNT,
    LABELS,
    PIXELS,
    WANTED,
    make_files,
    name,
    rows,
)

from r329fast.errors import DataError, FileError
from r329fast.images.sets import ImageSet


class Targets:
    """As torchvision's sets: labels apart, items decoded when asked for."""

    targets = LABELS.tolist()

    def __init__(self) -> None:
        self.asked = 0

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        self.asked += 1
        return PIXELS[index], int(LABELS[index])


def test_sequences(tmp_path: Path) -> None:
    folder = make_files(tmp_path / "set")
    pairs = [(PIXELS[index], LABELS[index]) for index in range(COUNT)]
    paths = [(folder / name(index), int(LABELS[index])) for index in range(COUNT)]
    dicts = [{"image": PIXELS[index], "label": int(LABELS[index])} for index in range(COUNT)]
    planes = [(PIXELS[index].transpose(2, 0, 1), int(LABELS[index])) for index in range(COUNT)]
    for items in (pairs, iter(pairs), tuple(paths), dicts, planes):
        with ImageSet(items) as images:
            assert rows(images) == WANTED
    targets = Targets()
    with ImageSet(targets) as images:
        assert targets.asked == 0
        assert rows(images) == WANTED


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "found no image"),
        ([(PIXELS[0], -1)], "item 0: found tuple, allowed"),
        ([PIXELS[0]], "item 0: found ndarray, allowed"),
        ([(PIXELS[0], 1.5)], "item 0: found tuple"),
    ],
)
def test_sequences_with_mistakes(items: list[object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        ImageSet(items)


def test_a_float_image_is_refused() -> None:
    odd = [(PIXELS[0].astype(np.float32), 1)]
    message = r"allowed uint8 pixels.*transform has to go"
    with ImageSet(odd) as images, pytest.raises(FileError, match=message):
        images.image(0)
