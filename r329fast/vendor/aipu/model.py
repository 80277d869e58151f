"""A binary on its float model: the model's layers and names, the binary's constants.

Layers are matched by their weights, scales come from the biases (`recover.py`) or from the
vendor's dicts; then the model is quantised for its structure and every constant replaced by the
binary's. The result runs on the model's own input layout (the builder's Transposes in front are
gone), has real scales, and can be compared with the float network layer by layer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from r329fast.calibration.ranges import Ranges
from r329fast.errors import DataError
from r329fast.graph.ir import Graph
from r329fast.program.program import Op, Program
from r329fast.quantization import quantize
from r329fast.quantization.aqt2021 import Aqt2021
from r329fast.quantization.options import Options
from r329fast.vendor.aipu.matching import Matched, Matching, is_swapped, match
from r329fast.vendor.aipu.program import SCALES, SOURCE
from r329fast.vendor.aipu.recover import Scale, recover_scales, scale_sources

_LIKENESS = 0.97  # share of equal weights from which a layer is the same one
_LINEAR = ("Convolution", "DepthwiseConv", "FullyConnected")
_UNKNOWN = 1.0


@dataclass(frozen=True)
class OnModel:
    """program: see above; ranges: of every tensor; scales: where they come from."""

    program: Program
    ranges: Ranges
    scales: dict[str, Scale]


def on_model(binary: Program, graph: Graph, given: Ranges | None = None) -> OnModel:
    """Put a binary (as the reader gives it) on its float model.

    given: the ranges of the vendor's dicts, taken for the tensors that they name. Raises DataError
    where the model is not the binary's: layers without a partner, other weights, other windows.
    """
    options = Options(rounding=binary.options["rounding"])
    anything = Ranges({name: (-1.0, 1.0) for layer in graph for name in layer.outputs})
    shape = quantize(graph, anything, "aqt2021", options)
    matching = match(shape, binary)
    _same_network(matching)
    theirs = {pair.ours.layer: pair.theirs for pair in matching.pairs}
    scales = recover_scales(graph, theirs, _weight_scales(graph, shape, options))
    unsigned = _unsigned(graph, shape, matching, binary)
    ranges = {}
    for layer in graph:
        for name in layer.outputs:
            scale = scales[name].value if name in scales else _UNKNOWN
            high = (255 if name in unsigned else 127) / scale
            ranges[name] = (0.0 if name in unsigned else -high, high)
            if given is not None and name in given:
                ranges[name] = given[name]
    found = Ranges(ranges)
    program = quantize(graph, found, "aqt2021", options)
    return OnModel(_with_constants(program, binary, match(program, binary)), found, scales)


def _same_network(matching: Matching) -> None:
    alone = [f"{op.kind} {op.layer!r}" for op in matching.only_ours]
    others = [f"{op.kind} {op.layer!r}" for op in matching.only_theirs]
    if alone or others:
        raise DataError(
            f"the model is not the binary's: {len(alone)} of its layers have no partner "
            f"({', '.join(alone[:3])}), {len(others)} of the binary's have none "
            f"({', '.join(others[:3])})"
        )
    for pair in matching.pairs:
        if pair.likeness < _LIKENESS:
            raise DataError(
                f"the model is not the binary's: {pair.likeness:.1%} of the weights of "
                f"{pair.ours.layer!r} are those of {pair.theirs.layer}, expected "
                f"{_LIKENESS:.0%} or more"
            )


def _weight_scales(graph: Graph, program: Program, options: Options) -> dict[str, np.ndarray]:
    scheme = Aqt2021(options)
    result = {}
    for index, layer in enumerate(graph):
        if layer.type in _LINEAR:
            x, y = program.tensors[layer.inputs[0]], program.tensors[layer.outputs[0]]
            scale = scheme.linear(index, layer, x, y).weight_scale
            result[layer.name] = scale.astype(np.float64)
    return result


def _unsigned(graph: Graph, program: Program, matching: Matching, binary: Program) -> set[str]:
    """Tensors of the graph that the binary holds as uint8."""
    source = scale_sources(graph)
    dtypes: dict[str, str] = {}
    for pair in matching.pairs:
        order = _order(program, binary, pair)
        names = [(a, pair.theirs.inputs[i]) for a, i in zip(pair.ours.inputs, order, strict=True)]
        names.append((pair.ours.outputs[0], pair.theirs.outputs[0]))
        for ours, theirs in names:
            origin = source.get(ours.partition(":axis")[0])
            if origin is not None:
                dtypes.setdefault(origin, binary.tensors[theirs].dtype)
    return {name for name, origin in source.items() if dtypes.get(origin) == "uint8"}


def _order(program: Program, binary: Program, pair: Matched) -> list[int]:
    """For each of our inputs the place among theirs: an addition may have them swapped."""
    count = len(pair.ours.inputs)
    if pair.ours.kind == "eltwise" and is_swapped(program, binary, pair):
        return [1, 0]
    return list(range(count))


def _with_constants(program: Program, binary: Program, matching: Matching) -> Program:
    """`program` with the binary's constants; raises DataError where the two ops differ in form."""
    replaced = {id(pair.ours): _merged(program, binary, pair) for pair in matching.pairs}
    ops = [replaced.get(id(op), op) for op in program.ops]
    options = {**program.options, SOURCE: "aipu.bin", SCALES: "model"}
    result = replace(program, ops=ops, name=binary.name, options=options)
    result.tensors = dict(program.tensors)
    for pair in matching.pairs:
        _mean_order(result, pair)
        ours = program.tensors[pair.ours.outputs[0]]
        theirs = binary.tensors[pair.theirs.outputs[0]]
        if ours.dtype != theirs.dtype:
            raise DataError(
                f"the model is not the binary's: {pair.ours.layer!r} is {ours.dtype}, "
                f"{theirs.dtype} in the binary"
            )
    result.verify()
    return result


def _merged(program: Program, binary: Program, pair: Matched) -> Op:
    for key in ("act", "kernel", "stride", "pads", "group", "method", "axis"):
        ours, theirs = pair.ours.attrs.get(key), pair.theirs.attrs.get(key)
        if ours != theirs:
            raise DataError(
                f"the model is not the binary's: {pair.ours.layer!r} has {key} {ours}, "
                f"{pair.theirs.layer} has {theirs}"
            )
    consts = dict(pair.theirs.consts)
    if pair.ours.kind == "eltwise" and is_swapped(program, binary, pair):
        consts["scales"] = np.ascontiguousarray(consts["scales"][::-1])
    return replace(pair.ours, consts=consts)


def _mean_order(program: Program, pair: Matched) -> None:
    """A mean over both axes: the axis that the binary takes first comes first here too."""
    if pair.ours.kind != "reduce_sum":
        return
    at = next(i for i, op in enumerate(program.ops) if op.outputs == pair.ours.outputs)
    op = program.ops[at]
    between = op.outputs[0]
    if ":axis" not in between or at + 1 == len(program.ops):
        return
    (axis,), shape = pair.theirs.integers("axes"), program.tensors[op.inputs[0]].shape
    if (axis,) == op.integers("axes"):
        return
    kept = tuple(1 if i == axis else n for i, n in enumerate(shape))
    program.tensors[between] = replace(program.tensors[between], shape=kept)
    behind = program.ops[at + 1]
    program.ops[at] = replace(op, attrs={**op.attrs, "axes": (axis,)})
    program.ops[at + 1] = replace(behind, attrs={**behind.attrs, "axes": (1 - axis,)})
