"""All findings on a cfg at once, including the files that it names."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from r329fast.base.reading import is_file
from r329fast.cfg.new import (
    ModelNames,
    check_input_names,
    check_output_names,
    read_model_names,
    several_inputs,
    shape_mismatch,
)
from r329fast.cfg.run_config import Finding, RunConfig, examine, parse_cfg, read_text
from r329fast.cfg.values import Shape
from r329fast.errors import R329Error


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
    findings += _calibration(config)
    if config.common.mode == "run":
        for file, shape in zip(builder.inputs, parser.input_shape, strict=False):
            findings += _input_file(file, shape)
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
    from r329fast.images.dataset import load_dataset, load_labels

    quantization = config.quantization if config.optimizer is None else None
    section = "AutoQuantizationTool" if config.optimizer is None else "Optimizer"
    findings = []
    if quantization is not None and quantization.ts_max_file:
        for key in ("ts_max_file", "ts_min_file"):
            file = getattr(quantization, key)
            if file and not is_file(file):
                findings.append(Finding("error", section, key, f"file not found: {file}"))
        return findings
    count = None
    if config.calibration_data and len(config.parser.input) > 1:
        message = several_inputs(len(config.parser.input))
        findings.append(Finding("error", section, "calibration_data", message))
    elif config.calibration_data:
        shapes: Sequence[Shape] = config.parser.input_shape
        layout = config.parser.input_data_format
        expected = nhwc_shape(shapes[0], layout) if len(shapes) == 1 else None
        try:
            count = len(load_dataset(config.calibration_data, expected))
        except R329Error as error:
            findings.append(Finding("error", section, "calibration_data", error.message))
    if quantization is not None and quantization.calibration_label:
        try:
            load_labels(quantization.calibration_label, count)
        except R329Error as error:
            findings.append(Finding("error", section, "calibration_label", error.message))
    return findings


def _input_file(file: str, shape: Shape) -> list[Finding]:
    """An input file holds whole images, one byte for every element of the shape without batch."""
    if not is_file(file):
        return [Finding("error", "GBuilder", "inputs", f"file not found: {file}")]
    one = math.prod(shape[1:])
    found = Path(file).stat().st_size
    if found and found % one == 0:
        return []
    message = (
        f"found {found} bytes in {file}, allowed {one} per image "
        f"({' x '.join(map(str, shape[1:]))}) or a multiple"
    )
    return [Finding("error", "GBuilder", "inputs", message)]
