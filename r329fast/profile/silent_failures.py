"""What is wrong with a network although every integer is right: dull outputs, unequal parts.

A joined tensor has one scale. Where its parts differ much in range (boxes up to 640 beside scores
up to 1), the small one loses all its steps, and the cosine of the whole hardly shows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from r329fast.cfg.advice import extremes_setting
from r329fast.graph.activations import ACTIVATIONS
from r329fast.graph.ir import ConcatAttrs, SoftmaxAttrs
from r329fast.program.program import LayerRecord, Program, TensorSpec
from r329fast.quantization.aqt2021 import amplified_concats

_UNEQUAL = 100.0  # largest over smallest range of the parts of one Concat
_SATURATED = 0.5  # share of an output's values at one end of its integers
IMAGES = 16  # of the calibration set that `run` looks at
OF_RUN = "the inputs of the run"  # a source


@dataclass(frozen=True)
class SilentFailure:
    """kind: parts, concat_gain, zero, constant or saturated; text: what was found and what to do.

    parts: tensors that are outputs in place of a joined one, "" where that is no mend.
    """

    kind: str
    layer: str
    text: str
    parts: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "parts": list(self.parts)}


def largest(spec: TensorSpec) -> float:
    """The largest real magnitude that a tensor's integers can hold."""
    ends = (spec.qmin + spec.zero_point, spec.qmax + spec.zero_point)
    return max(map(abs, ends)) / spec.scale


def joined_failures(
    program: Program, names: Mapping[str, str] | None = None
) -> list[SilentFailure]:
    """Each Concat whose parts differ too much, or that the 2021 scheme has to amplify.

    names: tensor -> its name in the ONNX file, for the `output` of a cfg.
    """
    found = []
    for layer in program.layers:
        if layer.facts.attrs is not ConcatAttrs:
            continue
        sizes = {name: largest(program.tensors[name]) for name in dict.fromkeys(layer.inputs)}
        wide, narrow = max(sizes, key=sizes.__getitem__), min(sizes, key=sizes.__getitem__)
        if sizes[wide] <= _UNEQUAL * sizes[narrow]:
            continue
        steps = sizes[narrow] * program.tensors[layer.outputs[0]].scale
        text = (
            f"Concat {layer.name!r}: {wide!r} reaches {sizes[wide]:.4g}, {narrow!r} only "
            f"{sizes[narrow]:.4g}; in the one scale of both the latter has {steps:.2g} steps"
            + (", so all its integers are 0" if steps < 0.5 else "")
        )
        parts: tuple[str, ...] = ()
        if _ends(program, layer):
            words = names or {}
            parts = tuple(words.get(name, name) for name in layer.inputs)
            text += f": take the parts as outputs, output = {', '.join(parts)}"
        else:
            text += ": give both parts ranges alike before they are joined"
        found.append(SilentFailure("parts", layer.name, text, parts))
    gains = amplified_concats(program)
    return [*found, *(SilentFailure("concat_gain", "", line) for line in gains)]


def _ends(program: Program, layer: LayerRecord) -> bool:
    """Whether a layer's result is an output of the network, perhaps moved."""
    tensors = {layer.outputs[0]}
    for other in program.layers:
        if other.facts.moves and tensors & set(other.inputs) and len(other.inputs) == 1:
            tensors.update(other.outputs)
    return bool(tensors & set(program.outputs))


@dataclass
class _Seen:
    first: np.ndarray | None = None
    constant: bool = True
    zero: bool = True
    low: int = 0
    high: int = 0
    values: int = 0


@dataclass
class OutputWatch:
    """Looks at a network's integer outputs, batch by batch: constant, zero, nearly saturated.

    source: where the images come from, in words.
    """

    program: Program
    source: str = "calibration data"
    images: int = 0
    seen: dict[str, _Seen] = field(default_factory=dict)

    def add(self, outputs: Mapping[str, np.ndarray]) -> None:
        """outputs: integers [N, ...] by name; further names are left alone."""
        for name in self.program.outputs:
            found, spec = self.seen.setdefault(name, _Seen()), self.program.tensors[name]
            values = outputs[name]
            if found.first is None:
                found.first = values[0].copy()
            found.constant = found.constant and bool((values == found.first).all())
            found.zero = found.zero and bool((values + spec.zero_point == 0).all())
            found.low += int((values == spec.qmin).sum())
            found.high += int((values == spec.qmax).sum())
            found.values += values.size
        self.images += len(outputs[self.program.outputs[0]])

    def failures(self) -> list[SilentFailure]:
        """At most one per output."""
        found = []
        for name, seen in self.seen.items():
            plural = "" if self.images == 1 else "s"
            over = f"over {self.images} image{plural} ({self.source})"
            advice = "`r329fast profile` shows the layer where it is lost"
            if seen.zero:
                text = f"output {name!r} is all zero {over}: {advice}"
                found.append(SilentFailure("zero", name, text))
            elif seen.constant and self.images > 1:
                text = f"output {name!r} is the same for all {over}: {advice}"
                found.append(SilentFailure("constant", name, text))
            elif (share := self._saturated(name, seen)) >= _SATURATED:
                text = (
                    f"output {name!r}: {share:.0%} of its integers are at an end of their range "
                    f"{over}: widen it ({extremes_setting(self.program.scheme)}; "
                    "`r329fast profile --suggest` tries more)"
                )
                found.append(SilentFailure("saturated", name, text))
        return found

    def _saturated(self, name: str, seen: _Seen) -> float:
        """Share of the values at the more frequent end; 0 where that is the layer's own bound."""
        layer = self._maker(name)
        spec = self.program.tensors[name]
        if (
            ACTIVATIONS[layer.act].bounded
            or layer.facts.attrs is SoftmaxAttrs
            or spec.dtype.endswith("16")
        ):
            return 0.0
        natural = spec.qmin + spec.zero_point == 0  # an unsigned zero cuts nothing off
        return max(0 if natural else seen.low, seen.high) / seen.values

    def _maker(self, name: str) -> LayerRecord:
        """The layer that computes an output, behind those that only move it."""
        makers = {output: layer for layer in self.program.layers for output in layer.outputs}
        layer = makers[name]
        while layer.facts.moves and len(layer.inputs) == 1:
            layer = makers[layer.inputs[0]]
        return layer
