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
from typing import Any

import numpy as np

from r329fast.base.files import Writer
from r329fast.program.op import OpList

FORMAT = "r329fast program"
VERSION = 1
_EPOCH = (1980, 1, 1, 0, 0, 0)


def program_writer(program: OpList) -> Writer:
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

    header["header_hash"] = header_digest(json.loads(json.dumps(header)))

    def write(stream: Any) -> None:
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
            _entry(archive, "header.json", json.dumps(header).encode())
            for key, array in arrays.items():
                buffer = io.BytesIO()
                np.lib.format.write_array(buffer, array, allow_pickle=False)
                _entry(archive, f"{key}.npy", buffer.getvalue())

    return write


def header_digest(header: dict[str, Any]) -> str:
    """SHA-256 of everything in the header but itself."""
    rest = {key: value for key, value in header.items() if key != "header_hash"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _entry(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(info, data)
