"""The flat op list: plain data that can be saved, printed, hashed, verified and run.

`op.py` has its parts; `ops/` defines what each op means; `reference/` is its living definition.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from r329fast.base.files import write_atomic
from r329fast.base.tabular import html_table
from r329fast.errors import DataError
from r329fast.program.archive import program_writer
from r329fast.program.op import AttrValue, LayerRecord, Op, TensorSpec
from r329fast.program.verification import verify

__all__ = ["AttrValue", "LayerRecord", "Op", "Program", "TensorSpec"]


@dataclass
class Program:
    """A quantised network as data: what `quantize` makes, and `save` keeps as a `.r329` file.

    name, scheme: of the network, and "aqt2021", "compass42" or what an aipu.bin was read as.
    tensors: name -> dtype, shape of one image (feature maps H, W, C), scale and zero point: the
    real value is (integer + zero_point) / scale. ops: the list that a backend carries out, in
    order. layers: the vendor's layers, each with its tensors and the ops that it became. inputs,
    outputs: names of tensors. options: what it was quantised with, as text.
    """

    name: str
    scheme: str
    tensors: dict[str, TensorSpec]
    ops: list[Op]
    layers: list[LayerRecord]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    options: dict[str, str] = field(default_factory=dict)

    def verify(self) -> None:
        """Check every op against the spec; raises ProgramError naming op and rule."""
        verify(self)

    def save(self, path: str) -> None:
        """Write the `.r329` file (see `archive.py`); raises FileError."""
        write_atomic(Path(path), program_writer(self))

    def hash(self) -> str:
        """SHA-256 over everything that decides an output: equal programs, equal hash."""
        digest = hashlib.sha256()
        for op in self.ops:
            digest.update(repr((op.kind, op.inputs, op.outputs, sorted(op.attrs.items()))).encode())
            for name in sorted(op.consts):
                array = op.consts[name]
                digest.update(repr((name, array.dtype.str, array.shape)).encode())
                digest.update(np.ascontiguousarray(array).tobytes())
        for name in sorted(self.tensors):
            digest.update(repr(self.tensors[name]).encode())
        digest.update(repr((self.inputs, self.outputs)).encode())
        return digest.hexdigest()

    def quantize_input(self, x: np.ndarray, name: str | None = None) -> np.ndarray:
        """Float input NHWC float32 [N, ...] -> integers of the input's dtype (spec B.3).

        name: of the input, where there are several (the first one where absent). Values beyond the
        range saturate, NaN becomes 0. Raises DataError when the shape is not [N, *input shape].
        """
        spec = self.tensors[self.inputs[0] if name is None else name]
        q = np.nan_to_num(np.clip(_rounded(spec, x), spec.qmin, spec.qmax), nan=0.0)
        return q.astype(spec.dtype)

    def saturates_input(self, x: np.ndarray, name: str | None = None) -> np.ndarray:
        """Where `quantize_input` cuts a value off at the end of the range: bool [N, ...]."""
        spec = self.tensors[self.inputs[0] if name is None else name]
        q = _rounded(spec, x)
        return np.asarray((q < spec.qmin) | (q > spec.qmax))

    def __repr__(self) -> str:
        return (
            f"<Program {self.name!r}: scheme {self.scheme}, {len(self.layers)} layers, "
            f"{len(self.ops)} ops, hash {self.hash()[:8]}>"
        )

    def _repr_html_(self) -> str:
        rows = []
        for layer in self.layers:
            out = self.tensors[layer.outputs[0]]
            scale = f"{out.scale:.7g}"
            rows.append(
                [
                    layer.name,
                    layer.type,
                    layer.act,
                    out.dtype,
                    list(out.shape),
                    scale,
                    out.zero_point,
                ]
            )
        heads = ["layer", "type", "activation", "dtype", "output", "scale", "zero point"]
        return html_table(repr(self)[1:-1], heads, rows)

    def __str__(self) -> str:
        """The op list, one line per op: what diffs and people read."""
        lines = [f"program {self.name} scheme {self.scheme} hash {self.hash()[:16]}"]
        for index, op in enumerate(self.ops):
            out = self.tensors[op.outputs[0]]
            attrs = " ".join(f"{key}={value}" for key, value in sorted(op.attrs.items()))
            lines.append(
                f"{index:4d} {op.kind:<16} {', '.join(op.outputs)} <- {', '.join(op.inputs)} "
                f"{out.dtype}{list(out.shape)} scale {out.scale:.7g} zp {out.zero_point} {attrs}"
            )
        return "\n".join(lines)


def _rounded(spec: TensorSpec, x: np.ndarray) -> np.ndarray:
    """Real values as whole steps of a tensor's scale, float32; DataError for another shape."""
    if not isinstance(x, np.ndarray):
        raise DataError(
            f"input {spec.name!r}: found a {type(x).__name__}, allowed an array; of several inputs "
            "each by its name: quantize_input(x, name)"
        )
    if x.shape[1:] != spec.shape:
        raise DataError(
            f"input {spec.name!r}: found shape {x.shape}, expected [N, "
            f"{', '.join(map(str, spec.shape))}] (NHWC)"
        )
    product = x.astype(np.float32, copy=False) * np.float32(spec.scale)
    return np.rint(product - np.float32(spec.zero_point))
