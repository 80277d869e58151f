"""From a vendor cfg to a program: read, load, calibrate, quantise. What `run` and others share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from r329fast.base.arguments import with_arguments
from r329fast.base.limits import TENSOR
from r329fast.base.reading import is_there, read_bytes
from r329fast.base.tabular import html_table
from r329fast.calibration import Ranges, calibrate
from r329fast.calibration.hidden import hidden_of
from r329fast.cfg import RunConfig, completed, read_cfg
from r329fast.cfg.advice import extremes_setting
from r329fast.deploy.recipe import Known, carry, recipe_of_cfg
from r329fast.deploy.settings import Settings
from r329fast.errors import CfgError, DataError, FileError, UsageError
from r329fast.graph import load_model
from r329fast.graph.ir import LINEAR_TYPES, Graph
from r329fast.images.dataset import load_labels
from r329fast.images.several import Arrays, load_datasets
from r329fast.profile.silent_failures import joined_failures
from r329fast.program import Program
from r329fast.quantization import Options, quantize
from r329fast.quantization.given import given_report
from r329fast.quantization.options import WIDTHS
from r329fast.quantization.scopes import idle_scopes
from r329fast.vendor.aipu.load import is_program, read_program

_NARROW = 0.75
# What a cfg of one scheme means when the other is asked for.
_TWINS = {
    ("compass42", "MEAN"): "mean",
    ("compass42", "EXTREME"): "extrema",
    ("aqt2021", "mean"): "MEAN",
    ("aqt2021", "extrema"): "EXTREME",
}


@dataclass
class Prepared:
    """A cfg carried out as far as the program; `warnings` are lines for the user.

    known: the recipe of the calibration images.
    """

    config: RunConfig
    graph: Graph
    ranges: Ranges
    program: Program
    scheme: str
    method: str
    warnings: list[str] = field(default_factory=list)
    known: Known = field(default_factory=Known)

    def __repr__(self) -> str:
        layers = len(self.program.layers)
        return (
            f"<Prepared {self.program.name!r}: scheme {self.scheme}, method {self.method}, "
            f"{layers} layers, {len(self.warnings)} warnings>"
        )

    def _repr_html_(self) -> str:
        return html_table(repr(self)[1:-1], ["warning"], [[line] for line in self.warnings])


def load_config(cfg: str | Path | RunConfig) -> RunConfig:
    """The parsed cfg, with the names and shapes that it leaves to the model.

    Raises CfgError and FileError.
    """
    if isinstance(cfg, RunConfig):
        return completed(cfg)
    config = read_cfg(cfg)
    _check_folder(Path(cfg), config.parser.input_model)
    return completed(config)


def _check_folder(cfg: Path, model: str) -> None:
    """FileError where the model is not here, but is from a folder above the cfg."""
    if not model or is_there(model):
        return
    for folder in cfg.resolve().parents:
        if is_there(folder / model):
            raise FileError(
                f"cannot read {model}: paths in a cfg count from the working folder; go to "
                f"{folder}, from where {cfg.name} finds it",
                path=model,
            )


def load_graph(config: RunConfig) -> Graph:
    """The float graph that a cfg names, cut at its `input` and `output`, named `model_name`."""
    parser = config.parser
    try:
        graph = load_model(
            parser.input_model,
            inputs=list(parser.input),
            outputs=list(parser.output),
            input_shapes=list(parser.input_shape),
            name=parser.model_name,
        )
    except UsageError as error:  # a name or a shape of the cfg that the model does not have
        key = "input_shape" if ": shape " in error.message else "input, output"
        raise CfgError(f"[Parser] {key}: {error.message}", key=key) from error
    for name, shape, tensor in zip(parser.input, parser.input_shape, graph.inputs, strict=False):
        layout = graph.input_layouts.get(tensor, "")
        if len(shape) == 4 and layout in ("NCHW", "NHWC") and layout != parser.input_data_format:
            raise CfgError(
                f"[Parser] input_data_format: found {parser.input_data_format}, input {name!r} of "
                f"the model is {layout}",
                key="input_data_format",
            )
    return graph


def cfg_options(config: RunConfig, settings: Settings | None = None, **changes: Any) -> Options:
    """Quantisation options of a cfg; the settings overrule it. Raises CfgError, UsageError."""
    settings = with_arguments(settings or Settings(), changes, "cfg_options")
    found: dict[str, object] = {}
    optimizer, quantization = config.optimizer, config.quantization
    if optimizer is not None:
        optimizer.scoped("calibration_strategy_for_weight")  # refused unless it is the extrema
        found = {
            "quantize_method_for_weight": optimizer.text("quantize_method_for_weight"),
            "quantize_method_for_activation": optimizer.text("quantize_method_for_activation"),
            **{name: optimizer.text(name) for name in WIDTHS},
            "bias_effective_bits": optimizer.integer("bias_effective_bits") or 0,
            "multiplier_bits": optimizer.integer("multiplier_bits") or 0,
            "unify_shifts_for_aiff": optimizer.flag("unify_shifts_for_aiff"),
            "force_shift_positive": optimizer.flag("force_shift_positive"),
            "force_dtype_int": optimizer.flag("force_dtype_int"),
            "unify_scales_for_concat_threshold": optimizer.real(
                "unify_scales_for_concat_threshold"
            ),
        }
    elif quantization is not None and quantization.ops_per_channel:
        found = {"ops_per_channel": quantization.ops_per_channel}
    if settings.rounding is not None:
        found["rounding"] = settings.rounding
    options = dataclasses.replace(Options(), **found)  # type: ignore[arg-type]
    return with_per_channel(options) if settings.per_channel else options


def with_per_channel(options: Options) -> Options:
    """The same options with a scale for every output channel of conv and fc weights."""
    return dataclasses.replace(
        options,
        quantize_method_for_weight=options.quantize_method_for_weight.replace(
            "per_tensor_", "per_channel_"
        ),
        ops_per_channel=LINEAR_TYPES,
    )


def calibration_ranges(
    config: RunConfig, graph: Graph, settings: Settings | None = None, **changes: Any
) -> tuple[Ranges, str]:
    """(ranges, the method's name): from the cfg's ready-made dicts, or by calibrating.

    Raises CfgError where the cfg names neither, and DataError for a dataset that does not fit.
    """
    settings = with_arguments(settings or Settings(), changes, "calibration_ranges")
    scheme, method = settings.scheme or config.scheme, settings.method
    optimizer = config.optimizer
    # [AutoQuantizationTool] is not read where [Optimizer] is there too.
    quantization = config.quantization if optimizer is None else None
    high, low = config.range_files
    if high and low and method is None:
        ranges = Ranges.load_max_min(Path(high), Path(low))
        return _complete(graph, ranges), "file"
    dataset = calibration_dataset(config, graph)
    statistics: dict[str, object] = {}
    if optimizer is not None:
        method = method or optimizer.text("calibration_strategy_for_activation")
    elif quantization is not None:
        method = method or quantization.calibration_method
    method = _TWINS.get((scheme, method or ""), method)
    if scheme == "compass42" and optimizer is not None:
        statistics = {
            "batch_size": optimizer.integer("calibration_batch_size") or 1,
            "momentum": optimizer.real("running_statistic_momentum"),
            "histc_bins": optimizer.integer("histc_bins") or 2048,
            "activation_method": optimizer.text("quantize_method_for_activation"),
        }
    method = method or ("MEAN" if scheme == "aqt2021" else "mean")
    ranges = calibrate(
        graph,
        dataset,
        scheme,
        method,
        threads=settings.threads,
        progress=settings.progress,
        **statistics,  # type: ignore[arg-type]
    )
    return ranges, method


def _complete(graph: Graph, ranges: Ranges) -> Ranges:
    """The entries that the graph needs, of ready-made dicts; DataError where one is missing.

    What LRN and LogSoftmax calibrate beyond their output is not in the vendor's dicts: it is then
    bounded by the input's range, or by 1.
    """
    result = ranges.restricted_to(layer_tops(graph))
    for layer in graph:
        hidden = hidden_of(layer)
        if hidden is not None:
            key = hidden.key(layer.name)
            result.values[key] = ranges.values.get(key, hidden.bound(layer, result))
    return result


def layer_tops(graph: Graph) -> list[str]:
    """Every tensor in IR order: the entries of the vendor's max_min dicts."""
    return [name for layer in graph for name in layer.outputs]


def calibration_dataset(config: RunConfig, graph: Graph) -> Arrays:
    """The calibration arrays that the cfg names, checked against the graph and the labels.

    Raises CfgError where it names none, DataError and FileError.
    """
    path = config.calibration_data
    if not path:
        raise CfgError(
            "no calibration: allowed are calibration_data, or ts_max_file and ts_min_file",
            key="calibration_data",
        )
    named = _by_cfg_name(config, graph)
    arrays = load_datasets(path, {name: (1, *graph.shapes[named[name]]) for name in named})
    dataset = {named[name]: array for name, array in arrays.items()}
    quantization = config.quantization
    label = quantization.calibration_label if config.optimizer is None and quantization else ""
    if label:
        load_labels(label, len(next(iter(dataset.values()))))
    return dataset


def _by_cfg_name(config: RunConfig, graph: Graph) -> dict[str, str]:
    """The name of every input in the cfg -> its tensor in the graph."""
    words = config.parser.input
    if len(words) != len(graph.inputs):
        words = tuple(graph.onnx_names.get(name, name) for name in graph.inputs)
    return dict(zip(words, graph.inputs, strict=True))


def prepare(
    cfg: str | Path | RunConfig, settings: Settings | None = None, **changes: Any
) -> Prepared:
    """Carry out a cfg up to the quantised program.

    settings, or its fields as keywords (scheme, rounding, method, per_channel, threads, progress),
    overrule the cfg: `prepare("run.cfg", scheme="compass42", threads=2)`. Paths in the cfg are
    relative to the working folder, as the vendor's are. Raises CfgError, FileError, DataError,
    UnsupportedModelError and UsageError.
    """
    settings = with_arguments(settings or Settings(), changes, "prepare")
    config = load_config(cfg)
    chosen = settings.scheme or config.scheme
    graph = load_graph(config)
    options = cfg_options(config, settings)
    ranges, used = calibration_ranges(config, graph, settings)
    program = quantize(graph, ranges, chosen, options)
    known = recipe_of_cfg(config)
    carry(program, known)
    warnings = [
        *config.warnings,
        *dull_inputs(graph, ranges, used),
        *foreign_bytes(graph, ranges),
        *given_report(graph, program),
        *narrow_outputs(graph, ranges, used, chosen),
        *(item.text for item in joined_failures(program, graph.onnx_names)),
        *idle_scopes(graph, options),
    ]
    return Prepared(config, graph, ranges, program, chosen, used, warnings, known)


def dull_inputs(graph: Graph, ranges: Ranges, method: str) -> list[str]:
    """A line for each input whose calibration data is one number throughout (zero, mostly)."""
    lines = []
    for name in graph.inputs:
        low, high = ranges.seen.get(name, ranges[name])
        if low == high:
            source = "ts_max_file, ts_min_file" if method == "file" else "calibration_data"
            lines.append(
                f"input {name!r}: all its calibration data is {low:g}, so that no range says "
                f"anything; give real images ({source})"
            )
    return lines


def foreign_bytes(graph: Graph, ranges: Ranges) -> list[str]:
    """A line for each input of bytes whose calibration data is no bytes."""
    lines = []
    for name in graph.inputs:
        given, (low, high) = graph.given.get(name), ranges.seen.get(name, ranges[name])
        if given is None or given.step != 1.0 or given.zero:
            continue
        least, most = (0, 255) if given.dtype == "uint8" else (-128, 127)
        if low < least or high > most or high - low <= 1.0:
            lines.append(
                f"input {name!r} takes bytes as they are ({least} to {most}), its calibration data "
                f"runs from {low:.4g} to {high:.4g}: give pixels without mean and scale "
                "(--sub 0 0 0)"
            )
    return lines


def narrow_outputs(graph: Graph, ranges: Ranges, method: str, scheme: str = "aqt2021") -> list[str]:
    """A line for each output whose range leaves out much of what calibration saw.

    The vendor's MEAN weighs the last image by a half; with few images the largest logits then
    all saturate at the same integer, and the class cannot be determined any more.
    """
    return [
        f"output {name!r}: the {method} range covers {ranges.coverage(name):.0%} of what "
        "calibration saw, larger values saturate; more images or the extremes "
        f"({extremes_setting(scheme)}) cover it"
        for name in graph.outputs
        if ranges.coverage(name) < _NARROW
    ]


def program_of(
    path: str | Path, settings: Settings | None = None, **changes: Any
) -> tuple[Program, Prepared | None]:
    """The program of a `.r329` or aipu.bin file (with None), or of a cfg (with what led to it)."""
    if is_program(path):
        return read_program(path), None
    prepared = prepare(path, settings, **changes)
    return prepared.program, prepared


def input_quantizer(cfg: str | Path) -> Callable[[np.ndarray], np.ndarray]:
    """A function from float32 [N, H, W, C] to the integers of the first input of a cfg's network.

    Only the input's range is needed, so the network itself is not run.
    """
    return input_program(cfg).quantize_input


def input_program(cfg: str | Path | RunConfig) -> Program:
    """A program of only the inputs of a cfg's network: their ranges, scales and dtypes."""
    config = load_config(cfg)
    graph = load_graph(config)
    first = Graph(
        graph.name,
        [layer for layer in graph if layer.is_input],
        {name: graph.shapes[name] for name in graph.inputs},
        graph.inputs,
        graph.onnx_names,
        given={name: graph.given[name] for name in graph.inputs if name in graph.given},
    )
    ranges, _ = calibration_ranges(config, first)
    return quantize(first, ranges, config.scheme, cfg_options(config))


def read_input(path: str | Path, program: Program, name: str) -> np.ndarray:
    """A raw input file as integers [N, *shape]; N images when it is N times as long.

    Raises FileError where it cannot be read and DataError where its length is no multiple.
    """
    spec = program.tensors[name]
    stored = read_bytes(path, TENSOR)
    if not stored or len(stored) % (spec.elements * np.dtype(spec.dtype).itemsize):
        shape = " x ".join(map(str, spec.shape))
        raise DataError(
            f"{path}: found {len(stored)} bytes, input {name!r} needs {spec.elements} ({shape}) an "
            "image",
            path=str(path),
        )
    return np.frombuffer(stored, spec.dtype).reshape(-1, *spec.shape)
