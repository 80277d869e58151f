"""16 bits for the few layers whose own error is largest: candidates for `--suggest`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from r329fast.errors import UnsupportedModelError
from r329fast.graph.ir import Graph
from r329fast.profile.cost import estimate
from r329fast.profile.errors import ErrorAnalysis
from r329fast.profile.hardware import Hardware
from r329fast.profile.suggestion import Candidate, Setup
from r329fast.program.program import Program
from r329fast.quantization import Options, quantize

_LAYERS = 3  # single layers tried; then all of them together


def width_candidates(
    graph: Graph, program: Program, base: Setup, errors: ErrorAnalysis, hardware: Hardware | None
) -> list[Candidate]:
    """16-bit activations (and weights, where there are some) of the layers with the largest error
    of their own, each and together; none in aqt2021, and none for layers without a 16-bit rule.

    hardware: what the time of both programs is estimated for, None for no such words.
    """
    if program.scheme != "compass42":
        return []
    narrow = [
        (errors.layers[layer.name].single.snr, index)
        for index, layer in enumerate(program.layers)
        if layer.facts.free_range
        and not layer.is_input
        and all(program.tensors[name].bits == 8 for name in layer.outputs)
    ]
    chosen: list[int] = []
    result: list[Candidate] = []
    for snr, index in sorted(narrow):
        if len(chosen) == _LAYERS:
            break
        name = program.layers[index].name
        candidate = _candidate(
            graph, program, base, (index,), f"alone it has {snr:.1f} dB", hardware
        )
        if candidate is not None:
            chosen.append(index)
            result.append(dataclasses.replace(candidate, layer=name))
    if len(chosen) > 1:
        cause = f"{len(chosen)} layers have the least signal to noise of their own"
        joined = _candidate(graph, program, base, tuple(sorted(chosen)), cause, hardware)
        result += [joined] if joined is not None else []
    return result


def _candidate(
    graph: Graph,
    program: Program,
    base: Setup,
    layers: tuple[int, ...],
    cause: str,
    hardware: Hardware | None,
) -> Candidate | None:
    """None where a layer that is wide then, or one that reads it, has no rule for it."""

    def change(setup: Setup) -> Setup:
        return dataclasses.replace(setup, options=with_widths(setup.options, graph, layers))

    options = change(base).options
    try:
        trial = quantize(graph, base.ranges, program.scheme, options)
    except UnsupportedModelError:
        return None
    names = ", ".join(program.layers[index].name for index in layers)
    action = f"16 bits in {names}"
    if hardware is not None:
        before, after = (estimate(item, hardware).milliseconds for item in (program, trial))
        action += f" (estimate: {before:.3g} to {after:.3g} ms per image)"
    fields = [
        f"{name} = {getattr(options, name)}"
        for name in ("activation_bits", "weight_bits", "bias_bits")
        if getattr(options, name) != getattr(base.options, name)
    ]
    return Candidate("width", "", cause, action, f"[Optimizer] {', '.join(fields)}", change)


def with_widths(options: Options, graph: Graph, layers: Sequence[int]) -> Options:
    """16-bit activations of the layers (by their place in the IR), and weights of those that have
    some, with 48-bit biases."""
    linear = [index for index in layers if list(graph)[index].facts.linear]
    return dataclasses.replace(
        options,
        activation_bits=_widened(options.activation_bits, layers, "16"),
        weight_bits=_widened(options.weight_bits, linear, "16"),
        bias_bits=_widened(options.bias_bits, linear, "48"),
    )


def _widened(text: str, layers: Sequence[int], value: str) -> str:
    """A value by layer with another one for some; a range of numbers goes before all other scopes,
    and the first one before later ones."""
    if not layers:
        return text
    whole, _, scopes = text.partition("&")
    ranges = ", ".join(f"({index}, {index})" for index in layers)
    return f"{whole.strip()} & <[{ranges}]:{value}> {scopes.strip()}".strip()
