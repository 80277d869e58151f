"""What is known of a layer type, and the activation and weights that a layer may have.

The rows stand in one file per family beside this one; `LAYER_TYPES` joins them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from math import prod

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Act:
    """An activation: its `kind` (a row of `graph/activations.py`) with its parameters.

    alpha: slope of LEAKYRELU, alpha of ELU / CELU / SELU / HARDSIGMOID / THRESHOLDEDRELU, lambd of
    SHRINK; beta: of HARDSIGMOID, gamma of SELU, bias of SHRINK; clip_min, clip_max: bounds of CLIP
    (RELU6 is a kind of its own) and HARDSIGMOID; tanh_gelu: GELU's tanh form.
    PRELU's slopes are the layer constant "slope" (C,).
    """

    kind: str = "NONE"
    alpha: float = 0.0
    beta: float = 0.0
    clip_min: float = 0.0
    clip_max: float = 0.0
    tanh_gelu: bool = False


NO_ACT = Act()


@dataclass(frozen=True)
class Attrs:
    """The attributes of a layer: one class for each form, named in the type's row."""


class Weights(Enum):
    """The form of a layer's constant "weights"."""

    NONE = 0
    WINDOW = 1  # (O, kh, kw, I/group)
    DEPTHWISE = 2  # (C*multiplier, kh, kw, 1)
    MATRIX = 3  # (out, in)
    CHANNEL = 4  # (C,): one factor for each channel
    NORM = 5  # one factor for each element behind a statistic, or for each channel
    TRANSPOSED = 6  # (O/group, kh, kw, I)


# Question to a layer's attributes whose answer may be a plain fact of its type.
Sign = bool | Callable[[Attrs], bool | None] | None
YesNo = bool | Callable[[Attrs], bool]
# (shape of the first input, shape of the output, multiply-accumulates, groups) -> ops_count
OpsCount = Callable[[Shape, Shape, int, int], int]


def nothing(source: Shape, output: Shape, macs: int, group: int) -> int:
    """ops_count of a layer that only moves bytes."""
    return 0


def each_output(source: Shape, output: Shape, macs: int, group: int) -> int:
    """ops_count: one for each output element."""
    return prod(output)


def each_output_twice(source: Shape, output: Shape, macs: int, group: int) -> int:
    """ops_count: two for each output element."""
    return 2 * prod(output)


def each_input(source: Shape, output: Shape, macs: int, group: int) -> int:
    """ops_count: one for each input element."""
    return prod(source)


_SUMS = (Weights.WINDOW, Weights.DEPTHWISE, Weights.MATRIX, Weights.TRANSPOSED)


@dataclass(frozen=True)
class LayerType:
    """Facts of one vendor layer type; consumers ask here instead of naming types.

    attrs: the class of its attributes; weights: the form of its weights; product: multiplies two
    activations (MACs without weights); moves: only puts integers elsewhere, unchanged;
    keeps_scale: its output has the scale, zero point and dtype of its input (spec B.9, B.11);
    bare: a node without a profile record that costs nothing on the NPU; signed: whether its
    output is signed, None where that follows from its inputs (spec B.2); free_range: whether
    another calibrated range could be chosen for its output; ops_count: the vendor's figure in
    graph.json (spec formats.md 5); ops_assumed: no public graph.json shows it, so the figure is
    this project's reading; table_bytes: of a table that it puts into the vendor's `_int8.bin`;
    op: the kind of the op that it becomes with the attributes that it has, "" where its
    lowering has a rule of its own.
    """

    attrs: type[Attrs]
    ops_count: OpsCount
    weights: Weights = Weights.NONE
    product: bool = False
    moves: bool = False
    keeps_scale: YesNo = False
    bare: bool = False
    signed: Sign = None
    free_range: bool = True
    ops_assumed: bool = False
    table_bytes: int = 0
    op: str = ""

    @property
    def linear(self) -> bool:
        """Whether each output is a sum over inputs times weights, plus a bias."""
        return self.weights in _SUMS

    @property
    def weighted(self) -> bool:
        """Whether its constants "weights" and "bias" are parameters of the model."""
        return self.weights is not Weights.NONE

    def keeps(self, attrs: Attrs) -> bool:
        """Whether the output of a layer with these attributes has its input's scale."""
        return self.keeps_scale(attrs) if callable(self.keeps_scale) else self.keeps_scale

    def is_signed(self, attrs: Attrs) -> bool | None:
        """Whether a layer with these attributes is signed; None: as its inputs are."""
        return self.signed(attrs) if callable(self.signed) else self.signed


def moving(attrs: type[Attrs], op: str = "") -> LayerType:
    """The row of a type that only moves integers."""
    return LayerType(attrs, nothing, moves=True, keeps_scale=True, free_range=False, op=op)
