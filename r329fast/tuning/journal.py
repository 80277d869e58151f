"""The steps taken so far, on disk: a run that is killed goes on behind the last one."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from r329fast.base.files import Writer, json_writer, write_all
from r329fast.base.reading import faults_of, read_json
from r329fast.calibration import Ranges
from r329fast.comparison.result_files import read_tensors
from r329fast.errors import DataError, R329Error
from r329fast.quantization import Options
from r329fast.tuning.state import State

FOLDER = ".tune"
_CONSTS = ("weights", "bias")
_ARRIVING = "arriving "  # what names of arrays begin with, before the tensor's


def fingerprint(state: State, x: np.ndarray, words: dict[str, Any]) -> str:
    """Of all that decides the steps: another network, other ranges, images or options begin anew.

    state: what the run begins with; x: float32 [N, ...]; words: the options, for JSON.
    """
    digest = hashlib.sha256(json.dumps(words, sort_keys=True).encode())
    graph = state.graph
    digest.update(repr((sorted(graph.shapes.items()), graph.inputs, graph.outputs)).encode())
    digest.update(repr(sorted(state.ranges.values.items())).encode())
    for layer in graph:
        facts = layer.name, layer.type, layer.attrs, layer.inputs, layer.outputs
        digest.update(repr(facts).encode())
        _update(digest, layer.consts)
    digest.update(np.ascontiguousarray(x).data)
    return digest.hexdigest()


def _update(digest: Any, arrays: Mapping[str, np.ndarray]) -> None:
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())


def _digest(name: str, record: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """Of a step as it is on the disk: a flipped bit, or another step's file, is no step."""
    digest = hashlib.sha256(json.dumps([name, record], sort_keys=True).encode())
    _update(digest, arrays)
    return digest.hexdigest()


class Journal:
    """Steps in `folder`; each is a record, with the state after it where it was accepted."""

    def __init__(self, folder: Path, key: str) -> None:
        self.folder, self.key = folder / FOLDER, key

    def read(self, name: str, base: State) -> tuple[dict[str, Any], State | None] | None:
        """The record of a step and the state after it (None: not accepted).

        None where there is no such step, or one that is damaged or of other work: it is done again.
        """
        try:
            with faults_of(self.folder / name, "a step"):
                return self._read(name, base)
        except R329Error:
            return None

    def _read(self, name: str, base: State) -> tuple[dict[str, Any], State | None] | None:
        record = read_json(self.folder / f"{name}.json")
        mark, whole = record.pop("digest"), dict(record)
        names, words = record.pop("names", None), record.pop("state_options", None)
        if record.pop("key") != self.key or not _is_sound(record):
            return None
        arrays = read_tensors(self.folder / f"{name}.npz") if record["accepted"] else {}
        if mark != _digest(name, whole, arrays):
            return None
        if not record["accepted"]:
            return record, None
        return record, _restored(arrays, names, base, record["method"], _options(words))

    def write(self, name: str, record: dict[str, Any], state: State | None) -> None:
        """All of it or nothing; the record last."""
        files: list[tuple[Path, Writer]] = []
        own: dict[str, Any] = {"key": self.key}
        arrays: dict[str, np.ndarray] = {}
        if state is not None:
            own["state_options"] = vars(state.options)
            arrays = _arrays(state)
            files.append((self.folder / f"{name}.npz", _npz_writer(arrays)))
            own["names"] = list(state.ranges.values)
        whole = json.loads(json.dumps({**record, **own}))  # as it is read
        whole["digest"] = _digest(name, whole, arrays)
        files.append((self.folder / f"{name}.json", json_writer(whole)))
        write_all(files)

    def clear(self) -> None:
        """Nothing to go on with is left."""
        for path in sorted(self.folder.glob("*")):
            if path.suffix in (".json", ".npz"):
                path.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()


def _npz_writer(arrays: dict[str, np.ndarray]) -> Writer:
    return lambda stream: np.savez(stream, **arrays)  # type: ignore[arg-type]


def _arrays(state: State) -> dict[str, np.ndarray]:
    arrays = {
        f"{index}.{name}": layer.consts[name]
        for index, layer in enumerate(state.graph)
        for name in _CONSTS
        if name in layer.consts
    }
    arrays |= {_ARRIVING + name: each for name, each in state.arriving.items()}
    arrays["ranges"] = np.array(list(state.ranges.values.values()), dtype=np.float64)
    return arrays


def _is_sound(record: dict[str, Any]) -> bool:
    """Whether a record has what is told of a step."""
    gains = [record["gain_db"]]
    if record["gain_db"] is not None:
        gains.append(record["gain_chosen_db"])
    return (
        isinstance(record["accepted"], bool)
        and isinstance(record["method"], str)
        and all(gain is None or isinstance(gain, (int, float)) for gain in gains)
    )


def _options(words: Any) -> Options:
    if not isinstance(words, dict) or set(words) != set(vars(Options())):
        raise DataError("other options")
    found: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in words.items()}
    return Options(**found)


def _restored(
    arrays: dict[str, np.ndarray], names: Any, base: State, method: str, options: Options
) -> State:
    """The state of a step; DataError for arrays that are not those of `base`."""
    layers = []
    for index, layer in enumerate(base.graph):
        found = {name: arrays[f"{index}.{name}"] for name in _CONSTS if name in layer.consts}
        for name, array in found.items():
            wanted = layer.consts[name]
            if array.shape != wanted.shape or array.dtype.kind != "f":
                raise DataError(f"{layer.name}: {name} of another form")
            if not np.isfinite(array).all():
                raise DataError(f"{layer.name}: {name} with NaN or infinity")
        layers.append(dataclasses.replace(layer, consts={**layer.consts, **found}))
    pairs = arrays["ranges"].tolist()
    needed = {name for name in base.graph.shapes if name in base.ranges.values}
    if not needed <= set(names) or not np.isfinite(arrays["ranges"]).all():
        raise DataError("ranges of other tensors")
    arriving = {
        name.removeprefix(_ARRIVING): array
        for name, array in arrays.items()
        if name.startswith(_ARRIVING)
    }
    for name, array in arriving.items():
        if name not in base.graph.shapes or array.shape != base.graph.shapes[name][-1:]:
            raise DataError(f"{name}: what arrives of another tensor")
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise DataError(f"{name}: what arrives with NaN or infinity")
    ranges = Ranges({name: (low, high) for name, (low, high) in zip(names, pairs, strict=True)})
    return State(dataclasses.replace(base.graph, layers=layers), ranges, method, options, arriving)
