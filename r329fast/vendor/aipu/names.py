"""Names and scales of a binary's layers from the vendor's max_min dicts.

The dicts list the layers in the order of the IR, which is the order of the binary's steps for one
kind of layer. What kind a name stands for is read off its words (Conv2D, depthwise, Relu6, Add,
concat ..); a norm or an activation belongs to the computing layer before it, and gives the range
of what is fused into it. The result is then checked: the multipliers of all additions and concats
must be those that the ranges give, so that the wrong dicts are found out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from r329fast.calibration.ranges import Ranges
from r329fast.errors import FileError
from r329fast.program.program import LayerRecord, Op, Program
from r329fast.quantization.aqt2021 import (
    concat_params,
    eltwise_add_params,
    signed_scale,
    unsigned_scale,
)
from r329fast.vendor.aipu.program import SCALES
from r329fast.vendor.aipu.renaming import renamed

# Words of a layer's name -> what it is; the first that is found counts.
_WORDS = (
    ("constant", r"(^|/)(begin|size|axis|axes|perm|shape|indices)(_\d+)?$"),
    ("norm", r"batch_?norm|(^|[/_])bn\d*([/_]|$)"),
    ("act", r"relu|activation"),
    ("bias", r"bias_?add"),
    ("dw", r"depthwise|(^|[/_])dw\d*([/_]|$)"),
    ("fc", r"fully_?connected|mat_?mul|gemm|dense|(^|[/_])fc\d*([/_]|$)"),
    ("conv", r"conv"),
    ("concat", r"concat"),
    ("slice", r"slice|split"),
    ("mean", r"mean|pool|reduce"),
    ("transpose", r"transpose|permute"),
    ("add", r"(^|[/_])add(_\d+)?([/_]|$)|plus|eltwise"),
)
_KINDS = {
    "Convolution": "conv",
    "DepthwiseConv": "dw",
    "FullyConnected": "fc",
    "Eltwise": "add",
    "Concat": "concat",
    "Reduce": "mean",
}
_COPYING = ("Slice", "Transpose", "Reduce")
_ATTACHED = ("norm", "act", "bias")
_COMPUTING = ("conv", "dw", "fc", "add")


@dataclass
class _Group:
    """A layer of the dicts with what is fused into it; `last` is the entry of its output."""

    kind: str
    first: str
    last: str


def kind_of_name(name: str) -> str:
    """What a name stands for: one of the words above, or "" (an input)."""
    plain = re.sub(r"_0$", "", name).lower()
    for part in (plain.rpartition("/")[2], plain):
        for kind, pattern in _WORDS:
            if re.search(pattern, part):
                return kind
    return ""


def _groups(ranges: Ranges) -> Iterator[_Group]:
    group: _Group | None = None
    for name in ranges.values:
        kind = kind_of_name(name)
        follows = group is not None and group.kind in _COMPUTING
        if kind == "bias":  # of the layer before it, or of a fused one that has only this entry
            scope = name.split("/")[0]
            if not (group is not None and follows and group.first.split("/")[0] == scope):
                kind, follows = kind_of_name(scope) or "fc", False
        if group is not None and follows and kind in _ATTACHED:
            group.last = name
            continue
        if group is not None:
            yield group
        group = _Group(kind, name, name)
    if group is not None:
        yield group


def with_ranges(program: Program, ranges: Ranges) -> Program:
    """`program` (as the reader names it) with the names and scales of the dicts.

    Layers have the name of the entry that holds their output's range. Raises FileError where the
    dicts do not hold as many layers of a kind as the binary, or do not give its multipliers.
    """
    groups = list(_groups(ranges))
    by_kind: dict[str, list[_Group]] = {}
    for group in groups:
        by_kind.setdefault(group.kind, []).append(group)
    inputs = [group for group in by_kind.get("", []) if group in groups[: len(program.inputs)]]
    _same_number("inputs", len(program.inputs), len(inputs))
    names = {old: group.last for old, group in zip(program.inputs, inputs, strict=True)}
    for kind in dict.fromkeys(_KINDS.values()):
        layers = [layer for layer in program.layers if _KINDS.get(layer.type) == kind]
        found = by_kind.get(kind, [])
        _same_number(f"layers like {kind!r}", len(layers), len(found))
        names.update({layer.name: g.last for layer, g in zip(layers, found, strict=True)})
    names.update(_slice_names(program, groups, names))
    scales = _scales(program, names, ranges)
    _check(program, scales, names)
    result = renamed(program, names, scales)
    return replace(result, options={**result.options, SCALES: "dicts"})


def _same_number(what: str, binary: int, dicts: int) -> None:
    if binary != dicts:
        raise FileError(
            f"max_min dicts: the binary has {binary} {what}, the dicts {dicts}: they are not those "
            "that it was built from"
        )


def _slice_names(program: Program, groups: list[_Group], names: dict[str, str]) -> dict[str, str]:
    """Slices stand behind the layer that they cut, those that begin earlier first."""
    result: dict[str, str] = {}
    for layer in program.layers:
        cuts = [
            other
            for other in program.layers
            if other.type == "Slice" and other.inputs[0] == layer.name
        ]
        if not cuts or layer.name not in names:
            continue
        at = next(i for i, group in enumerate(groups) if group.last == names[layer.name])
        found = []
        for group in groups[at + 1 :]:
            if group.kind != "slice":
                break
            found.append(group.last)
        if len(found) == len(cuts):
            cuts.sort(key=lambda cut: tuple(cut.detail["begin"]))  # type: ignore[arg-type]
            result.update({cut.name: name for cut, name in zip(cuts, found, strict=True)})
    return result


def _scales(program: Program, names: dict[str, str], ranges: Ranges) -> dict[str, float]:
    scales: dict[str, float] = {}
    for layer in program.layers:
        (top,) = layer.outputs
        if layer.type in _COPYING:
            scales[top] = scales[layer.inputs[0]]
            continue
        low, high = ranges[names[layer.name]]
        unsigned = program.tensors[top].dtype == "uint8"
        scales[top] = unsigned_scale(high) if unsigned else signed_scale(low, high)
    return scales


def _check(program: Program, scales: dict[str, float], names: dict[str, str]) -> None:
    """The multipliers of additions and concats must follow from the scales."""
    for layer in program.layers:
        op = program.ops[layer.ops[1] - 1] if layer.ops[0] < layer.ops[1] else None
        if op is None or op.kind not in ("eltwise", "concat"):
            continue
        expected, found = _expected(layer, op, scales), _found(op)
        if expected != found:
            raise FileError(
                f"max_min dicts: layer {names[layer.name]!r} ({layer.name}) has the multipliers "
                f"{found} in the binary, the dicts give {expected}: they are not those that it "
                "was built from"
            )


def _found(op: Op) -> list[int]:
    order = ("scales", "mult", "shift") if op.kind == "eltwise" else ("mult", "shift")
    return [int(value) for name in order for value in op.consts[name]]


def _expected(layer: LayerRecord, op: Op, scales: dict[str, float]) -> list[int]:
    inputs, output = [scales[name] for name in layer.inputs], scales[layer.outputs[0]]
    if op.kind == "eltwise":
        factors, mult, shift = eltwise_add_params(inputs[0], inputs[1], output)
        return [*map(int, factors), mult, shift]
    if all(scale == output for scale in inputs):
        return [1] * len(inputs) + [0] * len(inputs)
    pairs = [concat_params(scale, output) for scale in inputs]
    return [mult for mult, _ in pairs] + [shift for _, shift in pairs]
