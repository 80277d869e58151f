"""COCO average precision of boxes, for the forms of heads that are decoded here."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from r329fast.base.reading import faults_of, read_json
from r329fast.errors import DataError, FileError, UsageError
from r329fast.evaluation.metrics.metric import Metric, Outputs, State, joined, only
from r329fast.images.opencv import cv2

FORMS = ("yolov5", "yolov8", "boxes")
_NEEDED = ("id", "image_id", "category_id", "bbox", "area", "iscrowd")  # of an annotation
_LARGEST = 2.0**31  # ids and sides; beyond is no image
_COLUMNS = 7  # image id, x, y, width, height, score, class


@dataclass
class CocoMap(Metric):
    """mAP of boxes as COCO counts it (pycocotools), for one output of these forms.

    - yolov5: [boxes, 5 + classes]: centre x, centre y, width, height in pixels of the network's
      input, objectness, then a probability per class;
    - yolov8: [4 + classes, boxes], or transposed: the same without objectness;
    - boxes: [boxes, 6]: x1, y1, x2, y2 in pixels of the input, score, class; suppressed already.

    The best class of a box counts, boxes below `score` are left out, and boxes of one class whose
    overlap is above `overlap` are suppressed, at most `most` of an image are kept. Class k is the
    k-th category of the annotations, by their ids. Images must have been stretched to the input,
    which is undone by each image's size.
    """

    form: str = "yolov8"
    score: float = 0.001
    overlap: float = 0.65
    most: int = 300
    truth: str = ""
    categories: tuple[int, ...] = ()

    name, headline, own_targets = "coco_map", "map", True
    stretched = True

    def identity(self) -> str:
        return f"{self.name}:{self.form} {self.score:g} {self.overlap:g} {self.most}"

    def load(self, path: Path, names: Sequence[str], size: tuple[int, int]) -> list[Any]:
        """path: COCO's `instances` JSON; images are known by the last part of their names."""
        table = read_json(path)
        with faults_of(path, "COCO annotations"):
            images = {
                PurePosixPath(str(image["file_name"])).name: (
                    int(image["id"]),
                    float(image["width"]) / size[1],
                    float(image["height"]) / size[0],
                )
                for image in table["images"]
            }
            self.categories = tuple(sorted(int(item["id"]) for item in table["categories"]))
            ids = (*(image[0] for image in images.values()), *self.categories)
            if any(abs(number) >= _LARGEST for number in ids):
                raise ValueError("an id of more than 31 bits")
            for number, item in enumerate(table["annotations"]):
                _check_annotation(path, number, item)
        self.truth = str(path)
        return [images.get(PurePosixPath(name).name) for name in names]

    def measure(self, outputs: Outputs, targets: Sequence[Any]) -> State:
        found = [
            self._image(output, *target)
            for output, target in zip(only(outputs, self.name), targets, strict=True)
        ]
        ids = np.array([target[0] for target in targets], dtype=np.int64)
        empty = [np.zeros((0, _COLUMNS))]
        return {"found": np.concatenate([*empty, *found]), "images": ids}

    def _image(self, output: np.ndarray, number: int, across: float, down: float) -> np.ndarray:
        boxes, scores, classes = decode_boxes(output, self.form)
        kept = scores > self.score
        boxes, scores, classes = boxes[kept], scores[kept], classes[kept]
        if self.form != "boxes" and len(boxes):
            chosen = cv2.dnn.NMSBoxesBatched(
                boxes.tolist(), scores.tolist(), classes.tolist(), self.score, self.overlap
            )
            order = np.asarray(chosen, dtype=np.int64).reshape(-1)
            order = order[np.argsort(-scores[order], kind="stable")][: self.most]
            boxes, scores, classes = boxes[order], scores[order], classes[order]
        if len(classes) and int(classes.max()) >= len(self.categories):
            raise DataError(
                f"coco_map: found class {int(classes.max())}, the annotations have "
                f"{len(self.categories)} categories"
            )
        scaled = boxes * np.array([across, down, across, down])
        ids = np.full((len(boxes), 1), number, dtype=np.float64)
        return np.concatenate([ids, scaled, scores[:, None], classes[:, None]], axis=1)

    def merge(self, states: Sequence[State]) -> dict[str, Any]:
        try:
            from pycocotools.coco import COCO
            from pycocotools.cocoeval import COCOeval
        except ImportError as error:
            raise UsageError(
                "coco_map needs pycocotools (pip install 'r329fast[metrics]')"
            ) from error
        rows = joined(states, "found")
        rows[:, 6] = np.array(self.categories, dtype=np.float64)[rows[:, 6].astype(np.int64)]
        with (
            faults_of(self.truth, "COCO annotations"),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            truth = COCO(self.truth)
            if len(rows):
                run = COCOeval(truth, truth.loadRes(rows), "bbox")
                run.params.imgIds = sorted({int(n) for state in states for n in state["images"]})
                run.evaluate()
                run.accumulate()
                run.summarize()
                stats = [float(value) for value in run.stats]
            else:
                stats = [0.0] * 12
        names = (
            *("map", "map50", "map75", "map_small", "map_medium", "map_large"),
            *("recall1", "recall10", "recall100"),
        )
        return {**dict(zip(names, stats, strict=False)), "boxes": len(rows)}


def _check_annotation(path: Path, number: int, item: Any) -> None:
    """Raise FileError for an annotation that pycocotools cannot count."""
    missing = [key for key in _NEEDED if key not in item]
    if missing:
        raise FileError(
            f"{path}: annotation {number} has no {', '.join(missing)}, allowed: annotations with "
            f"{', '.join(_NEEDED)}",
            path=str(path),
        )
    sides = item["bbox"]
    if len(sides) != 4 or not all(abs(float(side)) < _LARGEST for side in sides):
        raise FileError(
            f"{path}: annotation {number}: found the box {str(sides)[:60]}, allowed: x, y, width, "
            "height in pixels",
            path=str(path),
        )


def decode_boxes(output: np.ndarray, form: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(x, y, width, height float64 [k, 4], score [k], class int64 [k]) of one image's output.

    Raises UsageError for an output of another form.
    """
    table = output
    while table.ndim > 2 and 1 in table.shape:
        table = np.squeeze(table, axis=table.shape.index(1))
    if table.ndim != 2:
        raise UsageError(f"coco_map: found an output {list(output.shape)}, allowed two axes")
    if form == "yolov8" and table.shape[0] < table.shape[1]:
        table = table.T
    table = table.astype(np.float64)
    least = {"yolov5": 6, "yolov8": 5, "boxes": 6}[form]
    if table.shape[1] < least or (form == "boxes" and table.shape[1] != least):
        raise UsageError(
            f"coco_map: found an output {list(output.shape)}, which is not of the form {form} "
            f"(allowed: {', '.join(FORMS)}, as in coco_map:yolov5)"
        )
    if form == "boxes":
        x1, y1, x2, y2, scores, classes = table.T
        return np.stack([x1, y1, x2 - x1, y2 - y1], 1), scores, np.rint(classes).astype(np.int64)
    across, down, width, height = table.T[:4]
    shares = table[:, 5:] * table[:, 4:5] if form == "yolov5" else table[:, 4:]
    boxes = np.stack([across - width / 2, down - height / 2, width, height], axis=1)
    classes = shares.argmax(axis=1)
    return boxes, np.take_along_axis(shares, classes[:, None], 1)[:, 0], classes
