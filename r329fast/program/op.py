"""The parts of a program: tensors, ops, layers.

Shapes are per image (no batch axis), layouts NHWC as in the graph. A real value is
x = (q + zero_point) / scale for every tensor (spec B.1; zero_point is 0 in scheme aqt2021).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from r329fast.errors import DataError, ProgramError
from r329fast.graph.layers import LAYER_TYPES, LayerType
from r329fast.graph.layers.movement import ConstantAttrs, InputAttrs

# dtype of a tensor -> bytes of an element.
ITEMSIZES = {"int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "int32": 4}

AttrValue = int | str | tuple[int, ...]


@dataclass(frozen=True)
class TensorSpec:
    """One tensor: shape per image, integer dtype, range [qmin, qmax], scale, zero point."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float
    zero_point: int = 0
    qmin: int = -128
    qmax: int = 127

    @property
    def elements(self) -> int:
        """Number of elements of one image."""
        return math.prod(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return ITEMSIZES[self.dtype]

    @property
    def bits(self) -> int:
        """Bits of one element."""
        return 8 * self.itemsize

    @property
    def bytes(self) -> int:
        """Bytes of one image."""
        return self.elements * self.itemsize

    @property
    def lowest(self) -> int:
        """The lowest value of the dtype."""
        return 0 if self.dtype.startswith("u") else -(1 << (8 * self.itemsize - 1))

    @property
    def signed(self) -> bool:
        return not self.dtype.startswith("u")

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
        """An attribute that is an integer; ProgramError where it is none."""
        value = self.attrs.get(name)
        if not isinstance(value, int):
            raise self._not(name, "an integer")
        return value

    def integers(self, name: str) -> tuple[int, ...]:
        """An attribute that is a tuple of integers; ProgramError where it is none."""
        value = self.attrs.get(name)
        if not isinstance(value, tuple):
            raise self._not(name, "integers")
        return value

    def text(self, name: str) -> str:
        """An attribute that is a word; ProgramError where it is none."""
        value = self.attrs.get(name)
        if not isinstance(value, str):
            raise self._not(name, "a word")
        return value

    def _not(self, name: str, allowed: str) -> ProgramError:
        found = self.attrs.get(name, "nothing")
        return ProgramError(
            f"op {self.kind} of layer {self.layer!r}: found {name} {found!r}, allowed: {allowed}",
            layer=self.layer,
        )


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

    @property
    def facts(self) -> LayerType:
        """What is known of the layer's type."""
        if self.type not in LAYER_TYPES:
            raise DataError(
                f"layer {self.name!r}: type {self.type!r} is none of the vendor's; the program can "
                "run, tables and the vendor's files need layers of known types",
                layer=self.name,
            )
        return LAYER_TYPES[self.type]

    def pair(self, key: str) -> tuple[int, int]:
        """Two whole numbers of the detail, such as a kernel; DataError where it has none."""
        value = self.detail.get(key)
        if not (isinstance(value, tuple) and len(value) == 2 and {int} == set(map(type, value))):
            raise DataError(f"layer {self.name!r}: found {key} {value!r}, allowed: two numbers")
        return int(value[0]), int(value[1])

    @property
    def is_input(self) -> bool:
        return self.facts.attrs is InputAttrs

    @property
    def is_source(self) -> bool:
        """Whether it reads nothing: an input or a constant."""
        return self.facts.attrs in (InputAttrs, ConstantAttrs)


class OpList(Protocol):
    """What checks and files need of a `Program`."""

    name: str
    scheme: str
    tensors: dict[str, TensorSpec]
    ops: list[Op]
    layers: list[LayerRecord]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    options: dict[str, str]

    def hash(self) -> str:
        """SHA-256 over everything that decides an output."""
