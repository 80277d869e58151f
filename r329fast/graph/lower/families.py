"""All families joined: the ONNX operators that are read, the layer types that are written."""

from __future__ import annotations

from r329fast.graph.lower import (
    activation,
    arithmetic,
    conv,
    cuts,
    deconv,
    matrix,
    mean_norm,
    norm,
    normalise,
    pool,
    reduce,
    reshape,
    resize,
    spread,
    unary,
)
from r329fast.graph.lower.operator import LayerWriter, Operator

# ONNX operator -> importer, description, constraints.
OPERATORS: dict[str, Operator] = {
    **activation.OPERATORS,
    **arithmetic.OPERATORS,
    **conv.OPERATORS,
    **cuts.OPERATORS,
    **matrix.OPERATORS,
    **norm.OPERATORS,
    **normalise.OPERATORS,
    **pool.OPERATORS,
    **reshape.OPERATORS,
    **resize.OPERATORS,
    **deconv.OPERATORS,
    **mean_norm.OPERATORS,
    **reduce.OPERATORS,
    **spread.OPERATORS,
    **unary.OPERATORS,
}

# Vendor layer type -> the function that writes such a layer as ONNX nodes.
WRITERS: dict[str, LayerWriter] = {
    **activation.WRITERS,
    **arithmetic.WRITERS,
    **conv.WRITERS,
    **cuts.WRITERS,
    **matrix.WRITERS,
    **norm.WRITERS,
    **normalise.WRITERS,
    **pool.WRITERS,
    **reshape.WRITERS,
    **resize.WRITERS,
    **deconv.WRITERS,
    **mean_norm.WRITERS,
    **reduce.WRITERS,
    **spread.WRITERS,
    **unary.WRITERS,
}
