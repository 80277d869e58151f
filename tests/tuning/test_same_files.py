"""The same files whatever the number of threads, of the simulator and of the BLAS library."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from r329fast.deploy import bundled

ROOT = Path(__file__).resolve().parents[2]


def _tuned(out: Path, threads: int) -> dict[str, object]:
    """File -> its content, without times and without the folder's name."""
    words = [
        "tune", str(bundled.path("net.onnx")), "--images", str(bundled.path("calib.zip")),
        "--limit", "24", "--allow", "equalise,bias,rounding", "--out", str(out), "--threads",
        str(threads),
    ]  # fmt: skip
    variables = {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    subprocess.run(
        [sys.executable, "-m", "r329fast.cli.main", *words], env=environment, check=True,
        stdout=subprocess.DEVNULL, timeout=600,
    )  # fmt: skip
    found: dict[str, object] = {}
    for path in out.iterdir():
        if path.suffix != ".html":
            found[path.name] = path.read_bytes().replace(str(out).encode(), b"OUT")
    record = json.loads((out / "tune.json").read_text())
    assert record.pop("time")["threads"] == threads
    return {**found, "tune.json": record}


def test_threads_change_nothing(tmp_path: Path) -> None:
    first, second = (_tuned(tmp_path / str(threads), threads) for threads in (1, 2))
    assert set(first) >= {"tuned.onnx", "tuned_max.npy", "tuned_min.npy", "tuned.cfg"}
    assert first == second
