"""Graph + ranges + scheme -> program: the one function that the room is for."""

from __future__ import annotations

import dataclasses

from r329fast.calibration.ranges import Ranges
from r329fast.errors import UsageError
from r329fast.graph.ir import Graph
from r329fast.program.program import Program
from r329fast.quantization.aqt2021 import Aqt2021
from r329fast.quantization.compass42 import Compass42
from r329fast.quantization.lower.lowering import lower
from r329fast.quantization.options import SCHEMES, Options


def quantize(
    graph: Graph,
    ranges: Ranges,
    scheme: str = "aqt2021",
    options: Options | None = None,
    **fields: object,
) -> Program:
    """Turn a float graph and its calibrated ranges into a verified integer program.

    `fields` are those of `Options` (rounding, quantize_method_for_weight, ...), instead of or on
    top of `options`. Raises UsageError for an unknown scheme, option or value and DataError
    where a tensor has no range.
    """
    names = {field.name for field in dataclasses.fields(Options)}
    for name in fields:
        if name not in names:
            raise UsageError(f"option {name!r}, allowed {', '.join(sorted(names))}", option=name)
    chosen = dataclasses.replace(options or Options(), **fields)  # type: ignore[arg-type]
    if scheme == "aqt2021":
        if chosen.wide:
            raise UsageError(
                f"scheme aqt2021 has 8 bits only, found activation_bits {chosen.activation_bits!r} "
                f"and weight_bits {chosen.weight_bits!r}: take scheme compass42, or leave them out",
                option="scheme",
            )
        return lower(graph, ranges, Aqt2021(chosen))
    if scheme == "compass42":
        return lower(graph, ranges, Compass42(chosen))
    raise UsageError(f"scheme {scheme!r}, allowed {', '.join(SCHEMES)}", option="scheme")
