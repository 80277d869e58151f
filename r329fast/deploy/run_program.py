"""`run` for a program that is there already: a `.r329`, or the vendor's aipu.bin."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from r329fast.base.files import Writer, bytes_writer, json_writer, write_all
from r329fast.deploy.pipeline import read_input
from r329fast.deploy.run_cfg import output_facts, planned_dump, remove_old_dump
from r329fast.errors import UsageError
from r329fast.profile.silent_failures import OF_RUN, OutputWatch
from r329fast.program.counters import layer_counters
from r329fast.simulator.simulator import Simulator
from r329fast.vendor.aipu.load import read_program
from r329fast.version import __version__

OUTPUT_FILE, RECORD_FILE = "output.bin", "run.json"


def run_program(
    path: str | Path,
    inputs: Sequence[str | Path],
    *,
    out: str | Path | None = None,
    dump: str | Path | None = None,
    backend: str = "numba",
    threads: int = 1,
) -> dict[str, object]:
    """Run a program over raw input files and write output.bin and run.json; returns the record.

    inputs: a file for each input of the program, in its order, raw bytes of its dtype, several
    images one behind the other. out: folder of the files (default: the working folder). dump:
    folder for every layer's integers. Raises FileError, DataError, UnsupportedModelError and
    UsageError for the wrong number of files.
    """
    start = time.perf_counter()
    program = read_program(path)
    if len(inputs) != len(program.inputs):
        raise UsageError(
            f"--inputs: found {len(inputs)} files, the program has {len(program.inputs)} inputs "
            f"({', '.join(program.inputs)})"
        )
    feeds = {
        name: read_input(file, program, name)
        for name, file in zip(program.inputs, inputs, strict=True)
    }
    ready = time.perf_counter()
    names = list(program.outputs)
    if dump is not None:
        names = [name for layer in program.layers for name in layer.outputs]
    with closing(Simulator(program, backend=backend, threads=threads)) as simulator:
        tensors = {**feeds, **simulator.run(feeds, keep=names)}
    outputs = {name: np.ascontiguousarray(tensors[name]) for name in program.outputs}
    watch = OutputWatch(program, OF_RUN)
    watch.add(outputs)
    folder = Path("." if out is None else out)
    target = folder / OUTPUT_FILE
    files: list[tuple[Path, Writer]] = [
        (target, bytes_writer(b"".join(array.tobytes() for array in outputs.values())))
    ]
    if dump is not None:
        files += planned_dump(Path(dump), tensors)
        remove_old_dump(Path(dump))
    record: dict[str, object] = {
        "r329fast": __version__,
        "model": str(path),
        "model_name": program.name,
        "mode": "run",
        "scheme": program.scheme,
        "options": program.options,
        "program_hash": program.hash(),
        "backend": backend,
        "threads": threads,
        "images": len(next(iter(outputs.values()))),
        "outputs": output_facts(program, outputs),
        "macs": sum(layer.macs for layer in layer_counters(program)),
        "files": {"outputs": str(target), "record": str(folder / RECORD_FILE)},
        "seconds": {
            "prepare": round(ready - start, 4),
            "simulate": round(time.perf_counter() - ready, 4),
        },
        "warnings": [item.text for item in watch.failures()],
    }
    write_all([*files, (folder / RECORD_FILE, json_writer(record))])
    return record
