"""`run`: what `aipubuild RUN.cfg` does, with our own simulator: every file it leaves behind."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from r329fast.base.arguments import with_arguments
from r329fast.base.files import Writer, bytes_writer, json_writer, npy_writer, write_all
from r329fast.base.reading import is_there, read_json
from r329fast.base.tabular import html_table
from r329fast.base.temporary import file_stem
from r329fast.cfg import RunConfig
from r329fast.deploy.pipeline import (
    Prepared,
    calibration_dataset,
    load_config,
    prepare,
    read_input,
)
from r329fast.deploy.settings import Settings
from r329fast.errors import CfgError, FileError, UsageError
from r329fast.profile.silent_failures import IMAGES, OF_RUN, OutputWatch
from r329fast.program import Program
from r329fast.program.archive import program_writer
from r329fast.program.counters import layer_counters
from r329fast.simulator.simulator import Simulator
from r329fast.vendor import graph_json, perf_node_count, profile_data, vendor_log
from r329fast.vendor.nodes import ir_ranges
from r329fast.version import __version__

_DUMPED = re.compile(r"\d{4,9}_[^/\\]*\.npy")

_OWN = ("out", "dump", "backend")  # arguments of `run_cfg` that are no settings


@dataclass(frozen=True)
class RunResult:
    """What a run made: output arrays [N, ...] by name, the files, and the run record."""

    prepared: Prepared
    outputs: dict[str, np.ndarray]
    files: dict[str, str]
    record: dict[str, object]

    def __repr__(self) -> str:
        made = ", ".join(
            f"{name} {array.dtype}{list(array.shape)}" for name, array in self.outputs.items()
        )
        return f"<RunResult of {self.prepared.program.name!r}: {made or 'no outputs'}>"

    def _repr_html_(self) -> str:
        return html_table(repr(self)[1:-1], ["file", "path"], list(self.files.items()))


def run_cfg(
    cfg: str | Path | RunConfig,
    settings: Settings | None = None,
    *,
    out: str | Path | None = None,
    dump: str | Path | None = None,
    backend: str = "numba",
    **changes: Any,
) -> RunResult:
    """Parse, calibrate, quantise and (mode run) simulate what a cfg names; write the files.

    settings, or its fields as keywords: scheme, rounding, method, per_channel, threads, progress
    (`run_cfg("run.cfg", scheme="compass42", threads=2)`).
    out: folder for all that is written, by default the working folder, as the vendor's tool
    does; a relative `outputs` of the cfg then lies below it. In mode build, `outputs` becomes a
    `.r329` program, which is no vendor binary. dump: folder for every layer's integers (.npy).
    Everything is computed before the first file is written, so that a failing run leaves none.
    Raises CfgError, FileError, DataError, UnsupportedModelError, UsageError.
    """
    start = time.perf_counter()
    settings = with_arguments(settings or Settings(), changes, "run_cfg", _OWN)
    if dump is not None and load_config(cfg).common.mode == "build":
        raise UsageError("a dump needs a simulation, the cfg has mode = build")
    prepared = prepare(cfg, settings)
    ready = time.perf_counter()
    outputs: dict[str, np.ndarray] = {}
    tensors: dict[str, np.ndarray] = {}
    program = prepared.program
    if prepared.config.common.mode == "run":
        feeds = _read_inputs(prepared)
        simulator = Simulator(program, backend=backend, threads=settings.threads)
        with closing(simulator):
            if dump is not None:
                names = [name for layer in program.layers for name in layer.outputs]
                tensors = {**feeds, **simulator.run(feeds, keep=names)}
                outputs = {name: tensors[name] for name in program.outputs}
            else:
                outputs = simulator.run(feeds)
            prepared.warnings += _dull_outputs(prepared, simulator, outputs)
    simulated = time.perf_counter()
    folder = Path("." if out is None else out)
    planned = _planned(prepared, outputs, folder)
    _check_targets(prepared, planned["outputs"][0])
    files = {name: str(path) for name, (path, _) in planned.items()}
    files["record"] = str(folder / "run.json")
    seconds = {
        "prepare": round(ready - start, 4),
        "simulate": round(simulated - ready, 4),
        "all": round(time.perf_counter() - start, 4),
    }
    dumped: list[tuple[Path, Writer]] = []
    if dump is not None:
        files["dump"] = str(dump)
        dumped = planned_dump(Path(dump), tensors)
        remove_old_dump(Path(dump))
    record = _record(prepared, outputs, files, backend, settings.threads, seconds)
    write_all([*planned.values(), *dumped, (folder / "run.json", json_writer(record))])
    return RunResult(prepared, outputs, files, record)


def _dull_outputs(
    prepared: Prepared, simulator: Simulator, outputs: dict[str, np.ndarray]
) -> list[str]:
    """Warnings on outputs that are constant, zero or saturated over the calibration images.

    Over the run's own images where the cfg has no others, or where the reference, which would take
    minutes for more, is to run them.
    """
    if prepared.method == "file" or simulator.backend != "numba":
        own = OutputWatch(prepared.program, OF_RUN)
        own.add(outputs)
        return [item.text for item in own.failures()]
    dataset = calibration_dataset(prepared.config, prepared.graph)
    program, total = prepared.program, len(next(iter(dataset.values())))
    watch = OutputWatch(program)
    for image in np.unique(np.linspace(0, total - 1, min(total, IMAGES)).astype(int)):
        watch.add(
            simulator.run(
                {
                    name: program.quantize_input(np.asarray(array[image : image + 1]), name)
                    for name, array in dataset.items()
                }
            )
        )
    return [item.text for item in watch.failures()]


def _check_targets(prepared: Prepared, target: Path) -> None:
    """An output file must not be one of the inputs."""
    for path in prepared.config.gbuilder.inputs:
        if Path(path).exists() and target.exists() and target.samefile(path):
            raise CfgError(
                f"[GBuilder] outputs: {target} is also an input of the run", key="outputs"
            )


def _read_inputs(prepared: Prepared) -> dict[str, np.ndarray]:
    program, paths = prepared.program, prepared.config.gbuilder.inputs
    if len(paths) != len(program.inputs):
        raise CfgError(
            f"[GBuilder] inputs: found {len(paths)} files, the network has {len(program.inputs)} "
            f"inputs ({', '.join(program.inputs)})",
            key="inputs",
        )
    for path in paths:
        if not is_there(path):
            raise FileError(
                f"[GBuilder] inputs: {path} is not there; `r329fast input IMAGE --cfg RUN.cfg "
                f"--out {path}` makes it",
                path=str(path),
            )
    return {
        name: read_input(path, program, name)
        for name, path in zip(program.inputs, paths, strict=True)
    }


def _planned(
    prepared: Prepared, outputs: dict[str, np.ndarray], folder: Path
) -> dict[str, tuple[Path, Writer]]:
    """All files of a run below `folder`: what each is -> (path, what writes it)."""
    config, program = prepared.config, prepared.program
    target = folder / config.gbuilder.outputs
    method = prepared.method if prepared.method != "file" else "ts_max_file, ts_min_file"
    files: dict[str, tuple[Path, Writer]] = {}
    if config.common.mode == "run":
        joined = b"".join(np.ascontiguousarray(outputs[name]).tobytes() for name in program.outputs)
        counters = profile_data(perf_node_count(program))
        files["outputs"] = target, bytes_writer(joined)
        files["profile_data"] = folder / "profile_data.bin", bytes_writer(counters)
    else:
        files["outputs"] = target, program_writer(program)
    files["graph_json"] = folder / "graph.json", bytes_writer(graph_json(program).encode())
    ranges = ir_ranges(program, prepared.ranges)
    files["max"], files["min"] = ranges.max_min_files(folder / "max_min", program.name)
    files["log"] = folder / "log.txt", bytes_writer(vendor_log(program, method).encode())
    return files


def planned_dump(folder: Path, tensors: dict[str, np.ndarray]) -> list[tuple[Path, Writer]]:
    """One .npy per tensor, in execution order (see `file_stem`); names in index.json."""
    index = {name: f"{number:04d}_{file_stem(name)}.npy" for number, name in enumerate(tensors)}
    files = [(folder / index[name], npy_writer(array)) for name, array in tensors.items()]
    return [*files, (folder / "index.json", json_writer(index))]


def remove_old_dump(folder: Path) -> None:
    """Files that an earlier dump into the same folder names in its index."""
    try:
        index = read_json(folder / "index.json")
    except FileError:
        return
    for name in index.values() if isinstance(index, dict) else ():
        # whoever wrote the index, no other files than a dump's go
        if isinstance(name, str) and _DUMPED.fullmatch(name):
            (folder / name).unlink(missing_ok=True)


def output_facts(
    program: Program, outputs: Mapping[str, np.ndarray]
) -> dict[str, dict[str, object]]:
    """What run.json says of each output; its digest where there are integers of it."""
    facts: dict[str, dict[str, object]] = {}
    for name in program.outputs:
        spec = program.tensors[name]
        facts[name] = {
            "dtype": spec.dtype,
            "shape": list(spec.shape),
            "scale": spec.scale,
            "zero_point": spec.zero_point,
        }
        if name in outputs:
            facts[name]["sha256"] = hashlib.sha256(outputs[name].tobytes()).hexdigest()
    return facts


def _record(
    prepared: Prepared,
    outputs: dict[str, np.ndarray],
    files: dict[str, str],
    backend: str,
    threads: int,
    seconds: dict[str, float],
) -> dict[str, object]:
    """run.json: what was run with which settings, and what came out."""
    program = prepared.program
    counters = layer_counters(program)
    return {
        "r329fast": __version__,
        "model": prepared.config.parser.input_model,
        "model_name": program.name,
        "mode": prepared.config.common.mode,
        "scheme": prepared.scheme,
        "calibration_method": prepared.method,
        "options": program.options,
        "program_hash": program.hash(),
        "backend": backend,
        "threads": threads,
        "images": len(next(iter(outputs.values()))) if outputs else 0,
        "outputs": output_facts(program, outputs),
        "output_scale": {name: program.tensors[name].scale for name in program.outputs},
        "weight_bytes": sum(layer.weight_bytes for layer in counters),
        "macs": sum(layer.macs for layer in counters),
        "files": files,
        "seconds": seconds,
        "warnings": prepared.warnings,
    }
