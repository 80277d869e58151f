"""`tune`: a cfg or a model in, the same network with less loss out."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from r329fast.base.arguments import with_arguments
from r329fast.base.blas import one_blas_thread
from r329fast.base.files import Writer, check_folder, json_writer, write_all
from r329fast.calibration import calibrate
from r329fast.cfg import RunConfig
from r329fast.deploy.pipeline import (
    calibration_ranges,
    cfg_options,
    load_config,
    load_graph,
    with_per_channel,
)
from r329fast.deploy.recipe import recipe_of_cfg
from r329fast.deploy.settings import Settings
from r329fast.deploy.tuned import MODEL, RECORD, was_tuned
from r329fast.errors import DataError, R329Error, UsageError
from r329fast.graph import load_model
from r329fast.graph.ir import Graph
from r329fast.images.dataset import checked_dataset, load_dataset
from r329fast.images.recipe import recipe_beside, recipe_text
from r329fast.quantization import SCHEMES, Options
from r329fast.tuning.files import CFG, check_kept, planned_files, range_paths
from r329fast.tuning.float_side import run_float
from r329fast.tuning.history import time_record
from r329fast.tuning.journal import Journal, fingerprint
from r329fast.tuning.options import DEFAULT_SCHEME, TuneOptions
from r329fast.tuning.settings import changed_words
from r329fast.tuning.state import State, split, stored_ranges
from r329fast.tuning.steps import take_steps
from r329fast.tuning.store import Store
from r329fast.tuning.workbench import MANY, Bench
from r329fast.version import __version__


@dataclass
class TuneResult:
    """record: what tune.json holds; files: kind -> path (only the record where nothing helped)."""

    record: dict[str, Any]
    files: dict[str, str]

    @property
    def gained(self) -> bool:
        return bool(self.record["gained"])

    def __repr__(self) -> str:
        if not self.gained:
            return "<TuneResult: nothing helped>"
        before, after = (self.record[side]["confirmed"]["snr"] for side in ("before", "after"))
        return f"<TuneResult: output SNR {before:.2f} -> {after:.2f} dB, {self.files['cfg']}>"


@dataclass
class _Start:
    config: RunConfig | None
    graph: Graph
    state: State
    scheme: str
    x: np.ndarray
    recipe: str = ""
    data: str = ""  # the file of the calibration images of a network without a cfg


def tune(
    model: str | Path,
    out: str | Path,
    options: TuneOptions | None = None,
    *,
    dataset: np.ndarray | str | Path | None = None,
    told: Callable[[str], None] = lambda line: None,
    **changes: Any,
) -> TuneResult:
    """Give back accuracy that int8 took from a network, and write what the vendor's tool takes.

    model: a cfg, or an ONNX model (then with `dataset`). dataset: float32 [N, *input shape]
    (NHWC, normalised), or its .npy; default: the cfg's calibration data. No labels are used.
    out: folder of tuned.onnx, tuned_max.npy, tuned_min.npy, tuned.cfg and tune.json; a run that
    was killed goes on from the steps that it finished there. Where no step helps only tune.json
    is written. options, or the fields of TuneOptions as keywords: allow, scheme,
    rounding, method, per_channel, limit, budget, seed, recipe, inputs, outputs, input_shapes,
    threads, progress. told(line) hears of each step.

    Raises UsageError, DataError, CfgError, FileError and UnsupportedModelError.
    """
    chosen = with_arguments(options or TuneOptions(), changes, "tune", ("model", "out", "dataset"))
    with one_blas_thread():  # so that sums, and what hangs on them, are the same everywhere
        return _tune(model, Path(out), chosen, dataset, told)


def _tune(
    model: str | Path,
    folder: Path,
    chosen: TuneOptions,
    dataset: np.ndarray | str | Path | None,
    told: Callable[[str], None],
) -> TuneResult:
    began = time.monotonic(), time.process_time()
    check_folder(folder)
    start = _start(Path(model), dataset, chosen)
    check_kept(start.state, start.scheme, start.config, Path(model), start.data)
    words = {
        "allow": sorted(chosen.allow), "seed": chosen.seed, "budget": chosen.budget,
        "scheme": start.scheme,
        "options": vars(start.state.options), "method": start.state.method, "version": __version__,
    }  # fmt: skip
    journal = Journal(folder, fingerprint(start.state, start.x, words))
    store = partial(Store, journal.folder)
    side = run_float(start.graph, start.x, chosen.seed, chosen.threads, store())
    bench = Bench(
        start.x, start.scheme, chosen, split(len(start.x)), side, side.output, store,
        began[0],
    )  # fmt: skip
    del side  # a step that replaces the bench's frees its memory
    told(_split_line(bench))
    done = [0]

    def advance(count: int) -> None:
        done[0] += count
        if chosen.progress is not None:
            chosen.progress(done[0], len(start.graph.layers))

    before = bench.score(start.state)
    state, steps, history = take_steps(bench, start.state, journal, advance, told)
    after = bench.score(state)
    gained = state is not start.state
    record = {
        "r329fast": __version__,
        "model": str(model),
        "scheme": start.scheme,
        "options": state.program(start.scheme).options,
        "settings": changed_words(start.state.options, state.options),
        "calibration": {"before": start.state.method, "after": state.method},
        "images": {
            "all": len(start.x),
            "fitted": int(bench.parts.fitted.sum()),
            "judging": int(bench.parts.judging.sum()),
            "confirming": int(bench.parts.confirming.sum()),
        },
        "budget": chosen.budget,
        "gained": gained,
        "notes": _notes(start, Path(model)),
        "before": {"chosen": before[0].as_json(), "confirmed": before[1].as_json()},
        "after": {"chosen": after[0].as_json(), "confirmed": after[1].as_json()},
        "steps": steps,
    }
    paths = {"record": str(folder / RECORD)}
    files: list[tuple[Path, Writer]] = []
    if gained:
        files, program = planned_files(
            state, start.scheme, start.config, folder, start.recipe, start.data
        )
        record["program_hash"] = program.hash()
        high, low = range_paths(folder)
        paths |= {"model": str(folder / MODEL), "max": str(high), "min": str(low)}
        paths["cfg"] = str(folder / CFG)
    elif (folder / MODEL).exists():
        told(f"{folder / MODEL} and what belongs to it are of an earlier run")
    cpu = time.process_time() - began[1]
    record["time"] = time_record(history, chosen.threads, bench.spent(), cpu)
    write_all([*files, (folder / RECORD, json_writer(record))])
    journal.clear()
    return TuneResult(record, paths)


def _notes(start: _Start, model: Path) -> list[str]:
    """What a reader of the result may take for something else."""
    notes = []
    count, confirming = len(start.x), split(len(start.x)).confirming
    if not confirming.all():
        marks = np.array([hashlib.sha256(x.tobytes()).hexdigest() for x in start.x])
        copies = int(np.isin(marks[confirming], marks[~confirming]).sum())
        if copies:
            notes.append(
                f"{copies} of the {confirming.sum()} images that confirm steps are copies of "
                "images that chose them: what is said of the gain is of what chose it; take "
                "images that differ"
            )
    else:
        notes.append(
            f"{count} calibration image{'s' * (count > 1)} cannot both choose and confirm: what is "
            "said of the gain is of what chose it; 100 images do better"
        )
    rounding = start.state.options.rounding
    if rounding != Options().rounding:
        notes.append(
            f"tuned for --rounding {rounding}, which a cfg cannot hold: give it with tuned.cfg "
            "again, other roundings shift what the biases were fitted to"
        )
    if start.config and any(start.config.range_files) and start.state.method != "file":
        notes.append(
            f"the range files of {model} are not used: with images given, ranges are calibrated "
            f"anew ({start.state.method}), and 'before' is of these"
        )
    first, *others = start.graph.outputs
    if others:
        notes.append(
            f"judged by the first output {first!r} alone; what {', '.join(others)} lost or gained "
            "nobody looked at: compare with `r329fast profile` before and after"
        )
    network = Path(start.config.parser.input_model) if start.config else model
    if was_tuned(network):
        notes.append(
            f"{network} has been tuned before: its weights aim at int8, so its float outputs are "
            "no longer the network's; tune the network that it was made of"
        )
    return notes


def _split_line(bench: Bench) -> str:
    parts, count = bench.parts, len(bench.x)
    line = (
        f"{count} calibration image{'s' * (count > 1)}: {parts.fitted.sum()} fit, "
        f"{parts.judging.sum()} judge layers, {parts.confirming.sum()} confirm steps"
    )
    if count < MANY:
        line += f"; with fewer than {MANY} no range is narrowed, 100 do better"
    return line


def _start(model: Path, dataset: np.ndarray | str | Path | None, tune: TuneOptions) -> _Start:
    """The network and its ranges as the cfg, or the model alone, has them."""
    config = None
    if model.suffix == ".onnx":
        if dataset is None:
            raise UsageError(
                f"{model}: a model without a cfg needs calibration images: --images SET (in "
                "Python dataset=)",
                option="images",
            )
        graph = load_model(model, tune.inputs, tune.outputs, tune.input_shapes)
        scheme = tune.scheme or DEFAULT_SCHEME
        options = Options(rounding=tune.rounding or "half_even")
        options = with_per_channel(options) if tune.per_channel else options
    else:
        config = load_config(model)
        graph = load_graph(config)
        scheme = tune.scheme or config.scheme
        options = cfg_options(config, rounding=tune.rounding, per_channel=tune.per_channel)
    if scheme not in SCHEMES:
        raise UsageError(f"scheme {scheme!r}, allowed {', '.join(SCHEMES)}", option="scheme")
    if len(graph.inputs) != 1 or len(graph.outputs) < 1:
        raise DataError(f"{model}: tune takes networks with one input, found {len(graph.inputs)}")
    x = _images(config, graph, dataset, tune)
    settings = Settings(scheme=scheme, method=tune.method, threads=tune.threads)
    if config is not None and dataset is None:
        ranges, method = calibration_ranges(config, graph, settings)
    else:
        method = tune.method or {"aqt2021": "EXTREME", "compass42": "mean"}[scheme]
        ranges = calibrate(graph, x, scheme, method, threads=tune.threads)
    state = State(graph, stored_ranges(ranges), method, options)
    data = str(dataset) if isinstance(dataset, str | Path) else ""
    return _Start(config, graph, state, scheme, x, _recipe(config, dataset, tune), data)


def _recipe(
    config: RunConfig | None, dataset: np.ndarray | str | Path | None, tune: TuneOptions
) -> str:
    """How the images were prepared, as a cfg's comment holds it; '' where nobody knows."""
    found = tune.recipe
    if found is None and isinstance(dataset, str | Path):
        with suppress(R329Error):  # a file of that name for something else
            known = recipe_beside(dataset)
            found = known.recipe if known else None
    elif found is None and dataset is None and config is not None:
        found = recipe_of_cfg(config).recipe
    return recipe_text(found) if found else ""


def _images(
    config: RunConfig | None,
    graph: Graph,
    dataset: np.ndarray | str | Path | None,
    tune: TuneOptions,
) -> np.ndarray:
    if dataset is None:
        assert config is not None
        if not config.calibration_data:
            raise UsageError(
                "tune: the cfg has no calibration_data: give images with --images SET (in Python "
                "dataset=)",
                option="images",
            )
        dataset = config.calibration_data
    shape = (1, *graph.shapes[graph.inputs[0]])
    if isinstance(dataset, str | Path):
        dataset = load_dataset(str(dataset), shape)
    elif isinstance(dataset, np.ndarray):
        dataset = checked_dataset(dataset, "tune: dataset", shape)
    else:
        raise UsageError(
            f"tune: dataset is a {type(dataset).__name__}, allowed: a float32 array [N, "
            f"{', '.join(map(str, shape[1:]))}], or the path of its .npy",
            option="dataset",
        )
    return np.ascontiguousarray(dataset[: tune.limit or None], dtype=np.float32)
