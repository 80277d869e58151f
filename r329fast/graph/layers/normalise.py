"""Softmax in its forms and local response normalisation."""

from __future__ import annotations

from dataclasses import dataclass

from r329fast.graph.layers.facts import (
    Attrs,
    LayerType,
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
}
