"""`evaluate`: a whole image set through one model or a grid of settings."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from r329fast.base.arguments import with_arguments
from r329fast.base.files import write_json
from r329fast.base.machine import cores
from r329fast.base.reading import is_there
from r329fast.cfg import RunConfig
from r329fast.deploy.recipe import chosen_recipe, saturation_warning
from r329fast.errors import DataError, UsageError
from r329fast.evaluation.chunk_run import ChunkRun
from r329fast.evaluation.encode import check_input
from r329fast.evaluation.files import earlier_results, results_stem
from r329fast.evaluation.job import ChunkPlan, Job, true_classes
from r329fast.evaluation.metrics import Metric, choose_metric
from r329fast.evaluation.options import EvaluationOptions
from r329fast.evaluation.record import identity, open_log
from r329fast.evaluation.result import Evaluation, Timing
from r329fast.evaluation.results_file import choose_format, write_results
from r329fast.evaluation.several import open_several
from r329fast.evaluation.shards import merge_shards
from r329fast.evaluation.sources import Source, open_source
from r329fast.evaluation.variants import Model, prepare_model
from r329fast.images.class_folders import Naming
from r329fast.images.opencv import cv2
from r329fast.images.sequences import is_sequence
from r329fast.program.program import Program

ModelLike = str | Path | RunConfig | Program | Model


def evaluate(
    model: ModelLike,
    images: str | Path | Any,
    labels: str | Path | None = None,
    options: EvaluationOptions | None = None,
    **changes: Any,
) -> Evaluation:
    """Accuracy of a cfg or `.r329` program on a labelled image set.

    model: a path, or what such a path leads to. images: the path of a set, or a sequence or
    iterable of (image, label), as `Sequences` has them; images, labels: see `open_source`. options:
    see `EvaluationOptions`; what its parts (`Grid`, `Selection`, `RecordOptions`, `Execution`) hold
    is a keyword here too: `evaluate("run.cfg", "val.zip", float_baseline=True, threads=2)`.
    Keywords: schemes, roundings, methods, per_channel; preprocess, limit, spread, label_offset,
    class_folders, split, skip_bad; out, resume, overwrite, file_format, logits, chunk, merge;
    threads, backend, cache, scheduler, scheduler_file, client, ship_images, progress;
    float_baseline, float_model, metric, targets.

    Raises the typed errors of `r329fast.errors`: UsageError for unknown keywords, arguments that
    do not go together and a resume that does not fit, DataError for labels out of range and
    unusable images.
    """
    begun = time.perf_counter()
    options = with_arguments(options or EvaluationOptions(), changes, "evaluate", ("labels",))
    threads = options.execution.threads or cores()
    model = prepared_model(model, options, threads)
    plan, offset, doubts = plan_of(model, images, labels, options)
    if not plan.job.scored:
        raise UsageError("this metric has targets of its own: r329fast.measure takes it")
    record = options.record
    kind, warning = choose_format(record.file_format) if record.out is not None else ("", "")
    with ExitStack() as stack:
        folder, header, run = carried_out(stack, model, plan, options, begun)
        result = run.result(offset)
        result.warnings += [*model.warnings, *doubts, *([warning] if warning else [])]
        result.warnings += _saturation(result, plan)
        if record.out is not None:
            _write_rows(result, run, folder, kind)
            _write_record(result, folder, header, _places(images, labels))
    return result


def carried_out(
    stack: ExitStack, model: Model, plan: ChunkPlan, options: EvaluationOptions, begun: float
) -> tuple[Path, dict[str, Any], ChunkRun]:
    """(folder, description, finished run) of a plan; `stack` closes the log and a folder of ours.

    begun: time.perf_counter() when the call began.
    """
    record, threads = options.record, options.execution.threads or cores()
    kept = record.out or stack.enter_context(tempfile.TemporaryDirectory(prefix="r329fast"))
    folder, header = Path(kept), identity(model, plan)
    log = stack.enter_context(open_log(folder, header, record.resume, record.overwrite))
    if record.merge:
        merge_shards(log, record.merge, plan)
    seconds = time.perf_counter() - begun + model.seconds
    run = ChunkRun(model, plan, log, options, Timing(prepare=seconds, threads=threads))
    run.carry_out(threads)
    return folder, header, run


def prepared_model(model: ModelLike, options: EvaluationOptions, threads: int) -> Model:
    """The programs to run; UsageError where options do not go with them."""
    if not isinstance(model, Model):
        model = prepare_model(model, options.grid, float_model=options.float_model, threads=threads)
    elif options.grid.given or options.float_model:
        raise UsageError("this model is prepared: its settings are those of prepare_model")
    if options.float_baseline and model.graph is None:
        raise UsageError(
            "no float network: a program holds none, give its ONNX file too (--float-model, in "
            "Python float_model=)"
        )
    return model


def plan_of(
    model: Model, images: str | Path | Any, labels: str | Path | None, options: EvaluationOptions
) -> tuple[ChunkPlan, int, list[str]]:
    """(what is to be done, what was added to the labels, warnings about recipe and set)."""
    selection, record = options.selection, options.record
    program = model.variants[0].program
    recipe, doubts = chosen_recipe(model.known, selection.preprocess, program)
    metric = choose_metric(options.metric) if options.metric is not None else None
    own = metric is not None and metric.own_targets
    offset = model.label_offset if selection.label_offset is None else selection.label_offset
    outputs = program.tensors[program.outputs[0]].elements
    naming = Naming(selection.class_folders, outputs, offset, selection.split, not own)
    if len(program.inputs) > 1:
        words = dict(model.graph.onnx_names) if model.graph is not None else {}
        source = open_several(str(images), labels, program, words, selection.limit)
    else:
        source = open_source(
            images, labels, recipe, limit=selection.limit, naming=naming, spread=selection.spread
        )
    if source.held and (options.execution.cache is not None or record.resume):
        raise UsageError(
            "images in memory cannot be known again by a later run: leave cache and resume out, or "
            "give the path of the set"
        )
    if source.recipe is None:
        doubts = []
    doubts += [source.note] if source.note else []
    doubts += model.float_warnings if options.float_baseline else []
    job = Job(
        tuple(item.program for item in model.variants),
        source.reader,
        source.recipe,
        reverse=model.reverse and source.recipe is not None,
        float_graph=model.graph if options.float_baseline else None,
        logits=record.logits,
        backend=options.execution.backend,
        chunk=record.chunk,
        metric=metric,
    )
    for item in model.variants:
        check_input(source.reader.shape, item.program, job.scored)
    if metric is not None and own:
        targets = own_targets(metric, options.targets, source)
        return ChunkPlan(job, source, np.zeros(len(source), np.int64), targets), 0, doubts
    if options.targets is not None:
        raise UsageError(
            "targets go with a metric that has its own: miou, coco_map, regression; this one takes "
            "class numbers (r329fast.evaluate)"
        )
    classes = true_classes(source.labels, offset, outputs, source.names)
    return ChunkPlan(job, source, classes), offset, doubts


def own_targets(metric: Metric, path: str | Path | None, source: Source) -> list[Any]:
    """What is right for every image of a set. Raises UsageError and DataError."""
    if path is None:
        raise UsageError(f"metric {metric.name} needs targets: a file or folder (--targets)")
    if metric.stretched and source.recipe is not None and source.recipe.resize != "stretch":
        raise UsageError(f"metric {metric.name} needs images that are stretched, found a crop")
    height, width = source.reader.shape[:2]
    targets = metric.load(Path(path), source.names, (height, width))
    missing = [name for name, target in zip(source.names, targets, strict=True) if target is None]
    if missing:
        raise DataError(
            f"{path}: has nothing for {len(missing)} of {len(targets)} images, such as {missing[0]}"
        )
    return targets


def _saturation(result: Evaluation, plan: ChunkPlan) -> list[str]:
    """A warning where many input values of the best setting were cut off."""
    best = result.best
    values = best.accuracy.images * int(np.prod(plan.job.reader.shape))
    return saturation_warning(best.saturated_values / values) if values else []


def _places(images: str | Path | Any, labels: str | Path | None) -> dict[str, str | None]:
    """Where the images and labels came from, so that a report can show pictures later."""
    if is_sequence(images):
        return {"image_set": None, "label_file": None}
    on_disk = labels is not None and is_there(labels)
    return {
        "image_set": str(Path(images).absolute()),
        "label_file": str(Path(labels).absolute() if labels and on_disk else labels or "") or None,
    }


def _write_rows(result: Evaluation, run: ChunkRun, folder: Path, kind: str) -> None:
    """The result files: a row per image, a file per variant."""
    several = len(run.model.variants) > 1
    for index, item in enumerate(run.model.variants):
        stem = results_stem(item.name if several else None)
        path = write_results(folder / f"{stem}.{kind}", run.log, index, run.plan)
        result.files.append(path)
    if old := earlier_results(folder, result.files):
        more = f" and {len(old) - 1} more" if len(old) > 1 else ""
        result.warnings.append(f"{folder / old[0]}{more}: of an earlier run, not of this one")


def _write_record(
    result: Evaluation, folder: Path, header: dict[str, object], places: dict[str, str | None]
) -> None:
    """run.json, written last: it marks the result files as complete."""
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
        "memory_mb": result.timing.memory,
    }
    result.files.append(write_json(folder / "run.json", record))
