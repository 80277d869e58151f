"""Reading the `.r329` file that `archive.py` writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from r329fast.base.archives import close_zip, open_zip, read_entry
from r329fast.base.limits import PROGRAM, RATIO, RECORD
from r329fast.base.npy import parse_npy
from r329fast.base.reading import check_size, parse_json, reason
from r329fast.errors import FileError, ProgramError
from r329fast.graph.activations import ACTIVATIONS
from r329fast.graph.layers import LAYER_TYPES
from r329fast.program.archive import FORMAT, VERSION, header_digest
from r329fast.program.program import AttrValue, LayerRecord, Op, Program, TensorSpec

_ANY_GROWTH = 64 << 20  # bytes of constants that may come from any file


def load_program(path: str | Path) -> Program:
    """Read a `.r329` file and verify it.

    Raises FileError when it is missing, damaged, of a newer version or not such a file.
    """
    path = Path(path)
    try:
        header, arrays = _read(path)
        program = _build(header, arrays)
        program.verify()
        if header["header_hash"] != header_digest(header) or header["hash"] != program.hash():
            raise FileError(f"{path}: damaged, its contents do not match its hash", path=str(path))
    except (FileError, MemoryError):
        raise
    except Exception as error:  # a header of the wrong form can raise anything
        text = f"{path}: damaged or no r329fast program ({reason(error)})"
        raise FileError(text, path=str(path)) from error
    return program


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The header and the constants that it names; other entries are not read."""
    archive = open_zip(path)
    try:
        header = parse_json(read_entry(archive, "header.json", RECORD, path), path)
        _check_version(path, header)
        names = dict.fromkeys(key for op in header["ops"] for key in op[5].values())
        entries = [archive.getinfo(f"{name}.npy") for name in names]
        _check_constants(path, sum(entry.file_size for entry in entries))
        arrays = {}
        for name, entry in zip(names, entries, strict=True):
            arrays[name] = parse_npy(read_entry(archive, entry, PROGRAM, path)).copy("K")
        return header, arrays
    finally:
        close_zip(archive)


def _check_constants(path: Path, size: int) -> None:
    """Trained weights hardly shrink: a small file of large constants is meant to fill memory."""
    check_size(path, size, PROGRAM)
    growth = size // max(path.stat().st_size, 1)
    if size > _ANY_GROWTH and growth > RATIO.get():
        raise FileError(
            f"{path}: its constants are {growth:,} times as large, {RATIO.advice()}",
            path=str(path),
        )


def _check_version(path: Path, header: Any) -> None:
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise FileError(f"{path}: not an r329fast program", path=str(path))
    version = header.get("version")
    if type(version) is not int or not 1 <= version <= VERSION:
        raise FileError(
            f"{path}: format version {version}, this release reads up to {VERSION}", path=str(path)
        )


def _attr(value: Any) -> AttrValue:
    return tuple(value) if isinstance(value, list) else value


def _check_layers(layers: list[LayerRecord], inputs: list[str]) -> None:
    """The records that tables and the vendor's files are made of: known words, in their order."""
    made = set(inputs)
    for layer in layers:
        where = f"layer {layer.name!r}"
        if not all(isinstance(word, str) for word in (layer.name, layer.type, layer.act)):
            raise ProgramError(f"{where}: its name, type and activation must be texts")
        if layer.act not in ACTIVATIONS:
            raise ProgramError(f"{where}: unknown activation {layer.act!r}")
        if not all(type(place) is int for place in layer.ops):
            raise ProgramError(f"{where}: its ops are {layer.ops}, allowed: two places")
        source = layer.type in LAYER_TYPES and layer.is_source
        if not layer.outputs or (not layer.inputs and not source):
            raise ProgramError(f"{where}: reads or makes nothing")
        for name in layer.inputs:
            if name not in made:
                raise ProgramError(f"{where}: reads {name!r}, which no layer before it makes")
        made.update(layer.outputs)
        for key, value in layer.detail.items():
            parts = value if isinstance(value, tuple) else (value,)
            if not all(isinstance(part, (int, float, str, tuple)) for part in parts):
                raise ProgramError(f"{where}: {key} is {str(value)[:40]}")


def _build(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> Program:
    tensors = {}
    for fields in header["tensors"]:
        spec = TensorSpec(**{**fields, "shape": tuple(fields["shape"])})
        tensors[spec.name] = spec
    ops = [
        Op(
            kind,
            layer,
            tuple(inputs),
            tuple(outputs),
            {name: _attr(value) for name, value in attrs.items()},
            {name: arrays[key] for name, key in references.items()},
        )
        for kind, layer, inputs, outputs, attrs, references in header["ops"]
    ]
    layers = [
        LayerRecord(
            fields["name"],
            fields["type"],
            tuple(fields["inputs"]),
            tuple(fields["outputs"]),
            (fields["ops"][0], fields["ops"][1]),
            fields["act"],
            {name: _attr(value) for name, value in fields["detail"].items()},
        )
        for fields in header["layers"]
    ]
    _check_layers(layers, header["inputs"])
    for name in (header["name"], header["scheme"]):
        if not isinstance(name, str):
            raise ProgramError(f"found name or scheme {name!r}, allowed: a text")
    return Program(
        header["name"],
        header["scheme"],
        tensors,
        ops,
        layers,
        tuple(header["inputs"]),
        tuple(header["outputs"]),
        dict(header["options"]),
    )
