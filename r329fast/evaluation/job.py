"""What is to be done: programs on labelled images, cut into chunks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from r329fast.errors import DataError
from r329fast.evaluation.decode_ahead import chunk_size
from r329fast.evaluation.metrics.metric import Metric
from r329fast.evaluation.sources import Key, Reader, Source
from r329fast.graph.ir import Graph
from r329fast.images.preprocess import Preprocess
from r329fast.program.program import Program


@dataclass(frozen=True)
class Job:
    """All that is needed to evaluate a chunk anywhere; plain data that goes to other machines.

    float_graph: None without a baseline. logits: keep the integers of every class. chunk: images
    of a chunk, None lets their size decide. metric: what is measured of the outputs too, or alone
    where it has targets of its own.
    """

    programs: tuple[Program, ...]
    reader: Reader
    recipe: Preprocess | None
    reverse: bool = False
    float_graph: Graph | None = None
    logits: bool = False
    backend: str = "numba"
    chunk: int | None = None
    metric: Metric | None = None

    @property
    def scored(self) -> bool:
        """Whether the only output is one of classes, which are ranked and counted."""
        return self.metric is None or not self.metric.own_targets

    def chunk_images(self) -> int:
        """Images of a chunk."""
        if self.chunk is not None:
            return self.chunk
        item = int(np.prod(self.reader.shape)) * np.dtype(self.reader.dtype).itemsize
        return chunk_size(item)


@dataclass(frozen=True)
class ChunkPlan:
    """A job on a labelled set, chunk by chunk; `classes` are the true ones, int64 [N].

    targets: of a metric that has its own, one per image.
    """

    job: Job
    source: Source
    classes: np.ndarray
    targets: Sequence[Any] = ()

    @property
    def size(self) -> int:
        """Images of a whole chunk."""
        return self.job.chunk_images()

    @property
    def chunks(self) -> int:
        """Number of chunks; the last one may be short."""
        return -(-len(self.source) // self.size)

    def rows(self, number: int) -> slice:
        """The images of a chunk."""
        return slice(number * self.size, min((number + 1) * self.size, len(self.source)))

    def length(self, number: int) -> int:
        rows = self.rows(number)
        return int(rows.stop - rows.start)

    def keys(self, number: int) -> Sequence[Key]:
        return self.source.keys[self.rows(number)]

    def targets_of(self, number: int) -> Sequence[Any]:
        """The targets of a chunk; the classes serve where the metric has none of its own."""
        if self.job.metric is None:
            return ()
        rows = self.rows(number)
        return self.classes[rows].tolist() if self.job.scored else self.targets[rows]

    def unusable(self, image: int, why: str) -> DataError:
        """The error that ends a run without --skip-bad."""
        return DataError(
            f"cannot use image {self.source.names[image]} in {self.source.path}: {why} "
            "(--skip-bad goes on without such images)",
            image=self.source.names[image],
        )


def true_classes(
    labels: np.ndarray, offset: int, classes: int, names: tuple[str, ...]
) -> np.ndarray:
    """Labels as class numbers of the network, int64 [N]; raises DataError out of range."""
    found = labels + offset
    wrong = np.flatnonzero((found < 0) | (found >= classes))
    if len(wrong):
        first = int(wrong[0])
        shift = f" (with label_id_offset {offset})" if offset else ""
        raise DataError(
            f"label {int(labels[first])} of {names[first]!r}{shift}: the network has classes 0 to "
            f"{classes - 1}; {len(wrong)} of {len(labels)} labels are out of range",
            image=names[first],
        )
    return np.asarray(found, dtype=np.int64)
