"""The flat op list as data: its spec, its checks, its file and its buffer plan."""

from r329fast.program.program import LayerRecord, Op, Program, TensorSpec

__all__ = ["LayerRecord", "Op", "Program", "TensorSpec"]
