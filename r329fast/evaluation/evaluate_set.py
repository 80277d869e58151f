"""`evaluate`: a whole image set through one model or a grid of settings."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from r329fast.base.files import write_json
from r329fast.cfg import RunConfig
from r329fast.errors import DataError, UsageError
from r329fast.evaluation.chunk_log import ChunkLog, unpack
from r329fast.evaluation.engine import Engine, Job, Seconds, cores, true_classes
from r329fast.evaluation.local_run import FloatCache, bad_image, local_chunks
from r329fast.evaluation.pixel_cache import PixelCache
from r329fast.evaluation.record import Records, bad_rows, identity, open_log
from r329fast.evaluation.result import Evaluation, Timing
from r329fast.evaluation.results_file import choose_format, write_results
from r329fast.evaluation.sources import Source, open_source
from r329fast.evaluation.summary import accuracy_of, summarise
from r329fast.evaluation.variants import Model, prepare_model
from r329fast.images.opencv import cv2
from r329fast.images.preprocess import Preprocess
from r329fast.program.program import Program

Progress = Callable[[int, int], None]
Finished = Iterator[tuple[int, bytes]]


def evaluate(
    model: str | Path | RunConfig | Program | Model,
    images: str | Path,
    labels: str | Path | None = None,
    *,
    preprocess: Preprocess | None = None,
    schemes: Sequence[str] = (),
    roundings: Sequence[str] = (),
    methods: Sequence[str] = (),
    per_channel: Sequence[bool] = (),
    float_baseline: bool = False,
    float_model: str | Path | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    cache: str | Path | None = None,
    threads: int | None = None,
    backend: str = "numba",
    skip_bad: bool = False,
    logits: bool = False,
    limit: int | None = None,
    chunk: int | None = None,
    label_offset: int | None = None,
    class_folders: Mapping[str, int] | None = None,
    file_format: str | None = None,
    scheduler: str | None = None,
    ship_images: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Accuracy of a cfg or `.r329` program on a labelled image set.

    model: a path, or what such a path leads to. images, labels: see `open_source`. preprocess:
    the article's recipe at the network's size where absent. schemes, roundings, methods,
    per_channel: a grid over the same decoded pixels (a cfg only). float_baseline: run the float
    network too; float_model: its ONNX file, where `model` is a program. out: folder for
    `chunks.log`, `results.*` and `run.json`; resume goes on with what is there. cache: folder for
    decoded pixels and float results. threads: all cores where absent. skip_bad: go on without
    images that cannot be read. chunk: images between two checkpoints, None lets their size
    decide. label_offset: added to every label; the cfg's where absent.
    class_folders: class number by folder, for trees without a label file. scheduler: address of
    a Dask scheduler; ship_images: send the bytes of the files to its workers. progress(done,
    total) counts images.

    Raises the typed errors of `r329fast.errors`: UsageError for arguments that do not go together
    and a resume that does not fit, DataError for labels out of range and unusable images.
    """
    begun = time.perf_counter()
    worker_threads, threads = threads or 0, threads or cores()
    if not isinstance(model, Model):
        model = prepare_model(
            model, schemes=schemes, roundings=roundings, methods=methods,
            per_channel=per_channel, float_model=float_model, threads=threads,
        )  # fmt: skip
    elif schemes or roundings or methods or per_channel or float_model:
        raise UsageError("this model is prepared: its settings are those of prepare_model")
    if float_baseline and model.graph is None:
        raise UsageError("no float network: a .r329 program holds none, give its ONNX file too")
    if resume and out is None:
        raise UsageError("resume needs the folder of the run that it goes on with")
    if scheduler and cache is not None:
        raise UsageError("the cache is for one machine: leave it out with a scheduler")
    source = open_source(
        images, labels, preprocess or fitting_recipe(model), limit=limit,
        class_folders=class_folders,
    )  # fmt: skip
    job = Job(
        tuple(item.program for item in model.variants),
        source.reader,
        source.recipe,
        model.reverse and source.recipe is not None,
        model.graph if float_baseline else None,
        logits,
        backend,
        chunk,
    )
    offset = model.label_offset if label_offset is None else label_offset
    program = model.variants[0].program
    outputs = program.tensors[program.outputs[0]].elements
    classes = true_classes(source.labels, offset, outputs, source.names)
    kind, word = choose_format(file_format) if out is not None else ("", "")
    with ExitStack() as stack:
        folder = Path(out or stack.enter_context(tempfile.TemporaryDirectory(prefix="r329fast")))
        header = identity(model, job, source, classes, job.chunk_images())
        log = stack.enter_context(open_log(folder, header, resume, overwrite))
        seconds = time.perf_counter() - begun + model.seconds
        timing = Timing(prepare=seconds, threads=threads)
        run = _Run(model, job, source, classes, log, skip_bad, threads, timing, progress)
        if scheduler:
            run.on_cluster(scheduler, ship_images, worker_threads)
        else:
            run.here(Path(cache) if cache is not None else None)
        result = run.result(offset)
        result.warnings += [*model.warnings, *([word] if word else [])]
        if out is not None:
            _write(result, run, folder, kind, header, _places(images, labels))
    return result


def fitting_recipe(model: Model) -> Preprocess:
    """The article's recipe at the size that the network takes."""
    program = model.variants[0].program
    shape = program.tensors[program.inputs[0]].shape
    return Preprocess().with_size(shape[1], shape[0]) if len(shape) == 3 else Preprocess()


class _Run:
    """One evaluation between its opened log and its result."""

    def __init__(
        self,
        model: Model,
        job: Job,
        source: Source,
        classes: np.ndarray,
        log: ChunkLog,
        skip_bad: bool,
        threads: int,
        timing: Timing,
        progress: Progress | None,
    ) -> None:
        self.model, self.job, self.source, self.classes = model, job, source, classes
        self.log, self.skip_bad, self.threads, self.timing = log, skip_bad, threads, timing
        self.progress, self.size = progress, job.chunk_images()
        chunks = range(-(-len(source) // self.size))
        self.todo = [number for number in chunks if number not in set(log.done)]
        self.finished = sum(self._length(number) for number in log.done)

    def _length(self, number: int) -> int:
        return min(self.size, len(self.source) - number * self.size)

    def here(self, cache: Path | None) -> None:
        """Do what is left on this machine."""
        with ExitStack() as stack:
            engine = Engine(self.job, self.threads)
            stack.callback(engine.close)
            pixels = floats = None
            if cache is not None and self.source.recipe is not None:
                pixels = PixelCache(cache, self.source, self.size)
                stack.callback(pixels.close)
            if cache is not None and self.job.float_graph is not None:
                floats = FloatCache(cache, self.model, self.source, self.classes, self.size)
                stack.callback(floats.close)
            start = time.perf_counter()
            if self.todo:
                engine.warm_up()
            self.timing.warm_up = time.perf_counter() - start
            seconds, waits = Seconds(), list[float]()
            self._consume(
                local_chunks(
                    engine, self.source, self.classes, self.todo, pixels, floats, self.skip_bad,
                    seconds, waits,
                )
            )  # fmt: skip
            self.timing.wait = sum(waits)
            self.timing.add(seconds)
            self.timing.cached_chunks = pixels.hits if pixels is not None else 0

    def on_cluster(self, address: str, ship: bool, threads: int) -> None:
        """Do what is left on the workers of a Dask scheduler."""
        from r329fast.evaluation.cluster import cluster_chunks

        seconds = Seconds()
        self._consume(
            self._checked(
                cluster_chunks(
                    address, self.job, self.source, self.classes, self.todo, ship, threads,
                    seconds, self.timing,
                )
            )
        )  # fmt: skip
        self.timing.seconds -= self.timing.warm_up  # connecting, and compiling on the workers
        self.timing.add(seconds)

    def _checked(self, finished: Finished) -> Finished:
        """The same, up to an image that a worker could not use and nobody allowed to skip."""
        for number, payload in finished:
            if not self.skip_bad:
                for row, why in bad_rows(unpack(payload)).items():
                    raise bad_image(self.source, number * self.size + row, why)
            yield number, payload

    def _consume(self, finished: Finished) -> None:
        """Write chunks down as they come."""
        start = time.perf_counter()
        total = len(self.source)
        if self.progress:
            self.progress(self.finished, total)
        for number, payload in finished:
            self.log.append(number, payload)
            self.finished += self._length(number)
            self.timing.images += self._length(number)
            self.timing.sample_memory(self.finished)
            if self.progress:
                self.progress(self.finished, total)
        self.timing.seconds = time.perf_counter() - start

    def result(self, offset: int) -> Evaluation:
        """Figures from the complete log."""
        records = Records(self.log, len(self.model.variants), len(self.source), self.size)
        for image, why in sorted(records.bad.items()):
            if not self.skip_bad:
                raise bad_image(self.source, image, why)
        if len(records.bad) == len(self.source):
            raise DataError(
                f"none of the {len(self.source)} images in {self.source.path} is usable"
            )
        variants = [
            summarise(item.name, _settings(item), scores, records.floats, self.classes)
            for item, scores in zip(self.model.variants, records.scores, strict=True)
        ]
        floats = accuracy_of(records.floats["rank"]) if records.floats is not None else None
        skipped = [(self.source.names[i], why) for i, why in sorted(records.bad.items())]
        return Evaluation(
            variants=variants,
            float_accuracy=floats,
            skipped=skipped,
            timing=self.timing,
            names=self.source.names,
            classes=self.classes,
            scores=records.scores,
            recipe=self.source.recipe,
            label_offset=offset,
        )


def _settings(variant: object) -> dict[str, object]:
    fields = ("scheme", "rounding", "method", "per_channel")
    return {name: getattr(variant, name) for name in fields}


def _places(images: str | Path, labels: str | Path | None) -> dict[str, str | None]:
    """Where the images and labels came from, so that a report can show pictures later."""
    on_disk = labels is not None and Path(labels).exists()
    return {
        "image_set": str(Path(images).absolute()),
        "label_file": str(Path(labels).absolute() if labels and on_disk else labels or "") or None,
    }


def _write(
    result: Evaluation,
    run: _Run,
    folder: Path,
    kind: str,
    header: dict[str, object],
    places: dict[str, str | None],
) -> None:
    """Result files, then run.json, which says that they are complete."""
    several = len(run.model.variants) > 1
    for index, item in enumerate(run.model.variants):
        stem = f"results-{item.name.replace(' ', '-')}" if several else "results"
        path = folder / f"{stem}.{kind}"
        write_results(path, run.log, index, run.size, run.source.names, run.classes)
        result.files.append(path)
    import onnxruntime

    record = {
        **result.as_json(),
        "identity": header,
        **places,
        "versions": {
            "opencv": cv2.__version__,
            "numpy": np.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
        "memory_mb": run.timing.memory,
    }
    result.files.append(write_json(folder / "run.json", record))
