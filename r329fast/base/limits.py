"""What a file may ask of this machine. Each limit holds until its environment variable raises it.

The limits are far above what networks for this NPU, and their image sets, need; they keep a small
file from taking gigabytes or minutes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from r329fast.errors import MachineError, UsageError

_MB = 1 << 20


@dataclass(frozen=True)
class Limit:
    """A limit by the name of its environment variable; `unit` is what the number counts."""

    variable: str
    default: int
    unit: str

    def get(self) -> int:
        """The limit in force; UsageError for a variable that is no positive number."""
        text = os.environ.get(self.variable, "").strip()
        if not text:
            return self.default
        if not (text.isascii() and text.isdigit()) or len(text) > 15 or not int(text):
            raise UsageError(
                f"{self.variable}: found {text[:40]!r}, allowed: a number of {self.unit} from 1"
            )
        return int(text)

    def bytes(self) -> int:
        """A limit in MB as bytes."""
        return self.get() * _MB

    def advice(self) -> str:
        """The advice after a number that is too large."""
        return f"allowed {self.get():,} {self.unit} ({self.variable} raises it)"


# Each is the whole of what one file, or one entry of an archive, may hold once it is unpacked.
CFG = Limit("R329FAST_MAX_CFG_MB", 1, "MB")  # cfg, hardware TOML
TEXT = Limit("R329FAST_MAX_TEXT_MB", 64, "MB")  # labels, class names, name maps, CSV
RECORD = Limit("R329FAST_MAX_RECORD_MB", 32, "MB")  # JSON and TOML, many times larger in memory
CALIBRATION = Limit("R329FAST_MAX_RANGES_MB", 16, "MB")  # max_min dicts
IMAGE = Limit("R329FAST_MAX_IMAGE_MB", 256, "MB")  # an image file as it is stored
PIXELS = Limit("R329FAST_MAX_MEGAPIXELS", 64, "megapixels")  # 192 MB once decoded
TENSOR = Limit("R329FAST_MAX_TENSOR_MB", 512, "MB")  # an array read whole: dumps, results
PROGRAM = Limit("R329FAST_MAX_PROGRAM_MB", 512, "MB")  # all constants of a .r329
ACTIVATION = Limit("R329FAST_MAX_ACTIVATION_MB", 256, "MB")  # one tensor of one image
OPS = Limit("R329FAST_MAX_OPS", 50_000, "ops")  # of a program; an op of n inputs counts n - 1 times
MEMORY = Limit("R329FAST_MAX_MEMORY_MB", 1024, "MB")  # that a thread works in, or tables of an op
AXIS = Limit("R329FAST_MAX_AXIS", 1 << 22, "elements")  # of one axis of a tensor of a program
MODEL = Limit("R329FAST_MAX_MODEL_MB", 1024, "MB")  # an ONNX file with its external data
CONSTANTS = Limit("R329FAST_MAX_FOLDED_MB", 256, "MB")  # what folding may add to a model's own
NODES = Limit("R329FAST_MAX_NODES", 100_000, "nodes")  # of a graph, functions written out
DIRECTORY = Limit("R329FAST_MAX_DIRECTORY_MB", 64, "MB")  # an archive's list of its files
UNPACKED = Limit("R329FAST_MAX_UNPACKED_MB", 16384, "MB")  # a compressed tar, on disk
RATIO = Limit("R329FAST_MAX_RATIO", 50, "times its size")  # compressed tars, constants


def check_memory(what: str, size: int) -> None:
    """Raises MachineError where something asks for more bytes than MEMORY allows."""
    if size > MEMORY.bytes():
        raise MachineError(f"{what} needs {-(-size >> 20):,} MB, {MEMORY.advice()}")
