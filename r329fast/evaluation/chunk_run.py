"""One evaluation between its opened log and its result: chunks done here or on a cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from r329fast.base.reading import faults_of
from r329fast.errors import DataError
from r329fast.evaluation.chunk_log import ChunkLog, unpack
from r329fast.evaluation.evaluator import Evaluator
from r329fast.evaluation.job import ChunkPlan
from r329fast.evaluation.local_run import FloatCache, local_chunks
from r329fast.evaluation.options import EvaluationOptions
from r329fast.evaluation.pixel_cache import PixelCache
from r329fast.evaluation.record import Records, bad_rows
from r329fast.evaluation.result import Evaluation, Timing
from r329fast.evaluation.summary import accuracy_of, summarise
from r329fast.evaluation.variants import Model

Finished = Iterator[tuple[int, bytes]]


class ChunkRun:
    """Does the chunks that the log lacks, and makes the figures from the complete log.

    only: which chunks are this run's.
    """

    def __init__(
        self,
        model: Model,
        plan: ChunkPlan,
        log: ChunkLog,
        options: EvaluationOptions,
        timing: Timing,
        only: Callable[[int], bool] = lambda number: True,
    ) -> None:
        self.model, self.plan, self.log, self.timing = model, plan, log, timing
        self.execution, self.skip_bad = options.execution, options.selection.skip_bad
        done = set(log.done)
        own = [number for number in range(plan.chunks) if only(number)]
        self.todo = [number for number in own if number not in done]
        self.total = sum(map(plan.length, own))
        self.finished = self.total - sum(map(plan.length, self.todo))

    def carry_out(self, threads: int) -> None:
        """Do what is left: on a cluster where one is named, else here."""
        if self.execution.on_cluster:
            self.on_cluster()
        else:
            self.here(threads)

    def here(self, threads: int) -> None:
        """Do what is left on this machine."""
        plan, cache = self.plan, self.execution.cache
        with ExitStack() as stack:
            evaluator = Evaluator(plan.job, threads)
            stack.callback(evaluator.close)
            pixels = floats = None
            if cache is not None and plan.source.recipe is not None:
                pixels = PixelCache(Path(cache), plan.source, plan.size)
                stack.callback(pixels.close)
            # what is kept of the float network is its ranks, not what a metric sees
            if cache is not None and plan.job.float_graph is not None and plan.job.metric is None:
                floats = FloatCache(Path(cache), self.model, plan)
                stack.callback(floats.close)
            start = time.perf_counter()
            if self.todo:
                evaluator.warm_up()
            self.timing.warm_up = time.perf_counter() - start
            finished = local_chunks(
                evaluator, plan, self.todo, pixels, floats, self.skip_bad, self.timing
            )
            self._consume(finished)
            self.timing.cached_chunks = pixels.hits if pixels is not None else 0

    def on_cluster(self) -> None:
        """Do what is left on the workers of a Dask scheduler."""
        from r329fast.evaluation.cluster import cluster_chunks

        finished = cluster_chunks(self.plan, self.todo, self.execution, self.timing)
        self._consume(self._checked(finished))
        self.timing.seconds -= self.timing.warm_up  # connecting, and compiling on the workers

    def _checked(self, finished: Finished) -> Finished:
        """The same, up to an image that a worker could not use and nobody allowed to skip."""
        for number, payload in finished:
            if not self.skip_bad:
                for row, why in bad_rows(unpack(payload)).items():
                    raise self.plan.unusable(self.plan.rows(number).start + row, why)
            yield number, payload

    def _consume(self, finished: Finished) -> None:
        """Write chunks down as they come."""
        start = time.perf_counter()
        total, progress = self.total, self.execution.progress
        if progress:
            progress(self.finished, total)
        for number, payload in finished:
            self.log.append(number, payload)
            self.finished += self.plan.length(number)
            self.timing.images += self.plan.length(number)
            self.timing.sample_memory(self.finished)
            if progress:
                progress(self.finished, total)
        self.timing.seconds = time.perf_counter() - start

    def records(self) -> Records:
        """The complete log. Raises DataError for images that must not be skipped."""
        source = self.plan.source
        records = Records(self.log, len(self.model.variants), self.plan)
        for image, why in sorted(records.bad.items()):
            if not self.skip_bad:
                raise self.plan.unusable(image, why)
        if len(records.bad) == len(source):
            raise DataError(f"none of the {len(source)} images in {source.path} is usable")
        return records

    def measured(self, records: Records) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
        """Figures of the job's metric: of every setting, and of the float network."""
        metric = self.plan.job.metric
        if metric is None:
            return [], None
        advice = "; --overwrite begins anew"
        with faults_of(self.log.path, f"a record that metric {metric.name} can count", advice):
            floats = metric.merge(records.float_states) if records.float_states else None
            return [metric.merge(states) for states in records.states], floats

    def result(self, offset: int) -> Evaluation:
        """Figures from the complete log. Raises DataError for images that must not be skipped."""
        source, classes = self.plan.source, self.plan.classes
        records = self.records()
        metrics, float_metric = self.measured(records)
        variants = [
            summarise(item.name, item.settings(), scores, records.floats, classes)
            for item, scores in zip(self.model.variants, records.scores, strict=True)
        ]
        floats = accuracy_of(records.floats["rank"]) if records.floats is not None else None
        return Evaluation(
            variants=variants,
            float_accuracy=floats,
            skipped=[(source.names[i], why) for i, why in sorted(records.bad.items())],
            timing=self.timing,
            names=source.names,
            classes=classes,
            scores=records.scores,
            recipe=source.recipe,
            label_offset=offset,
            metric=self.plan.job.metric.name if self.plan.job.metric is not None else "",
            metrics=metrics,
            float_metric=float_metric,
        )
