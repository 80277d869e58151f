"""What tuning leaves: the model, its ranges and a cfg, read again before they are written."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from r329fast.base.files import Writer, bytes_writer
from r329fast.cfg import RunConfig
from r329fast.cfg.new import new_cfg
from r329fast.cfg.optimizer import RANGE_FILES
from r329fast.cfg.run_config import parse_cfg
from r329fast.deploy.pipeline import cfg_options, prepare
from r329fast.deploy.tuned import MODEL
from r329fast.errors import DataError, ProgramError, UnsupportedModelError
from r329fast.graph.export.to_onnx import to_onnx
from r329fast.graph.ir import Graph
from r329fast.program.program import Program
from r329fast.quantization import Options
from r329fast.tuning.state import State

CFG = "tuned.cfg"
# what [Optimizer] says of quantisation
_OPTIONS = ("quantize_method_for_weight", "quantize_method_for_activation", "multiplier_bits")
_OTHER_LAYERS = (DataError, ProgramError, UnsupportedModelError)  # of what is read again
_OPSETS = (13, 19)  # the lowest that the model is valid in


def tuned_model(graph: Graph, kept: bool = False) -> bytes:
    """The network as ONNX whose nodes bear the layers' names, in the lowest opset that will do.

    kept: as in `to_onnx`.
    """
    import onnx

    model: Any = None
    for opset in _OPSETS:
        model = to_onnx(graph, nhwc_ends=False, named=True, kept=kept)
        model.opset_import[0].version = opset
        try:
            onnx.checker.check_model(model, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError):
            continue
        break
    return bytes(model.SerializeToString())


def tuned_cfg(
    graph: Graph,
    scheme: str,
    options: Options,
    base: RunConfig | None,
    folder: Path,
    data: str = "",
) -> RunConfig:
    """The cfg of a run with the tuned files in `folder`; what else `base` says stays.

    data: the calibration data of a network without a cfg; "" where it is in no file. In
    [Optimizer] the range files are r329fast's own keys: the vendor's optimiser has none.
    """
    data = "" if base is not None else data
    config = new_cfg(folder / MODEL, model_name=graph.name, scheme=scheme, calibration_data=data)
    if base is not None:
        sections = config.quantization, config.optimizer
        named, (config, _) = config.parser, parse_cfg(base.to_text())
        for key in ("input_model", "input", "output", "input_shape", "input_data_format"):
            setattr(config.parser, key, getattr(named, key))
        if config.scheme != scheme:
            config.quantization, config.optimizer = sections
            _set_data(config, base.calibration_data)
    _set_ranges(config, folder)
    written = cfg_options(config)
    if config.optimizer is not None:
        for key in _OPTIONS:
            if getattr(options, key) != getattr(written, key):
                config.optimizer.values[key] = str(getattr(options, key))
    elif config.quantization is not None:
        config.quantization.ops_per_channel = options.ops_per_channel
    return config


def _set_data(config: RunConfig, data: str) -> None:
    if config.optimizer is not None:
        config.optimizer.values["calibration_data"] = data
    elif config.quantization is not None:
        config.quantization.calibration_data = data


def _set_ranges(config: RunConfig, folder: Path) -> None:
    pair = tuple(map(str, range_paths(folder)))
    if config.optimizer is not None:
        config.optimizer.values.update(zip(RANGE_FILES, pair, strict=True))
    elif config.quantization is not None:
        config.quantization.ts_max_file, config.quantization.ts_min_file = pair


def range_paths(folder: Path) -> tuple[Path, Path]:
    return folder / "tuned_max.npy", folder / "tuned_min.npy"


def planned_files(
    state: State,
    scheme: str,
    base: RunConfig | None,
    folder: Path,
    recipe: str = "",
    dataset: str = "",
) -> tuple[list[tuple[Path, Writer]], Program]:
    """(model, ranges and cfg to be written into `folder`, the program that they give).

    recipe: of the images, as `recipe_text` has it, for the cfg's comment; dataset: `data` of
    `tuned_cfg`. Written to a place of their own first, read as a run reads them and quantised
    anew: raises ProgramError unless every layer's integers are those that tuning ended with.
    """
    promised = state.program(scheme)
    try:
        data, config = _read_again(state, scheme, base, promised, dataset, kept=False)
    except _OTHER_LAYERS:  # data moves in ways for which the reader finds shorter ones
        data, config = _read_again(state, scheme, base, promised, dataset, kept=True)
    config.parser.input_model = str(folder / MODEL)
    config.recipe = recipe
    _set_ranges(config, folder)
    high, low = _range_writers(state)
    high_path, low_path = range_paths(folder)
    files = [
        (folder / MODEL, bytes_writer(data)),
        (high_path, high),
        (low_path, low),
        (folder / CFG, bytes_writer(config.to_text().encode())),
    ]
    return files, promised


def _read_again(
    state: State,
    scheme: str,
    base: RunConfig | None,
    promised: Program,
    dataset: str,
    kept: bool,
) -> tuple[bytes, RunConfig]:
    """(the model, its cfg in a folder that is gone), if they give the program `promised`."""
    data = tuned_model(state.graph, kept)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        _write(state, data, place)
        config = tuned_cfg(state.graph, scheme, state.options, base, place, dataset)
        found = prepare(config, rounding=state.options.rounding).program
    if found.hash() != promised.hash():
        layer = first_difference(promised, found)
        raise ProgramError(f"{MODEL}: read again, layer {layer!r} has other integers")
    return data, config


def check_kept(
    state: State, scheme: str, base: RunConfig | None, network: Path, dataset: str = ""
) -> None:
    """Before work that would be lost: raises UnsupportedModelError where the network, written as
    the tuned one will be, is not read as the same layers again."""
    state.program(scheme)  # what is wrong with the network itself is another error
    try:
        planned_files(state, scheme, base, Path(), dataset=dataset)
    except _OTHER_LAYERS as error:
        raise UnsupportedModelError(
            f"{network}: tune cannot write this network: read again, it has other layers "
            f"({error.message}); `r329fast profile --suggest` says what ranges and settings bring"
        ) from error


def _range_writers(state: State) -> list[Writer]:
    return [writer for _, writer in state.ranges.max_min_files(Path(), state.graph.name)]


def _write(state: State, data: bytes, place: Path) -> None:
    (place / MODEL).write_bytes(data)
    for path, writer in zip(range_paths(place), _range_writers(state), strict=True):
        with path.open("wb") as stream:
            writer(stream)


def first_difference(first: Program, second: Program) -> str:
    """The first layer whose ops or tensors differ; '' where none does."""
    if len(first.layers) != len(second.layers):
        return "(their number)"
    for one, other in zip(first.layers, second.layers, strict=True):
        if (one.name, one.type, one.outputs) != (other.name, other.type, other.outputs):
            return one.name
        specs = [dataclasses.astuple(first.tensors[name]) for name in one.outputs]
        if specs != [dataclasses.astuple(second.tensors[name]) for name in other.outputs]:
            return one.name
        pairs = zip(first.ops[slice(*one.ops)], second.ops[slice(*other.ops)], strict=True)
        if any(not _same(a.consts, b.consts) or a.attrs != b.attrs for a, b in pairs):
            return one.name
    return ""


def _same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> bool:
    return set(first) == set(second) and all(
        np.array_equal(first[name], second[name]) for name in first
    )
