"""What to change where, each with the gain measured by doing it.

Candidates follow from the counters (a wide spread of weight ranges over the channels, saturation,
a range hardly used, multipliers of few bits); each is applied to the program and run on the same
images. Only changes that help are returned, best first, and then what helps together.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing

import numpy as np

from r329fast.calibration.ranges import Ranges
from r329fast.cfg.advice import extremes_setting, merged_settings
from r329fast.graph.ir import LINEAR_TYPES, Graph, Layer, Weights
from r329fast.profile.data_counters import DataCounters, level_steps
from r329fast.profile.dead_channels import dead_bias_candidates, without_dead_biases
from r329fast.profile.errors import (
    BIN_STEPS,
    BINS_BEYOND,
    Batches,
    ErrorAnalysis,
    LayerError,
)
from r329fast.profile.hardware import Hardware
from r329fast.profile.proposals import MIN_GAIN, least_loss_factor
from r329fast.profile.sensitivity import OutputScore
from r329fast.profile.suggestion import Candidate, Change, Setup, Suggestion
from r329fast.profile.widths import width_candidates
from r329fast.program.program import Program, TensorSpec
from r329fast.quantization import Options, quantize
from r329fast.simulator.simulator import Simulator

_LAYERS_A_KIND = 4  # single layers tried for each kind of change
_SPREAD = 1.5  # largest over median channel range from which per-channel weights are tried
_SATURATED = 0.0005  # share of outputs
_NARROWER = 0.9  # a range is tried only if it shrinks to this or less
_MULTIPLIER_ERROR = 0.002
_MIN_AGREEMENT = 0.01  # share of images, where the SNR is (about) the same


def suggest(
    graph: Graph,
    program: Program,
    ranges: Ranges,
    options: Options,
    errors: ErrorAnalysis,
    counters: Mapping[str, DataCounters],
    multiplier_errors: Mapping[str, float | None],
    batches: Batches,
    *,
    threads: int = 1,
    advance: Callable[[int], None] | None = None,
    hardware: Hardware | None = None,
) -> list[Suggestion]:
    """Measured suggestions, best first; the last one is what helps together, if that is more.

    errors and counters come from `program` over the same images; advance(1) after each trial;
    hardware: what the time of wider layers is estimated for.
    """
    scheme = program.scheme
    base = Setup(ranges, options)
    expected = _Expected(graph, batches, threads)
    before = expected.score(program)
    candidates = [
        *_per_channel(graph, program, errors),
        *_ranges(program, ranges, errors, counters),
        *_multipliers(program, multiplier_errors),
        *dead_bias_candidates(program),
        *width_candidates(graph, program, base, errors, hardware),
    ]
    tried: list[tuple[Suggestion, Change]] = []
    for candidate in candidates:
        after = expected.score(build(graph, scheme, candidate.change(base)))
        if advance is not None:
            advance(1)
        tried.append((_suggestion(candidate, before, after), candidate.change))
    tried.sort(key=lambda pair: -pair[0].gain)
    result = [item for item, _ in tried if _helps(item.before, item.after) or _is_free(item)]
    if result and len(tried) > 1:
        together = _together(graph, scheme, base, tried, before, expected)
        result += [together] if together is not None else []
    return result


def _helps(before: Mapping[str, float | None], after: Mapping[str, float | None]) -> bool:
    """A clear gain in SNR; or in agreement, which a cut in the logits may cost and SNR not show."""
    gain = (after["snr"] or 0.0) - (before["snr"] or 0.0)
    agreed = (after["agreement"] or 0.0) - (before["agreement"] or 0.0)
    return gain >= MIN_GAIN or (gain > -MIN_GAIN and agreed >= _MIN_AGREEMENT)


def _is_free(item: Suggestion) -> bool:
    """A change that no computed value depends on but for the bits that it gives back."""
    return item.kind == "bias" and item.gain >= 0


def _suggestion(candidate: Candidate, before: OutputScore, after: OutputScore) -> Suggestion:
    words = {f.name: getattr(candidate, f.name) for f in dataclasses.fields(Candidate)}
    del words["change"]
    return Suggestion(**words, before=before.as_json(), after=after.as_json())


def _together(
    graph: Graph,
    scheme: str,
    base: Setup,
    tried: Sequence[tuple[Suggestion, Change]],
    before: OutputScore,
    expected: _Expected,
) -> Suggestion | None:
    """Best first, keeping each change that helps on top of those kept before it.

    All that were tried take part: what gains nothing alone may do so once a larger error is gone.
    None where only the best one is left.
    """
    setup, best = base, before
    kept: list[Suggestion] = []
    for suggestion, change in tried:
        trial = change(setup)
        after = expected.score(build(graph, scheme, trial))
        if _helps(best.as_json(), after.as_json()):
            setup, best = trial, after
            kept.append(suggestion)
    if len(kept) < 2:
        return None
    return Suggestion(
        "together",
        "",
        f"{len(kept)} of {len(tried)} changes help on top of each other",
        "together: " + ", ".join(item.action for item in kept),
        merged_settings(item.setting for item in kept),
        before.as_json(),
        best.as_json(),
    )


class _Expected:
    """The float network's outputs, kept once, and the scoring of programs against them."""

    def __init__(self, graph: Graph, batches: Batches, threads: int) -> None:
        from r329fast.graph.export.float_session import FloatSession

        self.threads = threads
        session = FloatSession(graph, threads=threads)
        output = graph.outputs[0]
        self.batches = [(batch, session.run(batch.x)[output]) for batch in batches]

    def score(self, program: Program) -> OutputScore:
        result = OutputScore()
        output = program.outputs[0]
        spec = program.tensors[output]
        with closing(Simulator(program, threads=self.threads)) as simulator:
            for batch, expected in self.batches:
                found = simulator.run(program.quantize_input(batch.x), keep=[output])[output]
                result.add(spec.dequantize(found), expected, batch.labels)
        return result


def build(graph: Graph, scheme: str, setup: Setup) -> Program:
    """The program of a setup; per-channel layers are taken from a per-channel program."""
    program = quantize(graph, setup.ranges, scheme, setup.options)
    if setup.zero_biases:
        graph = without_dead_biases(graph, program, setup.zero_biases)
        program = quantize(graph, setup.ranges, scheme, setup.options)
    if not setup.per_channel:
        return program
    other = quantize(graph, setup.ranges, scheme, all_per_channel(setup.options))
    ops = list(program.ops)
    for layer in program.layers:
        if layer.name in setup.per_channel:
            # the same tensors and so the same scales: only the constants differ
            ops[slice(*layer.ops)] = other.ops[slice(*layer.ops)]
    return dataclasses.replace(program, ops=ops)


def all_per_channel(options: Options) -> Options:
    """The same options with a weight scale for each output channel."""
    method = options.quantize_method_for_weight.replace("per_tensor_", "per_channel_")
    return dataclasses.replace(
        options, quantize_method_for_weight=method, ops_per_channel=LINEAR_TYPES
    )


# --- per-channel weights ----------------------------------------------------------------------


def channel_spread(layer: Layer) -> float:
    """Largest channel range of the weights over the median one (1: all alike)."""
    weights = layer.consts["weights"]
    ranges = np.abs(weights.reshape(len(weights), -1)).max(axis=1)
    median = float(np.median(ranges))
    return float(ranges.max()) / median if median > 0 else float("inf")


def _per_channel(graph: Graph, program: Program, errors: ErrorAnalysis) -> list[Candidate]:
    per_tensor = [
        layer
        for record, layer in zip(program.layers, graph, strict=True)
        if layer.facts.linear
        and layer.facts.weights is not Weights.DEPTHWISE
        and all(op.consts["mult"].size == 1 for op in program.ops[slice(*record.ops)])
        and len(layer.consts["weights"]) > 1
    ]
    if not per_tensor:
        return []
    result = []
    wide = [layer for layer in per_tensor if channel_spread(layer) >= _SPREAD]
    wide.sort(key=lambda layer: errors.layers[layer.name].single.snr)
    for layer in wide[:_LAYERS_A_KIND]:
        cause = (
            f"its weights' channel ranges differ {channel_spread(layer):.1f} times, alone it has "
            f"{errors.layers[layer.name].single.snr:.1f} dB"
        )
        result.append(_per_channel_of(program, (layer.name,), layer.name, cause))
    names = tuple(layer.name for layer in per_tensor)
    cause = f"{len(names)} layers have one weight scale for all channels"
    result.append(_per_channel_of(program, names, "", cause))
    return result


def _per_channel_of(program: Program, names: tuple[str, ...], layer: str, cause: str) -> Candidate:
    if program.scheme == "aqt2021":
        setting = "[AutoQuantizationTool] ops_per_channel = Convolution,DepthwiseConv"
        setting += ",FullyConnected"
        if layer:
            setting += " (the 2021 tool takes layer types only, so this sets them all)"
    else:
        method = program.options["quantize_method_for_weight"]
        channel = "per_channel_symmetric_restricted_range"
        setting = f"[Optimizer] quantize_method_for_weight = {channel}"
        if layer:
            setting = (
                f"[Optimizer] quantize_method_for_weight = {method} & "
                f"<{{{re.escape(layer)}}}:{channel}>"
            )

    def change(setup: Setup) -> Setup:
        merged = tuple(dict.fromkeys((*setup.per_channel, *names)))
        return dataclasses.replace(setup, per_channel=merged)

    where = f"in {layer}" if layer else "in all convolutions"
    return Candidate("per_channel", layer, cause, f"per-channel weights {where}", setting, change)


# --- ranges -----------------------------------------------------------------------------------


def _ranges(
    program: Program,
    ranges: Ranges,
    errors: ErrorAnalysis,
    counters: Mapping[str, DataCounters],
) -> list[Candidate]:
    own = [
        layer
        for layer in program.layers
        if layer.facts.free_range and len(layer.outputs) == 1 and layer.outputs[0] in ranges
    ]
    shares = {
        layer.name: counters[layer.name].share(
            counters[layer.name].saturated_low + counters[layer.name].saturated_high
        )
        for layer in own
    }
    seen = {
        layer.outputs[0]: (
            errors.layers[layer.name].float_low,
            errors.layers[layer.name].float_high,
        )
        for layer in own
    }
    result = []
    cut = [layer for layer in own if shares[layer.name] >= _SATURATED]
    cut.sort(key=lambda layer: -shares[layer.name])
    for layer in cut[:_LAYERS_A_KIND]:
        cause = f"{shares[layer.name]:.2%} of its outputs are cut off"
        bounds = {layer.outputs[0]: seen[layer.outputs[0]]}
        result.append(_range_of(layer.name, bounds, cause, f"widen the range of {layer.name}"))
    if cut and not ranges.at_extremes:
        those = "one layer cuts" if len(cut) == 1 else f"{len(cut)} layers cut"
        cause = f"{those} off more than {_SATURATED:.2%} of the outputs"
        result.append(_to_extremes(program.scheme, ranges, seen, cause))
    narrow = []
    for layer in own:
        name = layer.outputs[0]
        spec, low_high = program.tensors[name], ranges[name]
        better = best_range(spec, low_high, errors.layers[layer.name])
        if better is not None:
            narrow.append((errors.layers[layer.name].single.snr, layer.name, {name: better}))
    for _, name, bounds in sorted(narrow, key=lambda item: item[0])[:_LAYERS_A_KIND]:
        cause = "few of its float values reach the ends of its range"
        result.append(_range_of(name, bounds, cause, f"narrow the range of {name}"))
    return result


def best_range(
    spec: TensorSpec, bounds: tuple[float, float], error: LayerError
) -> tuple[float, float] | None:
    """The calibrated range scaled down so that the squared error over the float histogram of the
    layer is least; None where that is (about) the range itself."""
    counts = error.histogram.astype(np.float64)
    bin_steps = BIN_STEPS * level_steps(spec)
    first = spec.lowest + spec.zero_point - BINS_BEYOND * bin_steps + (bin_steps - 1) / 2
    centres = first + bin_steps * np.arange(len(counts))
    low, high = spec.qmin + spec.zero_point, spec.qmax + spec.zero_point

    def loss(factor: float) -> float:
        beyond = np.maximum(centres - high * factor, 0) + np.maximum(low * factor - centres, 0)
        inside = beyond == 0
        return float((counts * np.where(inside, factor**2 / 12, beyond**2)).sum())

    best = least_loss_factor(loss)
    return (bounds[0] * best, bounds[1] * best) if best <= _NARROWER else None


def _range_of(
    layer: str, bounds: Mapping[str, tuple[float, float]], cause: str, action: str
) -> Candidate:
    ((name, (low, high)),) = bounds.items()
    setting = f"max_min: {name} = {low:.6g} to {high:.6g} (ts_min_file, ts_max_file)"
    return Candidate("range", layer, cause, action, setting, _with_ranges(bounds))


def _to_extremes(
    scheme: str, ranges: Ranges, seen: Mapping[str, tuple[float, float]], cause: str
) -> Candidate:
    """The ranges of the method that takes the extremes: of all calibration images; of those that
    are profiled where the ranges come from files, which hold nothing else."""
    setting = extremes_setting(scheme)
    if not ranges.seen:
        setting += ", without ts_max_file and ts_min_file"
    bounds = ranges.seen or seen
    if scheme == "compass42":  # whose ranges include zero
        bounds = {name: (min(low, 0.0), max(high, 0.0)) for name, (low, high) in bounds.items()}
    action = "take all ranges to the extremes seen"
    return Candidate("calibration", "", cause, action, setting, _with_ranges(bounds))


def _with_ranges(bounds: Mapping[str, tuple[float, float]]) -> Change:
    def change(setup: Setup) -> Setup:
        values = {**setup.ranges.values, **bounds}
        return dataclasses.replace(setup, ranges=dataclasses.replace(setup.ranges, values=values))

    return change


# --- multipliers ------------------------------------------------------------------------------


def _multipliers(
    program: Program, multiplier_errors: Mapping[str, float | None]
) -> list[Candidate]:
    """15-bit multipliers, which only the later scheme can ask for."""
    worst = max((error or 0.0 for error in multiplier_errors.values()), default=0.0)
    bits = int(program.options.get("multiplier_bits", "0")) or 8  # 0: the activations' bits
    if program.scheme != "compass42" or bits >= 15 or worst < _MULTIPLIER_ERROR:
        return []

    def change(setup: Setup) -> Setup:
        options = dataclasses.replace(setup.options, multiplier_bits=15)
        return dataclasses.replace(setup, options=options)

    cause = f"{bits}-bit multipliers miss their rescale by up to {worst:.2%}"
    setting = "[Optimizer] multiplier_bits = 15"
    return [Candidate("multiplier", "", cause, "15-bit multipliers", setting, change)]
