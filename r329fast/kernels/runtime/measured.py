"""What was measured on this machine, once, and is kept beside the compiled kernels.

Choices of speed (direct or Winograd, bytes of a block, pieces of an op) follow it; the integers do
not depend on it. The file stands in the folder of the kernels, which is this user's alone and
named by a hash of all sources; its own name holds CPU and kernel path, its content a checksum.
R329FAST_MEASURED=0 leaves the built-in constants in place.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from r329fast.base.files import write_text
from r329fast.base.machine import cpu_model
from r329fast.errors import R329Error, UsageError
from r329fast.kernels.runtime.cache import CACHE_DIR
from r329fast.kernels.runtime.cache_files import say_once
from r329fast.kernels.runtime.isa import ISA, JIT
from r329fast.version import __version__

VARIABLE = "R329FAST_MEASURED"
_MOST_BYTES = 4096
_MOST_BUDGET = 1 << 30  # no cache holds more
Terms = tuple[float, float, float]


@dataclass(frozen=True)
class Measured:
    """gmac: 10^9 products per second of the bare tile; cache, memory: 10^9 bytes per second of a
    copy in L2 and beyond; direct, winograd: ns for one cycle of each term of the model in
    conv/choice.py; budget: bytes of activations of an op that caches hold; wake_us: microseconds
    until a thread that sleeps has begun.
    """

    gmac: float
    cache: float
    memory: float
    direct: Terms
    winograd: Terms
    budget: int
    wake_us: float


_lock = threading.Lock()
_held: list[Measured | None] = []


def wanted() -> bool:
    """Whether R329FAST_MEASURED allows measured values; raises UsageError on a wrong one."""
    value = os.environ.get(VARIABLE, "1") or "1"
    if value not in ("0", "1"):
        raise UsageError(f"{VARIABLE}={value}: allowed 0, 1", option=VARIABLE)
    return value == "1"


def measured() -> Measured | None:
    """What this machine's file holds; None without one, or where R329FAST_MEASURED is 0.

    A damaged file is one warning, and counts as none.
    """
    if not wanted():
        return None
    with _lock:
        if not _held:
            _held.append(_read(measured_file()))
        return _held[0]


def is_missing() -> bool:
    """Whether measuring is wanted, kernels are compiled, and nobody has measured this machine."""
    return JIT and wanted() and measured() is None


def measured_file(folder: str = CACHE_DIR) -> Path:
    """Where this CPU's values stand, for this kernel path and version."""
    key = "\0".join((cpu_model(), ISA.name, __version__))
    return Path(folder) / f"machine-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"


def keep(values: Measured) -> Path:
    """Use these values from now on, and write them for later processes; raises FileError."""
    with _lock:
        _held[:] = [values]
    body = asdict(values)
    path = measured_file()
    write_text(path, json.dumps({"values": body, "sha256": _digest(body)}) + "\n")
    return path


def forget() -> None:
    """Read the file again when it is next asked for."""
    with _lock:
        _held.clear()


def _digest(body: Any) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _read(path: Path) -> Measured | None:
    try:
        with open(path, "rb") as stream:
            text = stream.read(_MOST_BYTES)
    except OSError:
        return None
    with suppress(ValueError, TypeError, KeyError, OverflowError, RecursionError, R329Error):
        record = json.loads(text)
        body = record["values"]
        if record["sha256"] == _digest(body):
            terms = {name: tuple(map(float, body[name])) for name in ("direct", "winograd")}
            values = Measured(**{**body, **terms})
            if all(len(term) == 3 for term in terms.values()) and _sound(values):
                return values
    say_once(
        f"{path}: damaged, the built-in constants serve instead of what was measured "
        "(r329fast info --measure writes it anew)"
    )
    return None


def _sound(values: Measured) -> bool:
    """Whether all numbers are positive and finite (those of terms may be zero), bytes whole."""
    single = (values.gmac, values.cache, values.memory, values.budget, values.wake_us)
    terms = (*values.direct, *values.winograd)
    whole = type(values.budget) is int and values.budget <= _MOST_BUDGET
    return (
        whole
        and all(math.isfinite(x) and x > 0 for x in single)
        and all(math.isfinite(x) and x >= 0 for x in terms)
    )
