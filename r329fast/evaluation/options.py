"""The options of `evaluate`, by subject; every field is a keyword of the call too."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from r329fast.base.arguments import Progress, at_least_one
from r329fast.errors import UsageError
from r329fast.evaluation.metrics.metric import Metric
from r329fast.images.preprocess import Preprocess


@dataclass(frozen=True)
class Grid:
    """Settings to compare on the same decoded pixels: a program for every combination.

    What is empty is left to the cfg. A method counts for the scheme that knows it.
    """

    schemes: Sequence[str] = ()
    roundings: Sequence[str] = ()
    methods: Sequence[str] = ()
    per_channel: Sequence[bool] = ()

    @property
    def given(self) -> bool:
        """Whether anything is asked for."""
        return any(len(getattr(self, field.name)) for field in fields(self))


@dataclass(frozen=True)
class Selection:
    """Which images count, and how they become pixels.

    preprocess: where absent, the recipe of the calibration set, or else the tutorial's at the
    network's size. limit: the first images only, or with `spread` as many from the whole set.
    label_offset: added to every label; the cfg's where absent. class_folders: class number
    by folder, for trees without a label file. split: the part of such a tree to use where it has
    parts, "train", "val" (or else test) or "test". skip_bad: go on without images that cannot be
    read.
    """

    preprocess: Preprocess | None = None
    limit: int | None = None
    spread: bool = False
    label_offset: int | None = None
    class_folders: Mapping[str, int] | None = None
    split: str = "val"
    skip_bad: bool = False

    def __post_init__(self) -> None:
        at_least_one(limit=self.limit)


@dataclass(frozen=True)
class RecordOptions:
    """What is kept on disk.

    out: folder for `chunks.log`, `results.*` and `run.json`; resume goes on with what is there,
    overwrite begins anew. file_format: "parquet" or "csv", by default parquet where pyarrow is
    installed. logits: keep the integers of every class. chunk: images between two checkpoints,
    None lets their size decide. merge: folders of shards (`evaluate_shard`) whose chunks to take
    instead of computing any.
    """

    out: str | Path | None = None
    resume: bool = False
    overwrite: bool = False
    file_format: str | None = None
    logits: bool = False
    chunk: int | None = None
    merge: Sequence[str | Path] = ()

    def __post_init__(self) -> None:
        at_least_one(chunk=self.chunk)
        if self.merge and self.resume:
            raise UsageError("merge and resume exclude each other: merging begins anew")
        if self.resume and self.out is None:
            raise UsageError("resume needs the folder of the run that it goes on with")
        if self.resume and self.overwrite:
            raise UsageError("resume and overwrite exclude each other")


@dataclass(frozen=True)
class Execution:
    """How it runs; none of it changes a result.

    threads: all cores where absent. backend: "numba" or "reference". cache: folder for decoded
    pixels and float results. scheduler: address of a Dask scheduler, scheduler_file: the file that
    it wrote (`dask scheduler --scheduler-file`), client: a Dask client that is connected already
    and stays open; one of them at most. ship_images: send the bytes of the files to its workers.
    progress(done, total) counts images.
    """

    threads: int | None = None
    backend: str = "numba"
    cache: str | Path | None = None
    scheduler: str | None = None
    scheduler_file: str | Path | None = None
    client: Any = None
    ship_images: bool = False
    progress: Progress | None = None

    def __post_init__(self) -> None:
        at_least_one(threads=self.threads)
        named = (self.scheduler, self.scheduler_file, self.client)
        if sum(item is not None for item in named) > 1:
            raise UsageError("scheduler, scheduler_file and client exclude each other")
        if self.on_cluster and self.cache is not None:
            raise UsageError("the cache is for one machine: leave it out with a scheduler")

    @property
    def on_cluster(self) -> bool:
        """Whether the chunks go to the workers of a scheduler."""
        return bool(self.scheduler or self.scheduler_file or self.client is not None)


@dataclass(frozen=True)
class EvaluationOptions:
    """All of them. float_baseline: run the float network too; float_model: its ONNX file, needed
    where a program is evaluated. metric: what is measured beside top-k, see `choose_metric`;
    targets: the file or folder of a metric that has its own.
    """

    grid: Grid = Grid()
    selection: Selection = Selection()
    record: RecordOptions = RecordOptions()
    execution: Execution = Execution()
    float_baseline: bool = False
    float_model: str | Path | None = None
    metric: Metric | Callable[..., Any] | str | None = None
    targets: str | Path | None = None
