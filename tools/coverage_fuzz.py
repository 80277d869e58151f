#!/usr/bin/env python3
"""Coverage-guided inputs for the readers: what reaches new lines of r329fast is bent further.

    pip install atheris                                   (wheels for Linux, CPython 3.11 to 3.13)
    tools/coverage_fuzz.py npy --seconds 300              one reader, see --help for the names
    tools/coverage_fuzz.py cfg --corpus kept/             goes on where an earlier run stopped

Optional: CI runs the seeded mutators of `tests/fuzz/`, whose files and readers this takes. Two
inputs in three are bent by those mutators, which know each file's form, the others byte by byte.
Stops at the first fault (exit code 77) and leaves its input as `crash-...` in the working folder.
"""

from __future__ import annotations

import argparse
import importlib
import random
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

_MOST_BYTES = 1 << 20


def _arguments() -> argparse.Namespace:
    from fuzz.targets import TARGETS  # type: ignore[import-not-found]

    names = [target.name for target in TARGETS]
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("target", choices=names, metavar="READER", help=", ".join(names))
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, help="folder of inputs that reached something new")
    return parser.parse_args()


def main() -> int:
    try:
        atheris = importlib.import_module("atheris")
    except ImportError:
        print("atheris is not installed: pip install atheris", file=sys.stderr)
        return 2
    with atheris.instrument_imports(include=["r329fast"], enable_loader_override=False):
        from fuzz.engine import all_targets, mutated  # type: ignore[import-not-found]

        import r329fast  # noqa: F401
        from r329fast.errors import R329Error
    args = _arguments()
    (target,) = all_targets([args.target])
    warnings.simplefilter("ignore")
    folder = Path(tempfile.mkdtemp(prefix="coverage-fuzz-"))
    bases = target.base(folder)
    corpus = args.corpus or folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(bases):
        (corpus / f"base-{number}").write_bytes(data)
    path = folder / target.file

    def bend(data: bytes, size: int, seed: int) -> bytes:
        if seed % 3 == 0:
            return bytes(atheris.Mutate(data, size))
        return bytes(mutated(target, [data], seed, random.Random(seed).randrange(1 << 30))[:size])

    def read(data: bytes) -> None:
        path.write_bytes(data)
        try:
            target.read(path)
        except R329Error as error:
            if error.exit_code not in (2, 3):
                raise

    words: list[Any] = [sys.argv[0], str(corpus), f"-max_total_time={args.seconds}",
                        f"-seed={args.seed}", f"-max_len={_MOST_BYTES}", "-timeout=20",
                        "-rss_limit_mb=2048", "-print_final_stats=1", "-verbosity=1"]  # fmt: skip
    atheris.Setup(words, read, custom_mutator=bend)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
