"""What the first run of an installation shows while kernels are compiled."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from r329fast.cli.output import Console

_EVERY = 0.2  # seconds between two looks


@contextmanager
def compile_progress(out: Console) -> Iterator[None]:
    """Say that kernels are compiled, where none are kept yet; count them on a terminal."""
    from r329fast.kernels import CACHE_DIR, KERNELS

    if any(Path(CACHE_DIR).glob("**/*.nbc")):
        yield
        return
    out.print("first run: kernels are compiled, once for this installation, in about a minute")
    if not sys.stderr.isatty():
        yield
        return
    done = threading.Event()

    def show() -> None:
        while not done.wait(_EVERY):
            ready = sum(kernel.ready for kernel in KERNELS)
            sys.stderr.write(f"\rcompiling kernels: {ready} of at most {len(KERNELS)}\x1b[K")
            sys.stderr.flush()

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        sys.stderr.write("\r\x1b[K")
