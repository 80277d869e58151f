"""The flat op list: plain data that can be saved, printed, hashed, verified and run.

Shapes are per image (no batch axis), layouts NHWC as in the graph. A real value is
x = (q + zero_point) / scale for every tensor (spec B.1; zero_point is 0 in scheme aqt2021).
`spec.py` says what each op means; `reference/` is its living definition.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from r329fast.errors import DataError

AttrValue = int | str | tuple[int, ...]


@dataclass(frozen=True)
class TensorSpec:
    """One tensor: shape per image, dtype int8 or uint8, range [qmin, qmax], scale, zero point."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float
    zero_point: int = 0
    qmin: int = -128
    qmax: int = 127

    @property
    def elements(self) -> int:
        """Number of elements of one image (one byte each)."""
        return math.prod(self.shape)

    def dequantize(self, q: np.ndarray) -> np.ndarray:
        """Real values of integers `q`, float32."""
        shifted = q.astype(np.float32) + np.float32(self.zero_point)
        return shifted / np.float32(self.scale)


@dataclass
class Op:
    """One step. `layer` is the vendor layer that it belongs to (a layer may need several ops)."""

    kind: str
    layer: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: dict[str, AttrValue] = field(default_factory=dict)
    consts: dict[str, np.ndarray] = field(default_factory=dict)

    def integer(self, name: str) -> int:
        value = self.attrs[name]
        assert isinstance(value, int), f"{self.layer}.{name}"
        return value

    def integers(self, name: str) -> tuple[int, ...]:
        value = self.attrs[name]
        assert isinstance(value, tuple), f"{self.layer}.{name}"
        return value

    def text(self, name: str) -> str:
        value = self.attrs[name]
        assert isinstance(value, str), f"{self.layer}.{name}"
        return value


@dataclass(frozen=True)
class LayerRecord:
    """A vendor layer in IR order; `ops` is its half-open range in `Program.ops`.

    type: the vendor's layer type; act: the fused activation; detail: kernel, pads, ... as the
    graph had them (for the vendor's files and for tables).
    """

    name: str
    type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    ops: tuple[int, int]
    act: str = "NONE"
    detail: Mapping[str, AttrValue] = field(default_factory=dict)


@dataclass
class Program:
    """Everything a backend needs, and everything a table or dump wants to name."""

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
        from r329fast.program.spec import verify

        verify(self)

    def save(self, path: str) -> None:
        """Write the `.r329` file (see `storage.py`); raises FileError."""
        from r329fast.program.storage import save_program

        save_program(self, path)

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

        Raises DataError when the shape is not [N, *input shape].
        """
        spec = self.tensors[self.inputs[0] if name is None else name]
        if x.shape[1:] != spec.shape:
            raise DataError(
                f"input {spec.name!r}: found shape {x.shape}, expected [N, "
                f"{', '.join(map(str, spec.shape))}] (NHWC)"
            )
        product = x.astype(np.float32, copy=False) * np.float32(spec.scale)
        q = np.rint(product - np.float32(spec.zero_point))
        q = np.nan_to_num(np.clip(q, spec.qmin, spec.qmax), nan=0.0)
        return q.astype(spec.dtype)

    def __str__(self) -> str:
        """The op list, one line an op: what diffs and people read."""
        lines = [f"program {self.name} scheme {self.scheme} hash {self.hash()[:16]}"]
        for index, op in enumerate(self.ops):
            out = self.tensors[op.outputs[0]]
            attrs = " ".join(f"{key}={value}" for key, value in sorted(op.attrs.items()))
            lines.append(
                f"{index:4d} {op.kind:<16} {', '.join(op.outputs)} <- {', '.join(op.inputs)} "
                f"{out.dtype}{list(out.shape)} scale {out.scale:.7g} zp {out.zero_point} {attrs}"
            )
        return "\n".join(lines)
