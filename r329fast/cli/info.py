"""`r329fast info`: versions, CPU, kernel path, cache; `--warmup` fills it, `--measure` measures."""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from r329fast.base.machine import cores, cpu_model
from r329fast.cli.output import Console
from r329fast.version import __version__

if TYPE_CHECKING:
    from r329fast.kernels.runtime.measured import Measured

NAME = "info"
HELP = "versions, CPU, kernel path, cache"
_MOST_PROCESSES = 4  # that compile: each takes about 300 MB
_PACKAGES = ("numpy", "numba", "llvmlite", "onnx", "onnxruntime", "opencv-python-headless")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "What this installation runs with. R329FAST_ISA forces a kernel path. Choices of speed\n"
        "follow what was measured on this machine, once; R329FAST_MEASURED=0 leaves the built-in\n"
        "constants in place. The integers are the same."
    )
    parser.add_argument(
        "--warmup", action="store_true", help="compile all kernels into the cache (images, CI)"
    )
    parser.add_argument(
        "--measure",
        action="store_true",
        help="measure this machine anew (about a second); --warmup and bench do it the first time",
    )


def execute(args: argparse.Namespace, out: Console) -> int:
    from r329fast.kernels import CACHE_DIR, ISA
    from r329fast.kernels.runtime.measured import is_missing, measured, wanted

    facts: dict[str, object] = {
        "r329fast": __version__,
        "python": platform.python_version(),
        **{name: _version(name) for name in _PACKAGES},
        "machine": platform.machine(),
        "cpu": cpu_model(),
        "cores": cores(),
        "kernel path": ISA.name,
        "cache": CACHE_DIR,
    }
    if args.warmup:
        from r329fast.kernels.warm_up import warmup

        start = time.perf_counter()
        warmup(processes=min(cores(), _MOST_PROCESSES))
        facts["warmup seconds"] = round(time.perf_counter() - start, 2)
    if args.measure or (args.warmup and is_missing()):
        from r329fast.kernels.measure import measure

        start = time.perf_counter()
        measure()
        facts["measure seconds"] = round(time.perf_counter() - start, 2)
    known = measured()
    facts["measured"] = _words(known) if known else "no (info --measure)" if wanted() else "off"
    out.table(["", "value"], [[name, str(value)] for name, value in facts.items()])
    if known:
        facts["measured"] = asdict(known)
    out.result({name.replace(" ", "_"): value for name, value in facts.items()})
    return 0


def _words(known: Measured) -> str:
    return (
        f"{known.gmac:.0f} GMAC/s of the bare tile, copies of {known.cache:.0f} GB/s in cache and "
        f"{known.memory:.0f} in memory, blocks of {known.budget >> 20} MB, a thread wakes up in "
        f"{known.wake_us:.0f} us"
    )


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
