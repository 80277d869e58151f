"""Files of targets that lie: one typed line before anything is evaluated or counted."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from r329fast.errors import DataError, FileError, UsageError
from r329fast.evaluation.metrics import choose_metric
from r329fast.evaluation.metrics.confusion import confusion_of, read_mask

_ANNOTATION = {
    "id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 1, 4, 3], "area": 12, "iscrowd": 0,
}  # fmt: skip


def truth(path: Path, image: Any = None, annotation: Any = None, category: Any = None) -> Path:
    table = {
        "images": [{"id": 1, "file_name": "1.png", "width": 8, "height": 6, **(image or {})}],
        "annotations": [_ANNOTATION if annotation is None else annotation],
        "categories": [{"id": 3, "name": "cat", **(category or {})}],
    }
    path.write_text(json.dumps(table), encoding="utf-8")
    return path


@pytest.mark.parametrize("missing", list(_ANNOTATION))
def test_annotations_that_cannot_be_counted(tmp_path: Path, missing: str) -> None:
    less = {key: value for key, value in _ANNOTATION.items() if key != missing}
    with pytest.raises(FileError, match=f"annotation 0 has no {missing}, allowed"):
        choose_metric("coco_map:boxes").load(
            truth(tmp_path / "t.json", annotation=less), ["1.png"], (6, 8)
        )


@pytest.mark.parametrize(
    "lie",
    [
        {"annotation": {**_ANNOTATION, "bbox": [1, 2, 3]}},
        {"annotation": {**_ANNOTATION, "bbox": [1, 2, 3, float("inf")]}},
        {"annotation": {**_ANNOTATION, "bbox": "abcd"}},
        {"annotation": 5},
        {"image": {"id": 2**70}},
        {"image": {"width": None}},
        {"category": {"id": 2**40}},
    ],
)
def test_annotations_of_another_form(tmp_path: Path, lie: dict[str, Any]) -> None:
    with pytest.raises(FileError) as caught:
        choose_metric("coco_map:boxes").load(truth(tmp_path / "t.json", **lie), ["1.png"], (6, 8))
    assert "\n" not in caught.value.message


def test_annotations_that_pycocotools_refuses(tmp_path: Path) -> None:
    """An image of a number that is a text: its own code fails, long after the file was read."""
    pytest.importorskip("pycocotools")
    metric = choose_metric("coco_map:boxes")
    wrong = {**_ANNOTATION, "category_id": {"a": 1}}
    targets = metric.load(truth(tmp_path / "t.json", annotation=wrong), ["1.png"], (6, 8))
    boxes = np.array([[[1, 1, 5, 4, 0.9, 0]]], np.float32)
    with pytest.raises(FileError, match="not COCO annotations"):
        metric.merge([metric.measure({"boxes": boxes}, targets)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,1,2\nb,1\n", "1 values for 'b' and 2 for 'a'"),
        ("a,1\nb,nan\n", "NaN or infinity for 'b'"),
        ("a,1\nb,1e999\n", "NaN or infinity for 'b'"),
        ("a,1\nb,x\n", "line 2"),
    ],
)
def test_sheets_of_numbers(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "y.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        choose_metric("regression").load(tmp_path / "y.csv", ["a", "b"], (6, 8))


def test_arrays_of_numbers(tmp_path: Path) -> None:
    np.save(tmp_path / "y.npy", np.array([[1.0], [np.nan]], np.float32))
    with pytest.raises(DataError, match=r"NaN or infinity for 'b'"):
        choose_metric("regression").load(tmp_path / "y.npy", ["a", "b"], (6, 8))


@pytest.mark.parametrize("palette", [False, True])
def test_masks_of_too_many_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, palette: bool
) -> None:
    pillow = pytest.importorskip("PIL.Image")
    stream = io.BytesIO()
    image = pillow.new("P" if palette else "L", (2000, 1000))
    if palette:
        image.putpalette([0, 0, 0, 9, 9, 9])
    image.save(stream, "PNG")
    (tmp_path / "1.png").write_bytes(stream.getvalue())
    assert read_mask(tmp_path / "1.png").shape == (1000, 2000)
    monkeypatch.setenv("R329FAST_MAX_MEGAPIXELS", "1")
    with pytest.raises(DataError, match="R329FAST_MAX_MEGAPIXELS"):
        read_mask(tmp_path / "1.png")
    monkeypatch.undo()
    (tmp_path / "1.png").write_bytes(stream.getvalue()[: 60 if palette else 40])
    with pytest.raises((DataError, FileError)):
        read_mask(tmp_path / "1.png")


@pytest.mark.parametrize("numbers", [[-3.0, 1.0], [0.0, 30_000.0]])
def test_outputs_that_are_no_class_numbers(tmp_path: Path, numbers: list[float]) -> None:
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((1, 2), np.uint8))
    metric = choose_metric("miou")
    targets = metric.load(tmp_path, ["1.png"], (1, 2))
    with pytest.raises(UsageError, match="allowed class numbers from 0"):
        metric.measure({"y": np.array([[numbers]], np.float32)}, targets)


@pytest.mark.parametrize("pair", [[-1, 0, 5], [0, 1 << 40, 5]])
def test_records_of_pairs_that_no_matrix_holds(pair: list[int]) -> None:
    with pytest.raises(ValueError, match="class numbers below 0 or above"):
        confusion_of([{"pairs": np.array([pair])}], 10)
