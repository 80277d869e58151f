"""A page from what an old deployment left, without the model: any of the vendor's files.

graph.json (nodes, ops_count), max_min/ (ranges), a log (memory sections, output scales),
profile_data.bin (has it counters?), output.bin (classes), aipu.bin (layers, memory, lints).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from r329fast.base.limits import TENSOR
from r329fast.base.reading import read_bytes, read_text
from r329fast.calibration.ranges import Ranges
from r329fast.comparison.classes import top_k
from r329fast.errors import DataError, FileError
from r329fast.program.counters import layer_counters
from r329fast.report.columns import totals
from r329fast.report.outputs import read_json
from r329fast.vendor.aipu.container import read_aipu_bin
from r329fast.vendor.aipu.facts import facts_of
from r329fast.vendor.aipu.load import is_aipu_file
from r329fast.vendor.aipu.program import build_program
from r329fast.vendor.profile_data import FILLED_MARK, HEADER_BYTES, RECORD_BYTES

GRAPH_FILE, PROFILE_DATA_FILE, OUTPUT_FILE = "graph.json", "profile_data.bin", "output.bin"
_LOGS = ("log.txt", "log_default", "log")
_MOST_BINARIES = 64  # .bin files of a folder that are looked at
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_SECTION = re.compile(
    r"(Total memory for this graph|Text +section|RO +section|Desc +section|Data +section|"
    r"BSS +section|Stack|Workspace\(BSS\)) *:\s*(0x[0-9a-fA-F]+) Bytes"
)
_SCALE = re.compile(r"layer_top:(\S+), output_scale:\[([^\]]+)\]")
_WEIGHTS = re.compile(r"loading graph weight: \S+ size: (0x[0-9a-fA-F]+)")
_TIME = re.compile(r"TOTAL TIME: ([0-9.]+)s")
_UNSIGNED_END = re.compile("Softmax|Activation")

Fact = tuple[str, str, str]


def is_vendor_folder(path: Path) -> bool:
    """Whether a folder holds any of the vendor's files."""
    return bool(_binary(path)) or any(
        (path / name).exists()
        for name in (GRAPH_FILE, PROFILE_DATA_FILE, OUTPUT_FILE, "max_min", *_LOGS)
    )


def vendor_record(path: Path) -> dict[str, Any]:
    """The record of a folder, or of an aipu.bin file alone.

    Raises FileError, DataError and UnsupportedModelError for files that cannot be read.
    """
    binary = path if path.is_file() else _binary(path)
    folder = None if path.is_file() else path
    rows: list[dict[str, Any]] = []
    facts: list[Fact] = []
    model, signed = path.name, True
    if folder is not None and (folder / GRAPH_FILE).exists():
        model, rows, found = _graph(folder / GRAPH_FILE)
        signed = not rows or not _UNSIGNED_END.fullmatch(rows[-1]["op"])
        facts += found
    if folder is not None:
        facts += _ranges(folder, rows)
        facts += _log(folder)
    if binary is not None:
        binary_rows, found = _aipu(binary)
        rows = rows or binary_rows
        facts += found
    if folder is not None:
        facts += _profile_data(folder)
        facts += _output(folder, signed)
    return {
        "kind": "vendor",
        "tool": "the vendor's files",
        "model": model,
        "layers": rows,
        "totals": totals(rows),
        "images": 0,
        "facts": facts,
    }


def _binary(folder: Path) -> Path | None:
    """The first aipu.bin of a folder, whatever it is called."""
    for path in sorted(folder.glob("*.bin"))[:_MOST_BINARIES]:
        if is_aipu_file(path):
            return path
    return None


def _graph(path: Path) -> tuple[str, list[dict[str, Any]], list[Fact]]:
    """(graph name, layer rows, facts) of a graph.json."""
    content = read_json(path)
    nodes: Any = content.get("nodes")
    if not isinstance(nodes, list) or not all(isinstance(node, dict) for node in nodes):
        raise DataError(f"{path}: found no list of nodes: not a graph.json", path=str(path))
    rows: list[dict[str, Any]] = []
    for node in nodes:
        parts = [part for part in node.get("internal_nodes") or [] if isinstance(part, dict)]
        names = [str(part.get("layer node name", "")) for part in parts]
        kinds = [str(part.get("op_type", "")) for part in parts]
        count = node.get("ops_count", 0)
        rows.append(
            {
                "name": " + ".join(names) or str(node.get("layer node name", "")),
                "op": " + ".join(kinds) or str(node.get("op_type", "")),
                "ops_count": count if isinstance(count, int) else 0,
            }
        )
    perf = sum(bool(node.get("perf_node")) for node in nodes)
    facts = [
        ("graph.json nodes", f"{len(nodes)}, {perf} with counters", "exact"),
        ("ops_count of all nodes", f"{sum(row['ops_count'] for row in rows):,}", "exact"),
        ("target", str(content.get("platform target", "")), "exact"),
    ]
    return str(content.get("graph_name", path.parent.name)), rows, facts


def _ranges(folder: Path, rows: list[dict[str, Any]]) -> list[Fact]:
    """Ranges of the dicts, put into the rows whose names they have."""
    pairs = sorted((folder / "max_min").glob("*_max.npy"))
    if not pairs:
        return []
    low = pairs[0].with_name(pairs[0].name.removesuffix("_max.npy") + "_min.npy")
    ranges = Ranges.load_max_min(pairs[0], low)
    by_name = {name.replace("/", "_"): pair for name, pair in ranges.values.items()}
    # TensorFlow's dicts name what is fused last; a network without pairs has one entry per node
    in_order = list(ranges.values.values()) if len(ranges.values) == len(rows) else []
    found = 0
    for number, row in enumerate(rows):
        last = row["name"].rpartition(" + ")[2]
        pair = by_name.get(last, by_name.get(f"{last}_0"))
        if in_order:
            pair = in_order[number]
        if pair is not None:
            row["range_low"], row["range_high"] = pair
            found += 1
    first, widest = next(iter(ranges.values)), max(ranges.values, key=lambda n: _size(ranges, n))
    return [
        ("calibrated ranges", f"{len(ranges.values)}, {found} of the nodes above", "exact"),
        (f"range of {first}", _span(ranges[first]), "exact"),
        (f"widest range, {widest}", _span(ranges[widest]), "exact"),
    ]


def _size(ranges: Ranges, name: str) -> float:
    low, high = ranges[name]
    return max(abs(low), abs(high))


def _span(pair: tuple[float, float]) -> str:
    return f"{pair[0]:.6g} to {pair[1]:.6g}"


def _log(folder: Path) -> list[Fact]:
    facts: list[Fact] = []
    for path in (folder / name for name in _LOGS):
        if not path.is_file():
            continue
        text = _COLOURS.sub("", read_text(path))
        for title, size in _SECTION.findall(text):
            words = " ".join(title.split()).replace(" for this graph", "")
            facts.append((f"{words} ({path.name})", f"{int(size, 16):,} bytes", "exact"))
        for size in _WEIGHTS.findall(text)[:1]:
            facts.append(("quantised weights in the IR", f"{int(size, 16):,} bytes", "exact"))
        for name, scale in _SCALE.findall(text):
            facts.append((f"output_scale of {name}", scale, "exact"))
        for seconds in _TIME.findall(text)[:1]:
            facts.append(("the vendor's simulator took", f"{seconds} s", "measured"))
    return list(dict.fromkeys(facts))


def _aipu(path: Path) -> tuple[list[dict[str, Any]], list[Fact]]:
    binary = read_aipu_bin(path)
    facts = facts_of(binary)
    program = build_program(binary, path.stem)
    made = {step["name"]: step for step in facts["layers"]}
    rows = []
    for layer, counters in zip(program.layers, layer_counters(program), strict=True):
        row: dict[str, Any] = {
            key: value for key, value in vars(counters).items() if value is not None
        }
        row["shape"] = "x".join(map(str, program.tensors[layer.outputs[0]].shape))
        row["act"] = layer.act if layer.act != "NONE" else ""
        step = made.get(layer.name, {})
        for key in ("dead_channels", "bits_lost_to_dead"):
            if key in step:
                row[key] = step[key]
        rows.append(row)
    header = facts["header"]
    maps = {name: sum(row["memory"] == name for row in facts["memory"]) for name in ("DDR", "SRAM")}
    result: list[Fact] = [
        (
            path.name,
            f"{header['bytes']:,} bytes, target {header['target']}, graph version "
            f"{header['graph_version']}, tool {header['build']}",
            "exact",
        ),
        ("steps in the binary", f"{len(facts['layers'])}", "exact"),
        ("feature maps", f"{maps['DDR']} in DDR, {maps['SRAM']} in SRAM", "exact"),
    ]
    result += [
        (f"section {name}", f"{size:,} bytes", "exact")
        for name, size in facts["sections"].items()
        if size
    ]
    result += [
        (f"mind: {lint['layer']}", lint["text"].removeprefix(f"{lint['layer']}: "), "exact")
        for lint in facts["lints"]
    ]
    return rows, result


def _profile_data(folder: Path) -> list[Fact]:
    path = folder / PROFILE_DATA_FILE
    if not path.is_file():
        return []
    data = read_bytes(path, TENSOR)
    if len(data) < HEADER_BYTES:
        raise FileError(f"{path}: {len(data)} bytes, a header has {HEADER_BYTES}", path=str(path))
    start, end, mark = struct.unpack_from("<3I", data)
    records = max(end - start, 0) // RECORD_BYTES
    if mark == FILLED_MARK:
        words = "filled by r329fast"
    elif any(data[HEADER_BYTES:]):
        words = "with counters, whose meaning is not public"
    else:
        words = "all zero, as the vendor's simulator leaves them"
    return [("profile_data.bin", f"{records} records, {words}", "exact")]


def _output(folder: Path, signed: bool) -> Iterator[Fact]:
    path = folder / OUTPUT_FILE
    if not path.is_file() or is_aipu_file(path):
        return
    data = read_bytes(path, TENSOR)
    if not data:
        return
    dtype = "int8" if signed else "uint8"
    best = top_k(np.frombuffer(data, dtype), 5)
    words = ", ".join(f"{item.index} ({item.value})" for item in best)
    yield f"output.bin, {len(data)} bytes, best classes as {dtype}", words, "exact"
