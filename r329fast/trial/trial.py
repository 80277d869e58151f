"""`try_model`: calibrate, quantise, evaluate and profile a model that comes alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from r329fast.base.arguments import Progress, at_least_zero, with_arguments
from r329fast.base.machine import cores
from r329fast.base.tabular import html_table
from r329fast.deploy.from_model import (
    ModelOptions,
    ModelRun,
    calibration_folder,
    config_of_model,
    save_cfg,
)
from r329fast.deploy.pipeline import Prepared, prepare
from r329fast.deploy.recipe import saturation_warning
from r329fast.deploy.settings import Settings
from r329fast.evaluation import Evaluation, Model, evaluate
from r329fast.evaluation.variants import model_of
from r329fast.graph.load import ModelPart
from r329fast.graph.onnx.reader import InputShapes
from r329fast.images.class_folders import Naming
from r329fast.images.preprocess import Preprocess
from r329fast.profile.images import Images, SetImages
from r329fast.profile.profiling import Wanted, collect
from r329fast.profile.record import layer_rows, make_record
from r329fast.report.columns import totals
from r329fast.report.evaluation_run import evaluation_part
from r329fast.report.findings import findings
from r329fast.report.outputs import PROFILE_FILE, write_csv, write_html, write_record

PAGE = "report.html"
LIMIT = 200
PROFILED = 8


@dataclass(frozen=True)
class TrialOptions:
    """How a model is tried.

    labels, numbers, preprocess, scheme: as in `ModelOptions`. classes: names by class number, for
    the texts of the worst images. split: the part of a set with parts
    that is evaluated. method, rounding, per_channel: as in
    `Settings`. limit: images evaluated, evenly spaced (0: all). save_cfg: a file for the cfg that
    does the same; the calibration set then stays beside it. inputs, outputs, input_shapes: as in
    `load_model`. threads: all cores where absent.
    step(sentence) is told what begins; progress(done, total) counts evaluated images.
    """

    labels: str | Path | None = None
    numbers: Mapping[str, int] | None = None
    classes: Mapping[int, str] | None = None
    split: str = "val"
    preprocess: Preprocess | None = None
    scheme: str = "aqt2021"
    method: str | None = None
    rounding: str | None = None
    per_channel: bool | None = None
    limit: int = LIMIT
    save_cfg: str | Path | None = None
    inputs: Sequence[str] | None = None
    outputs: Sequence[str] | None = None
    input_shapes: InputShapes | None = None
    threads: int | None = None
    step: Callable[[str], None] | None = None
    progress: Progress | None = None

    def __post_init__(self) -> None:
        at_least_zero(limit=self.limit)


@dataclass
class Trial:
    """What came out: the profile's record, the evaluation (None without labels), the page.

    notes: sentences on what was chosen for the user; warnings: what may mislead. files: by kind.
    """

    record: dict[str, Any]
    evaluation: Evaluation | None
    notes: list[str]
    warnings: list[str]
    files: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def page(self) -> Path:
        """The page to look at."""
        return Path(self.files["html"])

    def __repr__(self) -> str:
        told = (
            "" if self.evaluation is None else f", top-1 {self.evaluation.best.accuracy.top1:.2%}"
        )
        return f"<Trial of {self.record['model']!r}{told}: {self.files.get('html', 'no page')}>"

    def _repr_html_(self) -> str:
        rows = [[item.text, item.action] for item in findings(self.record)]
        return html_table(repr(self)[1:-1], ["what to look at", "what to do"], rows)


def try_model(
    model: str | Path,
    images: str | Path | None = None,
    out: str | Path = "r329fast-try",
    options: TrialOptions | None = None,
    **changes: Any,
) -> Trial:
    """Everything about a model in one call: `try_model("model.onnx", "val.zip").page`.

    model: an ONNX file. images: a labelled set (accuracy is counted), images without labels
    (errors against float only) or None (random data: only cost and memory mean anything). out:
    folder for `report.html`, `profile.json`, `layers.csv` and the evaluation's files; what an
    earlier trial left there is replaced. options: `TrialOptions`; its fields are keywords too:
    labels, numbers, classes, split, preprocess, scheme, method, rounding, per_channel, limit,
    save_cfg, inputs, outputs, input_shapes, threads, step, progress.
    Raises the typed errors of `r329fast.errors`.
    """
    start = time.perf_counter()
    options = with_arguments(options or TrialOptions(), changes, "try_model", ("images", "out"))
    threads = options.threads or cores()
    step = options.step or (lambda sentence: None)
    out = Path(out)
    with calibration_folder(options.save_cfg) as folder:
        step("calibrating and quantising")
        made = config_of_model(model, folder, _model_options(images, options, threads))
        settings = Settings(
            rounding=options.rounding,
            method=options.method,
            per_channel=options.per_channel,
            threads=threads,
        )
        prepared = prepare(made.config, settings)
        found = None
        if made.labelled and images is not None:
            step("evaluating")
            found = _evaluated(prepared, made, images, out, options, threads)
        step("profiling")
        trial = _profiled(prepared, made, images, out, options, threads, found)
    if options.save_cfg is not None:
        trial.files["cfg"] = str(save_cfg(made, Path(options.save_cfg), settings))
    trial.seconds = time.perf_counter() - start
    return trial


def _model_options(images: str | Path | None, options: TrialOptions, threads: int) -> ModelOptions:
    return ModelOptions(
        images=images,
        labels=options.labels,
        numbers=options.numbers,
        preprocess=options.preprocess,
        scheme=options.scheme,
        mode="build" if options.save_cfg is None else "run",
        threads=threads,
        part=ModelPart(options.inputs, options.outputs, options.input_shapes),
    )


def _evaluated(
    prepared: Prepared,
    made: ModelRun,
    images: str | Path,
    out: Path,
    options: TrialOptions,
    threads: int,
) -> Evaluation:
    model: Model = model_of(prepared)
    return evaluate(
        model,
        images,
        options.labels,
        preprocess=made.recipe,
        class_folders=options.numbers,
        split=options.split,
        limit=options.limit or None,
        spread=True,
        skip_bad=True,
        float_baseline=True,
        out=out,
        overwrite=True,
        threads=threads,
        progress=options.progress,
    )


def _profiled(
    prepared: Prepared,
    made: ModelRun,
    images: str | Path | None,
    out: Path,
    options: TrialOptions,
    threads: int,
    evaluation: Evaluation | None,
) -> Trial:
    """The profile and every file of the trial."""
    program = prepared.program
    found = collect(
        program,
        graph=prepared.graph,
        ranges=prepared.ranges,
        images=_few(prepared, made, images, options),
        wanted=Wanted(errors=not made.random),
        threads=threads,
        source="random data" if made.random else Path(str(images)).name,
    )
    record = make_record(found, totals(layer_rows(found)))
    record["notes"] = made.notes
    record["given"] = prepared.config.parser.input_model
    warnings = [*prepared.warnings, *(evaluation.warnings if evaluation else [])]
    files: dict[str, str] = {}
    if evaluation is not None:
        record["evaluation"] = evaluation_part(
            out, program_hash=program.hash(), classes=options.classes
        )
        files["evaluation"] = str(out / "run.json")
    else:
        warnings += saturation_warning(found.input_saturated or 0.0)
    files["record"] = str(write_record(out / PROFILE_FILE, record))
    files["csv"] = str(write_csv(out / "layers.csv", record))
    files["html"] = str(write_html(out / PAGE, record))
    return Trial(record, evaluation, made.notes, list(dict.fromkeys(warnings)), files)


def _few(
    prepared: Prepared, made: ModelRun, images: str | Path | None, options: TrialOptions
) -> Images | None:
    """The images that errors are counted over; random data where there are none."""
    if made.random or images is None or made.recipe is None:
        return None
    classes = prepared.program.tensors[prepared.program.outputs[0]].elements
    naming = Naming(options.numbers, classes, split=options.split, needed=made.labelled)
    return SetImages(Path(images), options.labels, made.recipe, PROFILED, naming, spread=True)
