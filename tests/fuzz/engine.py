"""Tries many inputs in forked children, each under a clock and a limit of memory."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fuzz.targets import TARGETS, Target

SECONDS, MEGABYTES = 20, 2048
_FORM = struct.Struct("<iBfi")  # number, outcome, seconds, peak MB
_FINE, _REFUSED, _FAULT = range(3)


@dataclass
class Outcome:
    """What became of the inputs of one reader; `faults` are what must not be."""

    target: str
    tried: int = 0
    read: int = 0
    refused: int = 0
    slowest: float = 0.0
    peak: int = 0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.target:<10}{self.tried:>7} tried {self.read:>7} read {self.refused:>7} refused "
            f"{len(self.faults):>4} faults, slowest {self.slowest:5.2f} s, peak {self.peak} MB"
        )


def mutated(target: Target, bases: list[bytes], seed: int, number: int) -> bytes:
    """Input `number` of a target: the same for the same seed, whatever was tried before."""
    rng = random.Random(f"{seed} {target.name} {number}")
    data = rng.choice(bases)
    # archives other than zips have no structure of their own here
    try:
        return target.bend(data, rng)
    except (ValueError, KeyError, TypeError, OverflowError, UnicodeError, OSError, IndexError):
        return rng.randbytes(0) + data[: rng.randrange(len(data) + 1)]
    except Exception:  # a message that cannot be written, a zip that is none
        from fuzz.mutators import damaged

        return damaged(data, rng)


def fuzz(
    target: Target, count: int, seed: int, batch: int = 200, keep: Path | None = None,
    seconds: float | None = None,
) -> Outcome:  # fmt: skip
    """Try `count` inputs (or as many as `seconds` allow); inputs with faults go to `keep`."""
    outcome = Outcome(target.name)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        bases = target.base(Path(folder))
        next_one = 0
        while next_one < count:
            if seconds is not None and time.monotonic() - begun > seconds:
                break
            numbers = range(next_one, min(next_one + batch, count))
            next_one = _batch(target, bases, numbers, seed, Path(folder), outcome, keep)
    return outcome


def _batch(
    target: Target, bases: list[bytes], numbers: range, seed: int, folder: Path, outcome: Outcome,
    keep: Path | None,
) -> int:  # fmt: skip
    """One child's inputs; returns the number to go on with, behind one that ended the child."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        code = 9
        try:
            _child(target, bases, numbers, seed, folder, write_end)
            code = 0
        finally:
            os._exit(code)
    os.close(write_end)
    last = numbers.start - 1
    with os.fdopen(read_end, "rb") as stream:
        while len(head := stream.read(_FORM.size)) == _FORM.size:
            number, kind, spent, peak = _FORM.unpack(head)
            length = struct.unpack("<I", stream.read(4))[0]
            words = stream.read(length).decode("utf-8", "replace")
            last = number
            outcome.tried += 1
            outcome.slowest = max(outcome.slowest, spent)
            outcome.peak = max(outcome.peak, peak)
            outcome.read += kind == _FINE
            outcome.refused += kind == _REFUSED
            if kind == _FAULT:
                _fault(target, bases, number, seed, outcome, words, keep)
    _, status = os.waitpid(child, 0)
    if last == numbers.stop - 1 and status == 0:
        return numbers.stop
    if last < numbers.stop - 1:
        last += 1
        outcome.tried += 1
        why = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "the child ended"
        _fault(target, bases, last, seed, outcome, why, keep)
    return last + 1


def _fault(
    target: Target, bases: list[bytes], number: int, seed: int, outcome: Outcome, words: str,
    keep: Path | None,
) -> None:  # fmt: skip
    outcome.faults.append(f"{target.name} seed {seed} number {number}: {words}")
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        name = f"{target.name}-{seed}-{number}-{target.file}".replace(" ", "_")
        (keep / name).write_bytes(mutated(target, bases, seed, number))


def _child(
    target: Target, bases: list[bytes], numbers: range, seed: int, folder: Path, pipe: int
) -> None:
    _silent()
    warnings.simplefilter("ignore")
    # address space beyond what the parent's libraries have reserved already
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = used + MEGABYTES * (1 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    place = Path(tempfile.mkdtemp(dir=folder))
    for number in numbers:
        path = place / "in" / target.file
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(mutated(target, bases, seed, number))
        signal.alarm(SECONDS)  # without a handler: it ends the child
        begun = time.perf_counter()
        kind, words = _try(target, path)
        spent = time.perf_counter() - begun
        signal.alarm(0)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        body = words.encode()[:2000]
        os.write(pipe, _FORM.pack(number, kind, spent, peak) + struct.pack("<I", len(body)) + body)
        shutil.rmtree(place / "in", ignore_errors=True)


def _try(target: Target, path: Path) -> tuple[int, str]:
    from r329fast.errors import R329Error

    try:
        target.read(path)
    except R329Error as error:
        if error.exit_code in (2, 3) and "\n" not in error.message:
            return _REFUSED, ""
        return _FAULT, f"{type(error).__name__}, exit {error.exit_code}: {error.message!r}"
    except MemoryError:
        return _FAULT, f"more than {MEGABYTES} MB: {_place()}"
    except BaseException as error:
        return _FAULT, f"{type(error).__name__}: {str(error)[:300]} {_place()}"
    return _FINE, ""


def _place() -> str:
    frames = traceback.extract_tb(sys.exc_info()[2])
    return " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in frames[::-1][:5])


def _silent() -> None:
    """What image libraries print themselves goes nowhere."""
    with contextlib.suppress(OSError):
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, 1)
        os.dup2(sink, 2)


def all_targets(names: list[str]) -> Iterator[Target]:
    """The targets of these names, or all."""
    for target in TARGETS:
        if not names or target.name in names:
            yield target
