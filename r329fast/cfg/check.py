"""All findings on a cfg at once, including the files that it names."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from r329fast.base.reading import is_file, is_there
from r329fast.cfg.finding import Finding
from r329fast.cfg.model_names import (
    ModelNames,
    check_input_names,
    check_output_names,
    completed,
    read_model_names,
    shape_mismatch,
)
from r329fast.cfg.optimizer import RANGE_FILES
from r329fast.cfg.run_config import RunConfig, examine, parse_cfg, read_text
from r329fast.cfg.sections import Parser
from r329fast.cfg.values import Shape
from r329fast.errors import R329Error

# What `new_cfg` names where nothing is given: files that other commands make afterwards.
DEFAULT_DATA = "./dataset/dataset.npy"
DEFAULT_SEVERAL = "./dataset/dataset.npz"
DEFAULT_LABEL = "./dataset/label.npy"


def input_files(count: int) -> tuple[str, ...]:
    """The default names of the files that a run of a network with `count` inputs reads."""
    if count == 1:
        return ("./input.bin",)
    return tuple(f"./input{number}.bin" for number in range(count))


def check_cfg(path: Path | str) -> list[Finding]:
    """All findings on a cfg, errors first; an empty list means that it is ready to run.

    Files are looked up from the current folder, as a run would. Raises FileError only where the
    cfg itself cannot be read.
    """
    config, findings = parse_cfg(read_text(path))
    findings = [*findings, *examine(config)]
    # a section that is not there has been reported; its default values need no second report
    absent = {item.section for item in findings if item.message.startswith("section is missing")}
    findings = [item for item in findings if not (item.section in absent and item.key)]
    findings += [item for item in _files(config) if item.section not in absent]
    return sorted(findings, key=lambda item: item.severity)


def nhwc_shape(shape: Shape, layout: str) -> Shape:
    """A model's input shape as its dataset has it: channels last."""
    if len(shape) == 4 and layout == "NCHW":
        batch, channels, height, width = shape
        return (batch, height, width, channels)
    return shape


def expected_shapes(parser: Parser) -> dict[str, Shape | None]:
    """Input name -> shape of its calibration data, batch included; None where it is unknown."""
    shapes = [nhwc_shape(shape, parser.input_data_format) for shape in parser.input_shape]
    if len(shapes) != len(parser.input):
        return dict.fromkeys(parser.input)
    return dict(zip(parser.input, shapes, strict=True))


def _absent(section: str, key: str, file: str, maker: str = "") -> Finding:
    """A finding on a file that is not there; only a warning where a command makes it."""
    if maker:
        return Finding("warning", section, key, f"{file} is not there yet: {maker} makes it")
    return Finding("error", section, key, f"file not found: {file}")


def _files(config: RunConfig) -> list[Finding]:
    findings: list[Finding] = []

    def attempt(section: str, key: str, action: Callable[[], object]) -> None:
        try:
            action()
        except R329Error as error:
            findings.append(Finding("error", section, key, _without_place(error.message)))

    parser, builder = config.parser, config.gbuilder
    if parser.input_model:
        try:
            names = read_model_names(parser.input_model)
        except R329Error as error:
            findings.append(Finding("error", "Parser", "input_model", error.message))
        else:
            attempt("Parser", "input", lambda: check_input_names(parser.input, names))
            attempt("Parser", "output", lambda: check_output_names(parser.output, names))
            findings += _model_shapes(config, names)
            try:
                config = completed(config)
                parser = config.parser
            except R329Error as error:
                message = _without_place(error.message)
                if message not in {item.message for item in findings}:
                    findings.append(
                        Finding(
                            "error", "Parser", str(error.details.get("key", "input_model")), message
                        )
                    )
    findings += _calibration(config)
    if config.common.mode == "run":
        usual = input_files(len(parser.input))
        for file, shape in zip(builder.inputs, parser.input_shape, strict=False):
            if is_file(file):
                findings += _input_file(file, shape)
            else:
                maker = "r329fast input" if file in usual else ""
                findings.append(_absent("GBuilder", "inputs", file, maker))
    return findings


def _without_place(message: str) -> str:
    """A message of `new_cfg` without the `[Section] key: ` that the finding has anyway."""
    return message.split(": ", 1)[1] if message.startswith("[") else message


def _model_shapes(config: RunConfig, names: ModelNames) -> list[Finding]:
    findings = []
    for name, shape in zip(config.parser.input, config.parser.input_shape, strict=False):
        if name in names.inputs:
            reason = shape_mismatch(shape, names.inputs[name])
            if reason:
                findings.append(Finding("error", "Parser", "input_shape", f"{reason} for {name}"))
    return findings


def _calibration(config: RunConfig) -> list[Finding]:
    """The dataset and its labels, or the ready-made ranges, are there and of the right size."""
    from r329fast.images.dataset import load_labels
    from r329fast.images.several import load_datasets

    quantization = config.quantization if config.optimizer is None else None
    section = "AutoQuantizationTool" if config.optimizer is None else "Optimizer"
    findings = []
    ready = config.range_files
    if any(ready):
        for key, file in zip(RANGE_FILES, ready, strict=True):
            if file and not is_file(file):
                findings.append(Finding("error", section, key, f"file not found: {file}"))
        return findings
    count = None
    data = config.calibration_data
    if data in (DEFAULT_DATA, DEFAULT_SEVERAL) and not is_there(data):
        maker = "r329fast dataset" if data == DEFAULT_DATA else "numpy.savez"
        findings.append(_absent(section, "calibration_data", data, maker))
    elif data:
        expected = expected_shapes(config.parser) or {"data": None}
        try:
            count = len(next(iter(load_datasets(data, expected).values())))
        except R329Error as error:
            findings.append(Finding("error", section, "calibration_data", error.message))
    label = quantization.calibration_label if quantization is not None else ""
    if label == DEFAULT_LABEL and not is_there(label):
        findings.append(_absent(section, "calibration_label", label, "r329fast dataset"))
    elif label:
        try:
            load_labels(label, count)
        except R329Error as error:
            findings.append(Finding("error", section, "calibration_label", error.message))
    return findings


def _input_file(file: str, shape: Shape) -> list[Finding]:
    """An input file holds whole images, one byte for every element of the shape without batch."""
    one = math.prod(shape[1:])
    found = Path(file).stat().st_size
    if found and found % one == 0:
        return []
    message = (
        f"found {found} bytes in {file}, allowed {one} per image "
        f"({' x '.join(map(str, shape[1:]))}) or a multiple"
    )
    return [Finding("error", "GBuilder", "inputs", message)]
