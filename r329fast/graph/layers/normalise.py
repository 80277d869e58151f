"""Softmax in its forms and local response normalisation."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from r329fast.graph.layers.facts import (
    Attrs,
    LayerType,
    Shape,
    Weights,
    each_input,
    each_output,
    each_output_twice,
)


@dataclass(frozen=True)
class SoftmaxAttrs(Attrs):
    """Softmax and LogSoftmax over one per-image axis."""

    axis: int


@dataclass(frozen=True)
class LrnAttrs(Attrs):
    """x / (bias + alpha/size * sum of squares over `size` channels) ** beta."""

    size: int
    alpha: float
    beta: float
    bias: float


@dataclass(frozen=True)
class NormAttrs(Attrs):
    """LayerNorm, InstanceNorm, GroupNorm: (x - mean) / sqrt(variance + epsilon) * weights + bias.

    axis: the first of the normalised per-image axes, which are the last ones; groups: equal parts
    of the channels, each with a mean of its own (C for InstanceNorm). Constants "weights" and
    "bias": one value for each element behind a mean, or (C,).
    """

    axis: int
    groups: int = 1
    epsilon: float = 1e-5
    one_shift: bool = False  # all channels have one (GroupNorm, spec B.17)


@dataclass(frozen=True)
class L2NormAttrs(Attrs):
    """Normalization L2: x / sqrt(sum of squares over `axes`)."""

    axes: tuple[int, ...]


@dataclass(frozen=True)
class ArgAttrs(Attrs):
    """ArgMinMax: where the extreme of `axis` lies; method MAX or MIN; the axis stays, of size 1."""

    axis: int
    method: str = "MAX"
    last: bool = False


@dataclass(frozen=True)
class TopKAttrs(Attrs):
    """The k largest (or smallest) of `axis` in order, and where they lie; two outputs."""

    axis: int
    k: int
    largest: bool = True


def _four_each(source: Shape, output: Shape, macs: int, group: int) -> int:
    """Mean, difference, square and scale of each element."""
    return 4 * prod(source)


NORM_TABLE_BYTES = 386  # 193 int16
SOFTMAX_TABLE_BYTES = 1024  # 256 int32

TYPES = {
    "Softmax": LayerType(
        SoftmaxAttrs,
        each_output_twice,
        signed=False,
        free_range=False,
        table_bytes=SOFTMAX_TABLE_BYTES,
    ),
    "LogSoftmax": LayerType(
        SoftmaxAttrs, each_output_twice, signed=True, free_range=False, ops_assumed=True
    ),
    "LRN": LayerType(LrnAttrs, each_output, ops_assumed=True),
    **dict.fromkeys(
        ("LayerNorm", "InstanceNorm", "GroupNorm"),
        LayerType(
            NormAttrs,
            _four_each,
            Weights.NORM,
            signed=True,
            ops_assumed=True,
            table_bytes=NORM_TABLE_BYTES,
        ),
    ),
    "Normalization": LayerType(L2NormAttrs, each_output_twice, ops_assumed=True),
    "ArgMinMax": LayerType(ArgAttrs, each_input, free_range=False, ops_assumed=True),
    "TopK": LayerType(TopKAttrs, each_input, free_range=False, ops_assumed=True),
}
