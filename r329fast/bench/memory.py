"""Peak memory of a simulation, in a process of its own.

    python -m r329fast.bench.memory MODEL.r329 BATCH THREADS

prints one JSON object. What counts is the resident set above what it was after the imports.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from r329fast.errors import R329Error
from r329fast.program.program import Program

_MB = 1e6


class MemoryFiguresError(R329Error):
    """This system does not tell a process's peak resident set."""

    kind = "memory"


def peak_memory(program: Program, batch: int, threads: int = 1) -> dict[str, float]:
    """Megabytes (10**6 bytes) of a run of `batch` images in a new process.

    Keys: `import_mb` (resident after the imports), `peak_mb`, `above_import_mb`, and
    `weights_mb`, `input_mb` for comparison. Kernels must be in the compile cache, or compiling
    counts too: run the program once before. Raises MemoryFiguresError where /proc is missing.
    """
    if not Path("/proc/self/status").exists():
        raise MemoryFiguresError("peak memory is read from /proc/self/status, which is not there")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.r329"
        program.save(str(path))
        command = [sys.executable, "-m", __name__, str(path), str(batch), str(threads)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise MemoryFiguresError(f"the measuring process ended with {done.returncode}: {last}")
    result: dict[str, float] = json.loads(done.stdout)
    return result


def _status(key: str) -> float:
    """A figure of /proc/self/status in megabytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024 / _MB
    raise MemoryFiguresError(f"/proc/self/status has no {key}")


def _measure(path: str, batch: int, threads: int) -> dict[str, Any]:
    import r329fast.kernels  # noqa: F401  the imports that every run needs
    from r329fast.program.storage import load_program
    from r329fast.simulator.simulator import Simulator

    imported = _status("VmRSS")
    program = load_program(Path(path))
    shape = program.tensors[program.inputs[0]].shape
    kind = program.tensors[program.inputs[0]].dtype
    x = np.random.default_rng(0).integers(0, 128, (batch, *shape), dtype=kind)
    simulator = Simulator(program, threads=threads)
    simulator.run(x)
    peak = _status("VmHWM")
    weights = sum(values.nbytes for op in program.ops for values in op.consts.values())
    return {
        "import_mb": imported,
        "peak_mb": peak,
        "above_import_mb": peak - imported,
        "weights_mb": weights / _MB,
        "input_mb": x.nbytes / _MB,
    }


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
