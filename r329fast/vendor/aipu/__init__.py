"""The vendor's compiled binary (`aipu.bin`): what is in it, as data and as a program."""

from r329fast.base.lazy import loader

_HOMES = {
    "diff_programs": "diff",
    "facts_of": "facts",
    "load_aipu": "load",
    "read_aipu_bin": "container",
}

__all__ = ["diff_programs", "facts_of", "load_aipu", "read_aipu_bin"]

__getattr__ = loader(__name__, _HOMES)
