"""Counts of (true, found) pairs: accuracy per class, and mean IoU of segmentation maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from r329fast.base.limits import IMAGE, PIXELS
from r329fast.base.reading import faults_of, is_folder, read_bytes
from r329fast.errors import DataError, FileError, UsageError
from r329fast.evaluation.metrics.metric import Metric, Outputs, State, only
from r329fast.images.declared_size import declared_pixels
from r329fast.images.opencv import cv2

_MOST_CLASSES = 4096  # a matrix of them is 134 MB
_BLOCK = 1 << 20  # pairs counted at once
_IGNORED = 255  # in masks: counts nowhere


def count_pairs(true: np.ndarray, found: np.ndarray) -> State:
    """pairs: int64 [k, 3] of true class, found class and how often, sorted; classes from 0."""
    true, found = true.reshape(-1), found.reshape(-1)
    keys, counts = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for first in range(0, len(true), _BLOCK):  # so that a large mask takes no memory of its own
        part = slice(first, first + _BLOCK)
        both = true[part].astype(np.int64) << 32 | found[part].astype(np.int64)
        some, often = np.unique(both, return_counts=True)
        keys.append(some)
        counts.append(often)
    every, places = np.unique(np.concatenate(keys), return_inverse=True)
    total = np.zeros(len(every), dtype=np.int64)
    np.add.at(total, places, np.concatenate(counts))
    return {"pairs": np.stack([every >> 32, every & 0xFFFFFFFF, total], axis=1)}


def confusion_of(states: Sequence[State], least: int = 0) -> np.ndarray:
    """The matrix int64 [classes, classes], rows true; `least` classes at least."""
    pairs = np.concatenate([state["pairs"] for state in states])
    if len(pairs) and not 0 <= pairs[:, :2].min() <= pairs[:, :2].max() < max(least, _MOST_CLASSES):
        raise ValueError(f"found class numbers below 0 or above {max(least, _MOST_CLASSES) - 1}")
    size = max(least, int(pairs[:, :2].max()) + 1 if len(pairs) else 0)
    matrix = np.zeros((size, size), dtype=np.int64)
    np.add.at(matrix, (pairs[:, 0], pairs[:, 1]), pairs[:, 2])
    return matrix


class PerClass(Metric):
    """Accuracy of every class and the confusion matrix, from the labels of the set."""

    name, headline = "per_class", "mean_class_accuracy"

    def measure(self, outputs: Outputs, targets: Sequence[Any]) -> State:
        logits = only(outputs, self.name)
        count = len(logits)
        found = logits.reshape(count, -1).argmax(axis=1) if count else np.zeros(0, dtype=np.int64)
        state = count_pairs(np.asarray(targets), found)
        return {**state, "classes": np.array(logits[0].size if count else 0)}

    def merge(self, states: Sequence[State]) -> dict[str, Any]:
        matrix = confusion_of(states, max(int(state["classes"]) for state in states))
        images = matrix.sum(axis=1)
        there = images > 0
        accuracy = np.divide(np.diag(matrix), images, out=np.zeros(len(images)), where=there)
        rows, columns = np.nonzero(matrix)
        return {
            "mean_class_accuracy": float(accuracy[there].mean()) if there.any() else 0.0,
            "classes": [
                {"class": int(number), "images": int(images[number]), "accuracy": float(share)}
                for number, share in enumerate(accuracy)
                if there[number]
            ],
            "confusion": [
                [int(row), int(column), int(matrix[row, column])]
                for row, column in zip(rows, columns, strict=True)
            ],
        }


class MeanIoU(Metric):
    """Intersection over union of segmentation maps, against masks of class numbers.

    The output is [height, width, classes] (scores) or [height, width] (class numbers). Scores are
    resized to the mask (bilinear) before the best class is taken, class numbers by the nearest; a
    mask's value 255 counts nowhere. Classes that neither side has are left out of the mean.
    """

    name, headline, own_targets = "miou", "mean_iou", True

    def load(self, path: Path, names: Sequence[str], size: tuple[int, int]) -> list[Any]:
        """path: a folder of PNG masks, named as the images (the last part, without its ending)."""
        if not is_folder(path):
            raise FileError(f"{path}: found no folder of masks", path=str(path))
        files = {file.stem: file for file in sorted(path.rglob("*")) if file.suffix == ".png"}
        return [files.get(PurePosixPath(name).stem) for name in names]

    def measure(self, outputs: Outputs, targets: Sequence[Any]) -> State:
        maps = only(outputs, self.name)
        if maps.ndim == 4 and maps.shape[3] == 1:
            maps = maps[..., 0]
        if maps.ndim not in (3, 4):
            found = list(maps.shape[1:])
            raise UsageError(
                f"miou needs an output [height, width, classes] or [height, width], found {found}"
            )
        states = [self._counted(one, mask) for one, mask in zip(maps, targets, strict=True)]
        return {"pairs": np.concatenate([np.zeros((0, 3), np.int64), *states])}

    def _counted(self, found: np.ndarray, path: Path) -> np.ndarray:
        """The pairs of one map."""
        mask = read_mask(path)
        classes = _classes_of(found, mask.shape)
        counted = mask != _IGNORED
        numbers = classes[counted]
        if len(numbers) and not 0 <= numbers.min() <= numbers.max() < _MOST_CLASSES:
            raise UsageError(
                f"miou: found {numbers.min():g} to {numbers.max():g} in the output, allowed class "
                f"numbers from 0 to {_MOST_CLASSES - 1}"
            )
        return count_pairs(mask[counted], numbers)["pairs"]

    def merge(self, states: Sequence[State]) -> dict[str, Any]:
        matrix = confusion_of(states)
        both, total = np.diag(matrix), matrix.sum()
        either = matrix.sum(axis=0) + matrix.sum(axis=1) - both
        there = either > 0
        iou = np.divide(both, either, out=np.zeros(len(both)), where=there)
        return {
            "mean_iou": float(iou[there].mean()) if there.any() else 0.0,
            "pixel_accuracy": float(both.sum() / total) if total else 0.0,
            "iou": {int(number): float(iou[number]) for number in np.flatnonzero(there)},
        }


def _classes_of(found: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The classes of a map [height, width(, classes)] at the size of its mask, [height, width]."""
    height, width = shape
    if found.ndim == 2:
        numbers = np.ascontiguousarray(found.astype(np.float32))
        return np.rint(cv2.resize(numbers, (width, height), interpolation=cv2.INTER_NEAREST))
    best = np.full(shape, -np.inf, dtype=np.float32)
    classes = np.zeros(shape, dtype=np.int16 if found.shape[2] < 1 << 15 else np.int32)
    for channel in range(found.shape[2]):  # plane by plane: a mask may be large
        plane = cv2.resize(np.ascontiguousarray(found[..., channel]), (width, height))
        better = plane > best  # the first of equals
        np.copyto(best, plane, where=better)
        classes[better] = channel
    return classes


def read_mask(path: Path) -> np.ndarray:
    """Class numbers of a mask: uint8 [height, width]; palettes give their indices (by Pillow).

    Raises DataError for another form.
    """
    data = read_bytes(path, IMAGE)
    if declared_pixels(data) > PIXELS.get() * 1_000_000:
        raise DataError(f"{path}: too many pixels, {PIXELS.advice()}", limit=PIXELS.variable)
    if data[25:26] == b"\x03":  # a PNG with a palette: OpenCV gives its colours
        try:
            import io

            from PIL import Image
        except ImportError as error:
            raise UsageError(
                f"{path}: a mask with a palette needs Pillow (pip install 'r329fast[metrics]')"
            ) from error
        with faults_of(path, "a whole PNG"):
            return np.array(Image.open(io.BytesIO(data), formats=("PNG",)), dtype=np.uint8)
    try:
        mask = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    except cv2.error:
        mask = None
    if mask is None or mask.ndim != 2 or mask.dtype != np.uint8:
        raise DataError(f"{path}: found no mask, allowed a PNG of one channel with class numbers")
    return np.asarray(mask)
