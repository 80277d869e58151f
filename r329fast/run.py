"""`run`: what `aipubuild RUN.cfg` does, with our own simulator: every file it leaves behind."""

from __future__ import annotations

import hashlib
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from r329fast.errors import CfgError
from r329fast.files import make_dir, write_bytes, write_json, write_npy, write_text
from r329fast.pipeline import Prepared, Progress, prepare, read_input
from r329fast.profile import (
    graph_json,
    layer_counters,
    perf_node_count,
    profile_data,
    vendor_log,
)
from r329fast.simulator import Simulator


@dataclass(frozen=True)
class RunResult:
    """What a run made: output arrays [N, ...] by name, the files, and the run record."""

    prepared: Prepared
    outputs: dict[str, np.ndarray]
    files: dict[str, str]
    record: dict[str, object]


def run_cfg(
    cfg: str | Path,
    *,
    out: str | Path | None = None,
    scheme: str | None = None,
    rounding: str | None = None,
    method: str | None = None,
    per_channel: bool | None = None,
    backend: str = "numba",
    threads: int = 1,
    dump: str | Path | None = None,
    progress: Progress | None = None,
) -> RunResult:
    """Parse, calibrate, quantise and (mode run) simulate what a cfg names; write the files.

    out: folder for all that is written, by default the working folder, as the vendor's tool
    does; a relative `outputs` of the cfg then lies below it. In mode build, `outputs` becomes a
    `.r329` program, which is no vendor binary. dump: folder for every layer's integers (.npy).
    Everything is computed before the first file is written, so that a failing run leaves none.
    Raises CfgError, FileError, DataError, UnsupportedModelError, UsageError.
    """
    start = time.perf_counter()
    prepared = prepare(
        cfg,
        scheme=scheme,
        rounding=rounding,
        method=method,
        per_channel=per_channel,
        threads=threads,
        progress=progress,
    )
    ready = time.perf_counter()
    outputs: dict[str, np.ndarray] = {}
    tensors: dict[str, np.ndarray] = {}
    program = prepared.program
    if prepared.config.common.mode == "run":
        feeds = _read_inputs(prepared)
        with closing(Simulator(program, backend=backend, threads=threads)) as simulator:
            if dump is not None:
                names = [name for layer in program.layers for name in layer.outputs]
                tensors = {**feeds, **simulator.run(feeds, keep=names)}
                outputs = {name: tensors[name] for name in program.outputs}
            else:
                outputs = simulator.run(feeds)
    simulated = time.perf_counter()
    folder = Path("." if out is None else out)
    files = _write(prepared, outputs, folder)
    if dump is not None:
        files["dump"] = str(_dump(Path(dump), tensors))
    seconds = {
        "prepare": round(ready - start, 4),
        "simulate": round(simulated - ready, 4),
        "all": round(time.perf_counter() - start, 4),
    }
    record = _record(prepared, outputs, files, backend, threads, seconds)
    record_path = write_json(folder / "run.json", record)
    files["record"] = str(record_path)
    return RunResult(prepared, outputs, files, record)


def _read_inputs(prepared: Prepared) -> dict[str, np.ndarray]:
    program, paths = prepared.program, prepared.config.gbuilder.inputs
    if len(paths) != len(program.inputs):
        raise CfgError(
            f"[GBuilder] inputs: found {len(paths)} files, the network has {len(program.inputs)} "
            f"inputs ({', '.join(program.inputs)})",
            key="inputs",
        )
    return {
        name: read_input(path, program, name)
        for name, path in zip(program.inputs, paths, strict=True)
    }


def _write(prepared: Prepared, outputs: dict[str, np.ndarray], folder: Path) -> dict[str, str]:
    """All files of a run below `folder`; returns what each is -> its path."""
    config, program = prepared.config, prepared.program
    make_dir(folder)
    target = folder / config.gbuilder.outputs
    files = {"outputs": target}
    if config.common.mode == "run":
        joined = b"".join(np.ascontiguousarray(outputs[name]).tobytes() for name in program.outputs)
        write_bytes(target, joined)
        files["profile_data"] = write_bytes(
            folder / "profile_data.bin", profile_data(perf_node_count(program))
        )
    else:
        program.save(str(target))
    files["graph_json"] = write_text(folder / "graph.json", graph_json(program))
    files["max"], files["min"] = prepared.ranges.save_max_min(folder / "max_min", program.name)
    method = prepared.method if prepared.method != "file" else "ts_max_file, ts_min_file"
    files["log"] = write_text(folder / "log.txt", vendor_log(program, method))
    return {name: str(path) for name, path in files.items()}


def _dump(folder: Path, tensors: dict[str, np.ndarray]) -> Path:
    """One .npy a tensor, in execution order; '/' in names becomes '_'; index.json has the names."""
    make_dir(folder)
    index = {}
    for number, (name, array) in enumerate(tensors.items()):
        file = f"{number:04d}_{name.replace('/', '_')}.npy"
        write_npy(folder / file, array)
        index[name] = file
    write_json(folder / "index.json", index)
    return folder


def _record(
    prepared: Prepared,
    outputs: dict[str, np.ndarray],
    files: dict[str, str],
    backend: str,
    threads: int,
    seconds: dict[str, float],
) -> dict[str, object]:
    """run.json: what was run with which settings, and what came out."""
    from r329fast import __version__

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
        "outputs": {
            name: {
                "dtype": program.tensors[name].dtype,
                "shape": list(program.tensors[name].shape),
                "scale": program.tensors[name].scale,
                "zero_point": program.tensors[name].zero_point,
                **(
                    {"sha256": hashlib.sha256(outputs[name].tobytes()).hexdigest()}
                    if name in outputs
                    else {}
                ),
            }
            for name in program.outputs
        },
        "output_scale": {name: program.tensors[name].scale for name in program.outputs},
        "weight_bytes": sum(layer.weight_bytes for layer in counters),
        "macs": sum(layer.macs for layer in counters),
        "files": files,
        "seconds": seconds,
        "warnings": prepared.warnings,
    }
