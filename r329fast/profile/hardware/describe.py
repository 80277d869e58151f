"""Reads a hardware description: figures with unit, source and status, inherited from others."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from r329fast.base.limits import CFG
from r329fast.base.reading import faults_of, is_file, read_text
from r329fast.errors import DataError, UsageError, nearest

FOLDER = Path(__file__).parent
DEFAULT = "Z1_0701"
STATUSES = ("verified", "inferred", "assumed", "measured")

# Every figure that the cost model reads, and the smallest value that makes sense.
FIGURES: dict[str, float] = {
    "macs_per_cycle": 1,
    "clock_mhz": 1e-3,
    "builder_clock_mhz": 1e-3,
    "ddr_bytes": 0,
    "ddr_mb_per_second": 1e-3,
    "ddr_efficiency": 1e-3,
    "input_channel_step": 1,
    "output_channel_step": 1,
    "depthwise_block": 1,
    "fc_output_step": 1,
    "tile_columns": 1,
    "tile_rows": 1,
    "weight_buffer_bytes": 1,
    "elements_per_cycle": 1e-3,
    "layer_overhead": 0,
    "sram_bytes": 0,
}
_INTEGERS = (
    "input_channel_step",
    "output_channel_step",
    "depthwise_block",
    "fc_output_step",
    "tile_columns",
    "tile_rows",
    "weight_buffer_bytes",
)


@dataclass(frozen=True)
class Figure:
    """One number of a description; `file` is the name of the description that set it."""

    value: float
    unit: str
    source: str
    status: str
    file: str


@dataclass(frozen=True)
class Hardware:
    """A target: its name and all figures of `FIGURES`."""

    name: str
    about: str
    figures: Mapping[str, Figure]

    def __getitem__(self, figure: str) -> float:
        return self.figures[figure].value

    def step(self, figure: str) -> int:
        """A granularity as an integer."""
        return int(self.figures[figure].value)

    @property
    def bytes_per_second(self) -> float:
        """DDR bandwidth that a layer can count on."""
        return self["ddr_mb_per_second"] * 1e6 * self["ddr_efficiency"]

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "about": self.about,
            "figures": {name: vars(figure) for name, figure in self.figures.items()},
        }


def available() -> list[str]:
    """Names of the descriptions that travel with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_hardware(source: str | Path = DEFAULT) -> Hardware:
    """A description by name, or from a .toml file of the user's.

    Raises UsageError for an unknown name, FileError for an unreadable file, and DataError for a
    figure that is unknown, missing, or of a wrong form.
    """
    about, figures = _collect(source, ())
    name = Path(str(source)).stem
    missing = [figure for figure in FIGURES if figure not in figures]
    if missing:
        raise DataError(f"hardware {name}: figures {', '.join(missing)} are missing; inherit them")
    return Hardware(name, about, {figure: figures[figure] for figure in FIGURES})


def _path(source: str | Path) -> Path:
    if str(source).endswith(".toml"):
        return Path(source)
    path = FOLDER / f"{source}.toml"
    if not is_file(path):
        names = available()
        raise UsageError(
            f"hardware {str(source)!r}, allowed {', '.join(names)} or a .toml file"
            f"{nearest(str(source), names)}",
            option="hardware",
        )
    return path


def _collect(source: str | Path, seen: tuple[str, ...]) -> tuple[str, dict[str, Figure]]:
    path = _path(source)
    text = read_text(path, CFG)
    place = os.path.realpath(path)
    if place in seen:
        raise DataError(f"{path}: inherits from itself", path=str(path))
    with faults_of(path, "TOML"):  # tomllib raises RecursionError and KeyError too
        content = tomllib.loads(text)
    figures: dict[str, Figure] = {}
    if "inherits" in content:
        parent = str(content["inherits"])
        # a file of the user's may inherit from its neighbour
        beside = path.parent / parent
        inherited = beside if parent.endswith(".toml") else parent
        _, figures = _collect(inherited, (*seen, place))
    table = content.get("figures", {})
    if not isinstance(table, dict):
        raise DataError(f"{path}: figures: found no table", path=str(path))
    for name, entry in table.items():
        figures[name] = _figure(path, name, entry, figures.get(name))
    return str(content.get("about", "")), figures


def _figure(path: Path, name: str, entry: object, parent: Figure | None) -> Figure:
    """One figure; a bare number keeps the inherited unit and is marked as the file's own."""
    where = f"{path}: figures.{name}"
    if name not in FIGURES:
        raise DataError(f"{where}: unknown{nearest(name, FIGURES)}", path=str(path))
    words = entry if isinstance(entry, dict) else {"value": entry}
    value = words.get("value")
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise DataError(f"{where}: found value {value!r}, allowed a number", path=str(path))
    if value < FIGURES[name] or (name in _INTEGERS and value != int(value)):
        kind = "a whole number" if name in _INTEGERS else "a number"
        raise DataError(
            f"{where}: found {value}, allowed {kind} from {FIGURES[name]:g}", path=str(path)
        )
    status = words.get("status", "assumed")
    if status not in STATUSES:
        raise DataError(
            f"{where}: found status {status!r}, allowed {', '.join(STATUSES)}", path=str(path)
        )
    return Figure(
        value,
        str(words.get("unit", parent.unit if parent else "")),
        str(words.get("source", f"set in {path.name}")),
        str(status),
        path.stem,
    )
