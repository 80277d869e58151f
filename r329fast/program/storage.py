"""The `.r329` file: a zip (NumPy .npz) of one JSON header and the constants.

Entries: `header.json` (format version, op table, tensors, layers, options, the program's hash and
one of the header itself) and one array per constant, `c<number>`. Nothing is pickled. The same
program gives the same bytes. A reader refuses files of a newer version and files whose hashes do
not agree.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from r329fast.base.archives import close_zip, open_zip, read_entry
from r329fast.base.files import Writer, write_atomic
from r329fast.base.limits import PROGRAM, RECORD
from r329fast.base.npy import parse_npy
from r329fast.base.reading import check_size, parse_json, reason
from r329fast.errors import FileError
from r329fast.program.program import AttrValue, LayerRecord, Op, Program, TensorSpec

FORMAT = "r329fast program"
VERSION = 1
_EPOCH = (1980, 1, 1, 0, 0, 0)


def save_program(program: Program, path: str | Path) -> Path:
    """Write `program` to `path` (atomically); raises FileError where that cannot be."""
    return write_atomic(Path(path), program_writer(program))


def program_writer(program: Program) -> Writer:
    """A function that writes the file's bytes to a stream."""
    arrays: dict[str, np.ndarray] = {}
    ops = []
    for op in program.ops:
        references = {}
        for name, array in op.consts.items():
            key = f"c{len(arrays)}"
            arrays[key] = array
            references[name] = key
        ops.append([op.kind, op.layer, op.inputs, op.outputs, op.attrs, references])
    header = {
        "format": FORMAT,
        "version": VERSION,
        "hash": program.hash(),
        "name": program.name,
        "scheme": program.scheme,
        "options": program.options,
        "inputs": program.inputs,
        "outputs": program.outputs,
        "tensors": [vars(spec) for spec in program.tensors.values()],
        "ops": ops,
        "layers": [{**vars(layer), "detail": dict(layer.detail)} for layer in program.layers],
    }

    header["header_hash"] = _digest(json.loads(json.dumps(header)))

    def write(stream: Any) -> None:
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
            _entry(archive, "header.json", json.dumps(header).encode())
            for key, array in arrays.items():
                buffer = io.BytesIO()
                np.lib.format.write_array(buffer, array, allow_pickle=False)
                _entry(archive, f"{key}.npy", buffer.getvalue())

    return write


def _digest(header: dict[str, Any]) -> str:
    """SHA-256 of everything in the header but itself."""
    rest = {key: value for key, value in header.items() if key != "header_hash"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _entry(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(info, data)


def load_program(path: str | Path) -> Program:
    """Read a `.r329` file and verify it.

    Raises FileError when it is missing, damaged, of a newer version or not such a file.
    """
    path = Path(path)
    try:
        header, arrays = _read(path)
        program = _build(header, arrays)
        program.verify()
        if header["header_hash"] != _digest(header) or header["hash"] != program.hash():
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
        check_size(path, sum(entry.file_size for entry in entries), PROGRAM)
        arrays = {}
        for name, entry in zip(names, entries, strict=True):
            arrays[name] = parse_npy(read_entry(archive, entry, PROGRAM, path)).copy("K")
        return header, arrays
    finally:
        close_zip(archive)


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
