"""A whole vendor cfg: `RunConfig`, its text, and the reading of that text.

Reading goes through configparser, as in the vendor's tool, without interpolation. Everything wrong
with a text is collected as findings; `read_cfg` raises the first error among them.
"""

from __future__ import annotations

import configparser
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from r329fast.base import reading
from r329fast.base.files import write_text
from r329fast.base.limits import CFG
from r329fast.cfg.finding import Finding
from r329fast.cfg.optimizer import Optimizer
from r329fast.cfg.sections import (
    MODEL_DOMAINS,
    OF_MODEL,
    Common,
    GBuilder,
    Parser,
    Quantization,
    Section,
)
from r329fast.cfg.values import BadValueError
from r329fast.errors import CfgError, FileError, nearest
from r329fast.graph.onnx.foreign import CONVERTERS

_SECTIONS: tuple[type[Section], ...] = (Common, Parser, Quantization, GBuilder)
SECTION_TITLES = ("Common", "Parser", "AutoQuantizationTool", "Optimizer", "GBuilder")
# a comment on a line of its own, which configparser, and so the vendor's tool, passes over
_RECIPE = re.compile(r"^[ \t]*[#;][ \t]*r329fast preprocess[ \t]*=[ \t]*(.*?)[ \t]*$", re.MULTILINE)


@dataclass
class RunConfig:
    """The content of a cfg. Paths are as written: relative to where the command runs.

    `quantization` is [AutoQuantizationTool], `optimizer` is [Optimizer]; at least one is there in
    a valid cfg. `extra_sections` keeps sections that nothing here knows. `recipe` is how the
    images of the calibration set were prepared, as JSON; it stands in a comment.
    """

    common: Common = field(default_factory=Common)
    parser: Parser = field(default_factory=Parser)
    quantization: Quantization | None = field(default_factory=Quantization)
    optimizer: Optimizer | None = None
    gbuilder: GBuilder = field(default_factory=GBuilder)
    extra_sections: dict[str, dict[str, str]] = field(default_factory=dict)
    recipe: str = ""

    @property
    def scheme(self) -> str:
        """`compass42` for a cfg with [Optimizer], else `aqt2021`."""
        return "aqt2021" if self.optimizer is None else "compass42"

    @property
    def calibration_data(self) -> str:
        """The path of the calibration array, from the section that rules; '' where absent."""
        if self.optimizer is not None:
            return self.optimizer.text("calibration_data")
        return self.quantization.calibration_data if self.quantization else ""

    @property
    def range_files(self) -> tuple[str, str]:
        """(ts_max_file, ts_min_file) of the section that rules; '' where absent."""
        if self.optimizer is not None:
            return self.optimizer.range_files()
        section = self.quantization
        return (section.ts_max_file, section.ts_min_file) if section else ("", "")

    @property
    def warnings(self) -> list[str]:
        """What is accepted but not done or not known, one line each."""
        return [str(item) for item in examine(self) if item.severity == "warning"]

    def to_text(self) -> str:
        """The cfg file: `key = value` lines, sections in the vendor's order.

        The only comment is the recipe, in the first line. Reading this text and writing it again
        gives the same bytes. Raises CfgError for a value that cannot stand on one line.
        """
        sections: list[tuple[str, list[tuple[str, str]]]] = [
            (part.TITLE, part.items())
            for part in (
                self.common, self.parser, self.quantization, self.optimizer, self.gbuilder,
            )
            if part is not None
        ]  # fmt: skip
        sections += [(title, list(keys.items())) for title, keys in self.extra_sections.items()]
        blocks = [f"# r329fast preprocess = {self.recipe}\n"] if self.recipe else []
        for title, pairs in sections:
            lines = [f"[{title}]"]
            for key, value in pairs:
                if any(ord(character) < 32 and character != "\t" for character in value):
                    raise CfgError(
                        f"[{title}] {key}: found {value!r}, allowed: text on one line",
                        section=title,
                        key=key,
                    )
                lines.append(f"{key} = {value.strip()}".rstrip())
            blocks.append("\n".join(lines) + "\n")
        return "\n".join(blocks)

    def write(self, path: Path | str) -> Path:
        """Write the cfg file in one step; raises FileError where that cannot be."""
        return write_text(Path(path), self.to_text())


def read_cfg(path: Path | str) -> RunConfig:
    """Read a cfg file; unknown keys are kept and tolerated.

    Raises FileError for a file that cannot be read and CfgError, in one line, for the first of:
    a missing section or key, a wrong value, shapes that do not go with the input names.
    """
    config, findings = parse_cfg(read_text(path))
    for item in findings + examine(config):
        if item.severity == "error":
            raise CfgError(f"{path}: {item}", path=str(path), section=item.section, key=item.key)
    return config


def read_text(path: Path | str) -> str:
    """The text of a cfg, with any kind of line end; raises FileError."""
    if Path(path).suffix.lower() == ".onnx":
        raise FileError(
            f"{path} is a model, allowed here: a cfg (`r329fast cfg new {path} --out run.cfg`); "
            "`try`, `run`, `eval`, `profile` and `quantize` take models",
            path=str(path),
        )
    return reading.read_text(path, CFG).replace("\r\n", "\n").replace("\r", "\n")


def parse_cfg(text: str) -> tuple[RunConfig, list[Finding]]:
    """Read the text of a cfg as far as it goes, with all errors of its form and values."""
    raw, findings = _split(text)
    noted = _RECIPE.search(text)
    config = RunConfig(quantization=None, recipe=noted[1] if noted else "")
    for title in SECTION_TITLES:
        if title not in raw and title not in ("AutoQuantizationTool", "Optimizer"):
            findings.append(_missing_section(title, raw))
    if "AutoQuantizationTool" not in raw and "Optimizer" not in raw:
        findings.append(_missing_section("AutoQuantizationTool", raw, " (or [Optimizer])"))
    for title, pairs in raw.items():
        if title == "Optimizer":
            config.optimizer = Optimizer(pairs)
        elif title not in SECTION_TITLES:
            config.extra_sections[title] = pairs
    for kind in _SECTIONS:
        if kind.TITLE in raw:
            section, wrong = _read_section(kind, raw[kind.TITLE])
            findings += wrong
            setattr(config, _ATTRIBUTE[kind.TITLE], section)
    if "Parser" in raw:
        findings += _model_type(raw["Parser"])
    return config, findings


_ATTRIBUTE = {
    "Common": "common",
    "Parser": "parser",
    "AutoQuantizationTool": "quantization",
    "GBuilder": "gbuilder",
}


def _split(text: str) -> tuple[dict[str, dict[str, str]], list[Finding]]:
    """Sections of stripped key and value text; what configparser refuses becomes a finding."""
    findings = []
    try:
        reader = _reader(strict=True)
        reader.read_string(text)
    except (configparser.DuplicateSectionError, configparser.DuplicateOptionError) as error:
        key = getattr(error, "option", "")
        what = "this key" if key else "this section"
        findings.append(
            Finding("error", str(error.section), key, f"{what} is there twice, line {error.lineno}")
        )
        reader, more = _lenient(text)
        findings += more
    except configparser.Error:
        reader, findings = _lenient(text)
    return {
        title: {key: _one_line(value) for key, value in reader.items(title)}
        for title in reader.sections()
    }, findings


def _reader(*, strict: bool) -> configparser.RawConfigParser:
    # a default section would copy its keys into all others; no header can be empty
    return configparser.RawConfigParser(
        strict=strict, default_section="", empty_lines_in_values=False
    )


def _lenient(text: str) -> tuple[configparser.RawConfigParser, list[Finding]]:
    """Read on without the lines that are no `key = value`, which become findings."""
    findings = []
    lines = text.split("\n")
    while True:
        reader = _reader(strict=False)
        try:
            reader.read_string("\n".join(lines))
        except configparser.MissingSectionHeaderError as error:
            # all lines up to the first header at once: each try reads the whole text
            for number in range(error.lineno, len(lines) + 1):
                line = lines[number - 1].strip()
                if reader.SECTCRE.match(line):
                    break
                if line and line[0] not in "#;":
                    findings.append(_bad_line(number, line, "a [Section] header first"))
                    lines[number - 1] = ""
        except configparser.ParsingError as error:
            for number, _ in error.errors:
                findings.append(_bad_line(number, lines[number - 1], "key = value"))
                lines[number - 1] = ""
        else:
            return reader, findings


def _bad_line(number: int, line: str, allowed: str) -> Finding:
    return Finding("error", "", "", f"line {number}: found {line.strip()!r}, allowed: {allowed}")


def _one_line(value: str) -> str:
    """A value that goes on over indented lines, as one line."""
    return " ".join(part.strip() for part in value.split("\n")).strip()


def _missing_section(title: str, raw: dict[str, Any], also: str = "") -> Finding:
    unknown = [name for name in raw if name not in SECTION_TITLES]
    close = {name.lower(): name for name in unknown}
    found = next(
        (close[word] for word in close if nearest(word, [title.lower()])),
        None,
    )
    hint = f", did you mean it by [{found}]?" if found else ""
    return Finding("error", title, "", f"section is missing{also}{hint}")


def _read_section(kind: type[Section], pairs: dict[str, str]) -> tuple[Section, list[Finding]]:
    """Typed fields of one section. An empty value stands for the default."""
    findings = []
    section = kind()
    pairs = dict(pairs)
    for old, new in kind.OLD_NAMES.items():
        if old in pairs and new not in pairs:
            pairs[new] = pairs.pop(old)
    for item in kind.typed_keys():
        text = pairs.pop(item.name, "")
        if text:
            try:
                setattr(section, item.name, item.metadata["kind"].parse(text))
            except BadValueError as error:
                findings.append(Finding("error", kind.TITLE, item.name, str(error)))
        else:
            misspelt = nearest(item.name, [key for key in pairs if key not in kind.known()])
            hint = misspelt.replace("did you mean", "did you mean it by")
            # the model's own names would stand in for a misspelt key in silence
            if not item.metadata["required"] and not (hint and item.name in OF_MODEL):
                continue
            findings.append(Finding("error", kind.TITLE, item.name, f"is missing{hint}"))
    section.extra.update(pairs)
    return section, findings


def _model_type(pairs: dict[str, str]) -> list[Finding]:
    """Without a model_type the vendor's tool takes TensorFlow; here the file name may decide."""
    model = pairs.get("input_model", "")
    if pairs.get("model_type") or not model or model.lower().endswith(".onnx"):
        return []
    message = (
        f"is missing, which means tensorflow, and input_model is {model!r}: only ONNX models are "
        f"read, convert the model with {CONVERTERS['tensorflow']}"
    )
    return [Finding("error", "Parser", "model_type", message)]


def examine(config: RunConfig) -> list[Finding]:
    """What is wrong with, or worth a warning about, the values of a cfg taken together."""
    return [
        *_examine_parser(config.parser),
        *_examine_quantization(config),
        *_examine_optimizer(config),
        *_examine_builder(config),
        *_examine_names(config),
    ]


def _examine_parser(parser: Parser) -> list[Finding]:
    names, shapes = parser.input, parser.input_shape
    if names and shapes and len(names) != len(shapes):
        message = f"found {len(shapes)} shapes, allowed: one for each of {len(names)} inputs"
        return [Finding("error", "Parser", "input_shape", message)]
    if parser.model_domain.lower() not in MODEL_DOMAINS:
        message = (
            f"found {parser.model_domain!r}, known are {', '.join(MODEL_DOMAINS)}"
            f"{nearest(parser.model_domain, MODEL_DOMAINS)}; it changes no number"
        )
        return [Finding("warning", "Parser", "model_domain", message)]
    return []


def _examine_quantization(config: RunConfig) -> list[Finding]:
    quantization = config.quantization
    if quantization is None:
        return []
    title = quantization.TITLE
    if config.optimizer is not None:
        message = "is not read, because [Optimizer] is there too"
        return [Finding("warning", title, "", message)]
    findings = _examine_ranges(config, title)
    if quantization.reverse_rgb:
        message = "not acted on: keep the channel order of the network in calibration_data"
        findings.append(Finding("warning", title, "reverse_rgb", message))
    if quantization.preprocess_mode != "normalize":
        message = "not acted on: calibration_data is taken as it is"
        findings.append(Finding("warning", title, "preprocess_mode", message))
    return findings


def _examine_ranges(config: RunConfig, title: str) -> list[Finding]:
    """Ready-made ranges come in pairs; without them there is data to calibrate on."""
    high, low = config.range_files
    if bool(high) != bool(low):
        absent, there = ("ts_min_file", "ts_max_file") if high else ("ts_max_file", "ts_min_file")
        return [Finding("error", title, absent, f"is missing, it goes together with {there}")]
    if not high and not config.calibration_data:
        message = "is missing (ts_max_file and ts_min_file would do instead)"
        return [Finding("error", title, "calibration_data", message)]
    return []


def _examine_optimizer(config: RunConfig) -> list[Finding]:
    optimizer = config.optimizer
    if optimizer is None:
        return []
    findings = _examine_ranges(config, "Optimizer")
    for name in optimizer.values:
        try:
            optimizer.check(name)
        except BadValueError as error:
            findings.append(Finding("error", "Optimizer", name, str(error)))
    return findings + [
        Finding("warning", "Optimizer", name, message) for name, message in optimizer.warnings()
    ]


def _examine_builder(config: RunConfig) -> list[Finding]:
    builder, findings = config.gbuilder, []
    if config.common.mode == "run":
        names = config.parser.input
        if not builder.inputs:
            message = "is missing, mode = run needs the input file"
            findings.append(Finding("error", "GBuilder", "inputs", message))
        elif names and len(builder.inputs) != len(names):
            message = f"found {len(builder.inputs)} files, allowed: one for each of {len(names)}"
            findings.append(Finding("error", "GBuilder", "inputs", f"{message} inputs"))
    family = re.split(r"[_\s]", builder.target)[0].upper()
    if family != "Z1":
        message = f"found {builder.target!r}, the numbers are those of Z1_0701"
        findings.append(Finding("warning", "GBuilder", "target", message))
    return findings


def _examine_names(config: RunConfig) -> list[Finding]:
    """Keys and sections that are unknown, or known but without effect here."""
    findings = []
    for section in (config.common, config.parser, config.quantization, config.gbuilder):
        if section is None:
            continue
        for key, value in section.extra.items():
            if key not in section.known():
                message = f"unknown key, ignored{nearest(key, section.known())}"
            elif value and value != section.IGNORED.get(key, value):
                message = f"not acted on: found {value!r}"
            else:
                continue
            findings.append(Finding("warning", section.TITLE, key, message))
    for title in config.extra_sections:
        message = f"unknown section, ignored{nearest(title, SECTION_TITLES)}"
        findings.append(Finding("warning", title, "", message))
    if config.parser.detection_postprocess:
        message = "not acted on: the network ends with its last layer"
        findings.append(Finding("warning", "Parser", "detection_postprocess", message))
    return findings
