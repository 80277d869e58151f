"""Programs from files of either kind: our own `.r329`, or the vendor's aipu.bin."""

from __future__ import annotations

from pathlib import Path

from r329fast.base.reading import open_regular
from r329fast.calibration.ranges import Ranges
from r329fast.errors import FileError, UsageError
from r329fast.graph import load_model
from r329fast.graph.ir import Graph
from r329fast.program.program import Program
from r329fast.program.storage import load_program
from r329fast.vendor.aipu.container import MAGIC, is_aipu

_ZIP = b"PK\x03\x04"


def load_aipu(
    path: str | Path,
    *,
    max_file: str | Path | None = None,
    min_file: str | Path | None = None,
    model: str | Path | Graph | None = None,
    rounding: str = "half_even",
) -> Program:
    """The program of a vendor's aipu.bin (Z1_0701, graph version 0.4).

    Without more, layers are named by op and RO entry (`conv3`) and every scale is 1. max_file,
    min_file: the calibration dicts that it was built from, which give names and scales; model: its
    float ONNX (or what `load_model` made of it), whose layers, names and input layout the program
    then has, with scales from the dicts or recovered from the biases (docs/aipu.md). rounding: of
    shifts, as in `Options`.

    Raises FileError for a damaged file or dicts that are not its own, DataError for another model,
    UnsupportedModelError with the words found for a form that is not known, and UsageError.
    """
    if (max_file is None) != (min_file is None):
        raise UsageError("--max and --min (max_file, min_file) go together, found only one of them")
    # here, not above: whoever only asks what a file is needs none of them
    from r329fast.vendor.aipu.model import on_model
    from r329fast.vendor.aipu.names import with_ranges
    from r329fast.vendor.aipu.program import load_program_of

    program = load_program_of(path, rounding)
    ranges = None
    if max_file is not None and min_file is not None:
        ranges = Ranges.load_max_min(Path(max_file), Path(min_file))
    if model is not None:
        graph = model if isinstance(model, Graph) else load_model(str(model))
        return on_model(program, graph, ranges).program
    return program if ranges is None else with_ranges(program, ranges)


def is_aipu_file(path: str | Path) -> bool:
    """Whether a file is an aipu.bin, by its first bytes."""
    return is_aipu(_head(path))


def is_program(path: str | Path) -> bool:
    """Whether a file is a program: a `.r329` by name or first bytes (a zip's), or an aipu.bin."""
    if Path(path).suffix == ".r329":
        return True
    head = _head(path)
    return head.startswith(_ZIP) or is_aipu(head)


def read_program(path: str | Path, float_model: str | Path | Graph | None = None) -> Program:
    """The program of a `.r329` or aipu.bin file; the latter on its float model where there is one.

    Raises what `load_program` and `load_aipu` raise.
    """
    return load_aipu(path, model=float_model) if is_aipu_file(path) else load_program(str(path))


def _head(path: str | Path) -> bytes:
    """The first bytes of a regular file, none of anything else."""
    try:
        with open_regular(path) as stream:
            return stream.read(len(MAGIC))
    except (FileError, OSError):
        return b""
