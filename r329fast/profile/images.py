"""Images for a profile: a calibration array or an image set, in batches, as often as needed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from r329fast.profile.errors import LabelledBatch

if TYPE_CHECKING:
    from r329fast.images.preprocess import Preprocess

_BATCH = 8


class ArrayImages:
    """The first `limit` images of float32 [N, H, W, C] (may be mapped), with int64 [N] labels."""

    def __init__(
        self, x: np.ndarray, labels: np.ndarray | None = None, limit: int | None = None
    ) -> None:
        self.x, self.labels = x[:limit], None if labels is None else labels[:limit]

    def __len__(self) -> int:
        return len(self.x)

    def __iter__(self) -> Iterator[LabelledBatch]:
        for first in range(0, len(self.x), _BATCH):
            part = slice(first, first + _BATCH)
            labels = None if self.labels is None else self.labels[part]
            yield LabelledBatch(np.ascontiguousarray(self.x[part]), labels)

    def first(self, count: int) -> ArrayImages:
        return ArrayImages(self.x, self.labels, min(count, len(self.x)))


class SetImages:
    """The first `limit` images of a folder, zip or tar, decoded anew on each pass."""

    def __init__(
        self,
        path: Path,
        labels: str | Path | None,
        recipe: Preprocess,
        limit: int | None = None,
    ) -> None:
        from r329fast.images.sets import ImageSet

        self.path, self.label_file, self.recipe, self.limit = path, labels, recipe, limit
        with ImageSet(path, labels, limit) as images:
            self.count = len(images)

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[LabelledBatch]:
        from r329fast.images.sets import ImageSet

        with ImageSet(self.path, self.label_file, self.limit) as images:
            for first in range(0, len(images), _BATCH):
                last = min(first + _BATCH, len(images))
                arrays = [self.recipe.apply(images.image(index)) for index in range(first, last)]
                yield LabelledBatch(np.stack(arrays), images.labels[first:last])

    def first(self, count: int) -> SetImages:
        return SetImages(self.path, self.label_file, self.recipe, min(count, self.count))


Images = ArrayImages | SetImages
