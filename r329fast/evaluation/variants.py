"""The grid of settings that a sweep compares: each a program made from the same cfg."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from r329fast.base.arguments import Progress, with_arguments
from r329fast.calibration import Ranges
from r329fast.calibration.strategies import STRATEGIES, parse_strategy
from r329fast.cfg import RunConfig
from r329fast.cfg.sections import AQT_METHODS
from r329fast.deploy.pipeline import (
    Prepared,
    calibration_ranges,
    cfg_options,
    load_config,
    load_graph,
)
from r329fast.deploy.recipe import Known, recipe_of_cfg, recipe_of_program
from r329fast.deploy.settings import Settings
from r329fast.deploy.tuned import float_warnings
from r329fast.errors import UsageError, nearest
from r329fast.evaluation.files import results_stem
from r329fast.evaluation.options import Grid
from r329fast.graph.ir import Graph
from r329fast.graph.load import ModelPart
from r329fast.program.program import Program
from r329fast.quantization import quantize
from r329fast.quantization.aqt2021 import amplified_concats
from r329fast.vendor.aipu.load import is_program, read_program
from r329fast.vendor.aipu.program import scale_warning


@dataclass(frozen=True)
class Variant:
    """One program and the settings that made it."""

    program: Program
    scheme: str
    rounding: str
    method: str
    per_channel: bool | None

    @property
    def name(self) -> str:
        """What tables and file names call it."""
        weights = {True: "per-channel", False: "per-tensor", None: ""}[self.per_channel]
        return " ".join(word for word in (self.scheme, self.rounding, self.method, weights) if word)

    def settings(self) -> dict[str, object]:
        """What tables and records show of it."""
        names = ("scheme", "rounding", "method", "per_channel")
        return {name: getattr(self, name) for name in names}


@dataclass
class Model:
    """What is evaluated: variants, the float graph where it is known, and the cfg's wishes.

    known: the recipe of the calibration images. float_id: hash of the float network's file;
    float_warnings: lines for who compares with it.
    seconds: that calibrating and quantising took, where they were done apart from `evaluate`.
    """

    variants: list[Variant]
    graph: Graph | None
    known: Known
    float_id: str = ""
    label_offset: int = 0
    reverse: bool = False
    seconds: float = 0.0
    warnings: list[str] = field(default_factory=list)
    float_warnings: list[str] = field(default_factory=list)


def prepare_model(
    model: str | Path | RunConfig | Program,
    grid: Grid | None = None,
    *,
    float_model: str | Path | None = None,
    float_part: ModelPart | None = None,
    threads: int = 1,
    progress: Progress | None = None,
    **changes: Any,
) -> Model:
    """The programs of a cfg (every combination of the grid) or of a `.r329` or aipu.bin file.

    grid, or its fields as keywords (`schemes=["aqt2021", "compass42"]`). float_model: an ONNX file
    for the baseline, needed where `model` is a program; float_part: of that file. threads,
    progress: of calibration.
    Raises what `pipeline.prepare` raises.
    """
    own = ("float_model", "float_part", "threads", "progress")
    grid = with_arguments(grid or Grid(), changes, "prepare_model", own)
    graph = (float_part or ModelPart()).load(float_model) if float_model is not None else None
    if not isinstance(model, RunConfig | Program) and is_program(model):
        model = read_program(model, graph)
    if not isinstance(model, Program):
        found = _of_cfg(load_config(model), grid, Settings(threads=threads, progress=progress))
    elif grid.given:
        raise UsageError(
            "a program is quantised already: scheme, rounding, method and per-channel go with a cfg"
        )
    else:
        found = _of_program(model)
    if float_model is not None:
        found.float_warnings = float_warnings(float_model)
        found.graph = graph
        found.float_id = _file_hash(float_model)
    return found


def model_of(prepared: Prepared) -> Model:
    """What a cfg that is carried out already evaluates as; the float network is its model's."""
    config, options = prepared.config, prepared.program.options
    variant = Variant(
        prepared.program, prepared.scheme, options.get("rounding", ""), prepared.method, None
    )
    return Model(
        [variant],
        prepared.graph,
        prepared.known,
        float_id=_file_hash(config.parser.input_model),
        **_wishes(config),
        warnings=prepared.warnings,
        float_warnings=float_warnings(config.parser.input_model),
    )


def _wishes(config: RunConfig) -> dict[str, Any]:
    """What a cfg says of labels and channels."""
    quantization = config.quantization if config.optimizer is None else None
    return {
        "label_offset": (quantization.label_id_offset or 0) if quantization else 0,
        "reverse": bool(quantization and quantization.reverse_rgb),
    }


def _of_program(program: Program) -> Model:
    options = program.options
    variant = Variant(program, program.scheme, options.get("rounding", ""), "", None)
    warning = scale_warning(program)
    known = recipe_of_program(program)
    return Model([variant], None, known, warnings=[warning] if warning else [])


def _of_cfg(config: RunConfig, grid: Grid, settings: Settings) -> Model:
    graph = load_graph(config)
    _check_repeats(grid)
    pairs = _scheme_methods(list(grid.schemes) or [config.scheme], grid.methods)
    known: dict[tuple[str, str | None], tuple[Ranges, str]] = {}
    variants: list[Variant] = []
    roundings: list[str | None] = [*grid.roundings] or [None]
    per_channel: list[bool | None] = [*grid.per_channel] or [None]
    for (scheme, method), rounding, channels in itertools.product(pairs, roundings, per_channel):
        chosen = replace(
            settings, scheme=scheme, method=method, rounding=rounding, per_channel=channels
        )
        if (scheme, method) not in known:
            known[scheme, method] = calibration_ranges(config, graph, chosen)
        ranges, used = known[scheme, method]
        options = cfg_options(config, chosen)
        program = quantize(graph, ranges, scheme, options)
        variants.append(Variant(program, scheme, options.rounding, used, channels))
    amplified = [line for variant in variants for line in amplified_concats(variant.program)]
    _check_names(variants)
    return Model(
        variants,
        graph,
        recipe_of_cfg(config),
        float_id=_file_hash(config.parser.input_model),
        **_wishes(config),
        warnings=[*config.warnings, *dict.fromkeys(amplified)],
        float_warnings=float_warnings(config.parser.input_model),
    )


def _check_repeats(grid: Grid) -> None:
    """Raise UsageError, before anything is calibrated, for a value that is there twice."""
    for option, values in vars(grid).items():
        again = [value for index, value in enumerate(values) if value in values[:index]]
        if again:
            word = {True: "yes", False: "no"}.get(again[0], again[0])
            name = option.rstrip("s").replace("_", "-")
            raise UsageError(f"--{name}: found {word} twice, allowed: every value once")


def _check_names(variants: Sequence[Variant]) -> None:
    """Two settings with one name would share their results file; raises UsageError."""
    seen: dict[str, str] = {}
    for item in variants:
        stem = results_stem(item.name).lower()
        if stem in seen:
            raise UsageError(
                f"two equal settings in the sweep: {seen[stem]!r} and {item.name!r}, leave one out"
            )
        seen[stem] = item.name


def _scheme_methods(schemes: Sequence[str], methods: Sequence[str]) -> list[tuple[str, str | None]]:
    """(scheme, method) pairs; every method must be known to one of the schemes."""
    if not methods:
        return [(scheme, None) for scheme in schemes]
    pairs = [(scheme, method) for scheme in schemes for method in methods if _knows(scheme, method)]
    for method in methods:
        if method not in [chosen for _, chosen in pairs]:
            known = {"aqt2021": ", ".join(AQT_METHODS), "compass42": STRATEGIES}
            words = [word for scheme in schemes for word in known.get(scheme, "").split(", ")]
            raise UsageError(
                f"method {method!r} is none of {', '.join(schemes)}, allowed {', '.join(words)}"
                f"{nearest(method, words)}",
                option="method",
            )
    for scheme in schemes:
        if scheme not in [chosen for chosen, _ in pairs]:
            raise UsageError(f"no method given for scheme {scheme}", option="method")
    return list(pairs)


def _knows(scheme: str, method: str) -> bool:
    if scheme == "aqt2021":
        return method in AQT_METHODS
    if method in AQT_METHODS:  # MEAN would read as the strategy mean
        return False
    try:
        parse_strategy(method)
    except UsageError:
        return False
    return True


def _file_hash(path: str | Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
