"""Reading the `.r329` file that `archive.py` writes."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from r329fast.errors import FileError, ProgramError
from r329fast.program.archive import FORMAT, VERSION, header_digest
from r329fast.program.program import AttrValue, LayerRecord, Op, Program, TensorSpec


def load_program(path: str | Path) -> Program:
    """Read a `.r329` file and verify it.

    Raises FileError when it is missing, damaged, of a newer version or not such a file.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            header = json.loads(archive.read("header.json"))
            _check_version(path, header)
            arrays = {
                name.removesuffix(".npy"): np.lib.format.read_array(
                    io.BytesIO(archive.read(name)), allow_pickle=False
                )
                for name in archive.namelist()
                if name.endswith(".npy")
            }
        program = _build(header, arrays)
        program.verify()
        if header["header_hash"] != header_digest(header) or header["hash"] != program.hash():
            raise FileError(f"{path}: damaged, its contents do not match its hash", path=str(path))
    except FileNotFoundError:
        raise FileError(f"{path}: no such file", path=str(path)) from None
    except OSError as error:
        raise FileError(f"{path}: {error.strerror or error}", path=str(path)) from error
    except FileError:
        raise
    except (zipfile.BadZipFile, ValueError, KeyError, TypeError, EOFError, ProgramError) as error:
        raise FileError(
            f"{path}: damaged or no r329fast program ({error})", path=str(path)
        ) from error
    except Exception as error:  # zlib.error and friends of a truncated entry
        raise FileError(f"{path}: damaged ({error})", path=str(path)) from error
    return program


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
