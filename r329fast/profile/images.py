"""Images for a profile: a calibration array or an image set, in batches, as often as needed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from r329fast.profile.errors import LabelledBatch

if TYPE_CHECKING:
    from r329fast.images.class_folders import Naming
    from r329fast.images.preprocess import Preprocess
    from r329fast.images.sets import ImageSet

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
    """The first `limit` images of a folder, zip or tar, decoded anew on each pass.

    spread: as many, evenly spaced. Labels are left out where `naming` does not need them.
    """

    def __init__(
        self,
        path: Path,
        labels: str | Path | None,
        recipe: Preprocess,
        limit: int | None = None,
        naming: Naming | None = None,
        spread: bool = False,
    ) -> None:
        self.path, self.label_file, self.recipe, self.limit = path, labels, recipe, limit
        self.naming, self.spread = naming, spread
        with self._open() as images:
            self.count, self.note = len(images), images.note

    def _open(self) -> ImageSet:
        from r329fast.images.sets import ImageSet

        return ImageSet(self.path, self.label_file, self.limit, self.naming, self.spread)

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[LabelledBatch]:
        labelled = self.naming is None or self.naming.needed
        with self._open() as images:
            for first in range(0, len(images), _BATCH):
                last = min(first + _BATCH, len(images))
                arrays = [self.recipe.apply(images.image(index)) for index in range(first, last)]
                yield LabelledBatch(
                    np.stack(arrays), images.labels[first:last] if labelled else None
                )

    def first(self, count: int) -> SetImages:
        few = min(count, self.count)
        return SetImages(self.path, self.label_file, self.recipe, few, self.naming, self.spread)


Images = ArrayImages | SetImages
