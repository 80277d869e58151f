"""A file's layer records are what tables and vendor files are made of: they are checked too."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.evaluation_sets import small_program

from r329fast.errors import DataError, FileError
from r329fast.program.storage import load_program

Layers = list[dict[str, Any]]
LIES: dict[str, Callable[[Layers], object]] = {
    "unknown activation": lambda layers: layers[1].update(act="FAST"),
    "a type that is no text": lambda layers: layers[1].update(type=3),
    "an activation that is no text": lambda layers: layers[1].update(act={}),
    "a layer left out": lambda layers: layers.pop(1),
    "no inputs": lambda layers: layers[1].update(inputs=[]),
    "no outputs": lambda layers: layers[1].update(outputs=[]),
    "places that are no numbers": lambda layers: layers[1].update(ops=["a", None]),
    "places with a fraction": lambda layers: layers[1].update(ops=[0.5, 1.5]),
    "a detail of objects": lambda layers: layers[1]["detail"].update(kernel={"a": 1}),
}


@pytest.mark.parametrize("lie", LIES)
def test_records_that_lie(tmp_path: Path, lie: str) -> None:
    path = tmp_path / "m.r329"
    small_program(tmp_path).save(path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    header = json.loads(entries["header.json"])
    LIES[lie](header["layers"])
    del header["header_hash"]
    words = json.dumps(header, sort_keys=True).encode()
    header["header_hash"] = hashlib.sha256(words).hexdigest()
    entries["header.json"] = json.dumps(header).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    with pytest.raises(FileError, match="layer") as caught:
        load_program(path)
    assert "does not match" not in caught.value.message


def test_programs_with_layers_of_their_own_types_run_and_have_no_tables(tmp_path: Path) -> None:
    from r329fast.bench import random_programs
    from r329fast.program.counters import layer_counters

    program = random_programs.tiny()
    program.save(tmp_path / "own.r329")
    found = load_program(tmp_path / "own.r329")
    assert found.hash() == program.hash()
    with pytest.raises(DataError, match="none of the vendor's"):
        layer_counters(found)
