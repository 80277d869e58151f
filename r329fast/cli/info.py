"""`r329fast info`: versions, CPU target and kernel path, cache; `--warmup` fills the cache."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import time

from r329fast.base.machine import cpu_model
from r329fast.cli.output import Console
from r329fast.version import __version__

NAME = "info"
HELP = "versions, CPU, kernel path, cache"
_PACKAGES = ("numpy", "numba", "llvmlite", "onnx", "onnxruntime", "opencv-python-headless")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "What this installation runs with. R329FAST_ISA forces a kernel path."
    parser.add_argument(
        "--warmup", action="store_true", help="compile all kernels into the cache (images, CI)"
    )


def execute(args: argparse.Namespace, out: Console) -> int:
    from r329fast.kernels import CACHE_DIR, ISA

    facts: dict[str, object] = {
        "r329fast": __version__,
        "python": platform.python_version(),
        **{name: _version(name) for name in _PACKAGES},
        "machine": platform.machine(),
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "kernel path": ISA.name,
        "cache": CACHE_DIR,
    }
    if args.warmup:
        from r329fast.kernels.warm_up import warmup

        start = time.perf_counter()
        warmup()
        facts["warmup seconds"] = round(time.perf_counter() - start, 2)
    out.table(["", "value"], [[name, str(value)] for name, value in facts.items()])
    out.result({name.replace(" ", "_"): value for name, value in facts.items()})
    return 0


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
