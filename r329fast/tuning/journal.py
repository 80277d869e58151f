"""The steps taken so far, on disk: a run that is killed goes on behind the last one."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from r329fast.base.files import Writer, json_writer, write_all
from r329fast.calibration import Ranges
from r329fast.graph.ir import Graph
from r329fast.tuning.state import State

FOLDER = ".tune"
_CONSTS = ("weights", "bias")


def fingerprint(graph: Graph, x: np.ndarray, words: dict[str, Any]) -> str:
    """Of all that decides the steps: another network, other images or options begin anew."""
    digest = hashlib.sha256(json.dumps(words, sort_keys=True).encode())
    for layer in graph:
        digest.update(repr((layer.name, layer.type, layer.attrs)).encode())
        for name in sorted(layer.consts):
            digest.update(np.ascontiguousarray(layer.consts[name]).tobytes())
    digest.update(np.ascontiguousarray(x).data)
    return digest.hexdigest()


class Journal:
    """Steps in `folder`; each is a record, with the state after it where it was accepted."""

    def __init__(self, folder: Path, key: str) -> None:
        self.folder, self.key = folder / FOLDER, key

    def read(self, name: str, base: State) -> tuple[dict[str, Any], State | None] | None:
        """The record of a step and the state after it (None: not accepted); None if not there."""
        try:
            record = json.loads((self.folder / f"{name}.json").read_text())
            if record.pop("key") != self.key:
                return None
            if not record["accepted"]:
                return record, None
            with np.load(self.folder / f"{name}.npz", allow_pickle=False) as arrays:
                return record, _restored(arrays, base, record["method"])
        except (OSError, ValueError, KeyError):
            return None  # missing or cut off: the step is done again

    def write(self, name: str, record: dict[str, Any], state: State | None) -> None:
        """All of it or nothing; the record last."""
        files: list[tuple[Path, Writer]] = []
        if state is not None:
            files.append((self.folder / f"{name}.npz", _npz_writer(_arrays(state))))
        files.append((self.folder / f"{name}.json", json_writer({**record, "key": self.key})))
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
    arrays["names"] = np.array(list(state.ranges.values), dtype=np.str_)
    arrays["ranges"] = np.array(list(state.ranges.values.values()), dtype=np.float64)
    return arrays


def _restored(arrays: Any, base: State, method: str) -> State:
    layers = []
    for index, layer in enumerate(base.graph):
        found = {name: arrays[f"{index}.{name}"] for name in _CONSTS if name in layer.consts}
        layers.append(dataclasses.replace(layer, consts={**layer.consts, **found}))
    pairs = zip(arrays["names"].tolist(), arrays["ranges"].tolist(), strict=True)
    ranges = Ranges({name: (low, high) for name, (low, high) in pairs})
    return State(dataclasses.replace(base.graph, layers=layers), ranges, method)
