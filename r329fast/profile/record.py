"""Puts everything that was found about a program into one record: plain data for the views."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from r329fast.base.machine import cpu_model
from r329fast.base.tabular import html_table
from r329fast.profile.cost import CostEstimate
from r329fast.profile.data_counters import DataCounters, level_steps
from r329fast.profile.errors import BIN_STEPS, BINS_BEYOND, ErrorAnalysis
from r329fast.profile.host_time import HostTimes
from r329fast.profile.layer_details import layer_details
from r329fast.profile.memory_use import memory_use
from r329fast.profile.precision import Precision
from r329fast.profile.sensitivity import LayerSensitivity
from r329fast.profile.silent_failures import SilentFailure
from r329fast.profile.suggestion import Suggestion
from r329fast.program.counters import layer_counters
from r329fast.program.program import LayerRecord, Program

KIND = "profile"
VERSION = 1


@dataclass
class Findings:
    """What was found about one program; None or empty where it was not asked for.

    input_saturated: share of the input values that lie beyond the calibrated range. at_extremes:
    whether the ranges reach all that calibration saw.
    """

    program: Program
    precision: Sequence[Precision] = ()
    cost: CostEstimate | None = None
    paths: Mapping[str, str] = field(default_factory=dict)
    host: HostTimes = field(default_factory=HostTimes)
    data: Mapping[str, DataCounters] = field(default_factory=dict)
    errors: ErrorAnalysis | None = None
    sensitivity: Mapping[str, LayerSensitivity] = field(default_factory=dict)
    suggestions: Sequence[Suggestion] = ()
    failures: Sequence[SilentFailure] = ()
    input_saturated: float | None = None
    at_extremes: bool | None = None
    source: str = ""
    seconds: float = 0.0

    def __repr__(self) -> str:
        held = {"cost": self.cost, "data": self.data, "errors": self.errors,
                "sensitivity": self.sensitivity, "suggestions": self.suggestions}  # fmt: skip
        words = ", ".join(key for key, value in held.items() if value) or "counters only"
        return f"<Findings about {self.program.name!r}: {words}>"

    def _repr_html_(self) -> str:
        rows = [
            [row["name"], row["op"], f"{row['macs']:,}", row["shape"]] for row in layer_rows(self)
        ]
        return html_table(repr(self)[1:-1], ["layer", "type", "MACs", "output"], rows)


def layer_rows(found: Findings) -> list[dict[str, Any]]:
    """One object per layer in IR order, keys as the report's columns."""
    program = found.program
    rows: list[dict[str, Any]] = []
    for index, (layer, counters) in enumerate(
        zip(program.layers, layer_counters(program), strict=True)
    ):
        moved = counters.weight_bytes + counters.input_bytes + counters.output_bytes
        row: dict[str, Any] = {
            "name": layer.name,
            "op": layer.type,
            "macs": counters.macs,
            "ops_count": counters.ops_count,
            "act": layer.act if layer.act != "NONE" else "",
            "shape": "x".join(map(str, program.tensors[layer.outputs[0]].shape)),
            "parameters": counters.parameters,
            "weight_bytes": counters.weight_bytes,
            "input_bytes": counters.input_bytes,
            "output_bytes": counters.output_bytes,
            "intensity": counters.macs / moved if moved else 0.0,
        }
        spec = program.tensors[layer.outputs[0]]
        row["range_low"] = (spec.qmin + spec.zero_point) / spec.scale
        row["range_high"] = (spec.qmax + spec.zero_point) / spec.scale
        row.update(_run_values(found, layer))
        if found.precision:
            precision = found.precision[index]
            row.update({key: value for key, value in vars(precision).items() if key != "name"})
        if found.cost is not None:
            cost = vars(found.cost.layers[index])
            row.update({key: value for key, value in cost.items() if key != "name"})
        row.update(_error_values(found, layer))
        rows.append(row)
    return rows


def _run_values(found: Findings, layer: LayerRecord) -> dict[str, Any]:
    row: dict[str, Any] = {}
    if found.paths:
        row["path"] = found.paths.get(layer.name, "")
    if found.host.us:
        spent, least = found.host.us.get(layer.name), found.host.bound_us.get(layer.name)
        row.update(host_us=spent, host_bound_us=least)
        row["host_of_bound"] = least / spent if spent and least else None
    if found.data:
        data = found.data[layer.name]
        row.update(
            saturated_low=data.share(data.saturated_low),
            saturated_high=data.share(data.saturated_high),
            zeros=data.share(data.zeros),
            acc_min=data.acc_min,
            acc_max=data.acc_max,
            headroom_bits=data.headroom_bits,
        )
    return row


def _error_values(found: Findings, layer: LayerRecord) -> dict[str, Any]:
    row: dict[str, Any] = {}
    if found.errors is not None and layer.name in found.errors.layers:
        errors = found.errors.layers[layer.name]
        row.update(
            cosine_entire=errors.entire.cosine,
            snr_entire=errors.entire.snr,
            cosine_single=errors.single.cosine,
            snr_single=errors.single.snr,
            max_error=errors.entire.max_steps,
            mean_error=errors.entire.mean_steps,
            max_error_single=errors.single.max_steps,
            mean_error_single=errors.single.mean_steps,
        )
    if layer.name in found.sensitivity:
        scores = found.sensitivity[layer.name]
        row.update(
            only_snr=scores.only.snr,
            only_agreement=scores.only.agreement,
            without_snr=scores.without.snr,
            without_agreement=scores.without.agreement,
        )
    return row


def make_record(found: Findings, totals: Mapping[str, Any]) -> dict[str, Any]:
    """The record (docs/profiling.md describes each key); `layers` must come from this too.

    totals: sums of the layer rows, as the columns define them.
    """
    from r329fast.version import __version__

    program = found.program
    images = max((data.images for data in found.data.values()), default=0)
    record: dict[str, Any] = {
        "kind": KIND,
        "version": VERSION,
        "tool": f"r329fast {__version__}",
        "model": program.name,
        "scheme": program.scheme,
        "options": dict(program.options),
        "hash": program.hash(),
        "machine": {"cpu": cpu_model(), "cores": os.cpu_count()},
        "images": images,
        "source": found.source,
        "input_saturated": found.input_saturated,
        "ranges_at_extremes": found.at_extremes,
        "seconds": round(found.seconds, 3),
        "layers": layer_rows(found),
        "totals": dict(totals),
        "cost": found.cost.as_json() if found.cost else None,
        "host_rates": found.host.rates.as_json() if found.host.rates else None,
        "hardware": found.cost.hardware.as_json() if found.cost else None,
        "errors": _errors_summary(found.errors),
        "sensitivity_order": _order(found.sensitivity),
        "failures": [failure.as_json() for failure in found.failures],
        "suggestions": [suggestion.as_json() for suggestion in found.suggestions],
        "histograms": _histograms(found),
        "network": {"edges": _edges(program)},
        "details": layer_details(program),
        "memory": memory_use(program),
    }
    return record


def _errors_summary(errors: ErrorAnalysis | None) -> dict[str, Any] | None:
    if errors is None:
        return None
    return {
        "images": errors.images,
        "agreement": errors.agreement,
        "top1": errors.top1,
        "float_top1": errors.float_top1,
        "output_snr": errors.output.snr,
        "output_cosine": errors.output.cosine,
        "worst_single": _worst(errors, "single"),
        "worst_entire": _worst(errors, "entire"),
    }


def _worst(errors: ErrorAnalysis, which: str) -> str:
    return min(errors.layers.values(), key=lambda item: getattr(item, which).snr).name


def _order(sensitivity: Mapping[str, LayerSensitivity]) -> list[str]:
    """Layer names, the one that hurts the output most when quantised alone first."""
    return [item.name for item in sorted(sensitivity.values(), key=lambda item: item.only.snr)]


def _edges(program: Program) -> list[list[str]]:
    """[from layer, to layer] pairs."""
    maker = {name: layer.name for layer in program.layers for name in layer.outputs}
    return [
        [maker[name], layer.name]
        for layer in program.layers
        for name in dict.fromkeys(layer.inputs)
        if name in maker
    ]


def _histograms(found: Findings) -> dict[str, Any]:
    """Layer -> integers and float values in bins of BIN_STEPS output steps, from `first` on."""
    result: dict[str, Any] = {}
    for layer in found.program.layers:
        spec = found.program.tensors[layer.outputs[0]]
        lowest, bin_steps = spec.lowest + spec.zero_point, BIN_STEPS * level_steps(spec)
        entry: dict[str, Any] = {"first": lowest, "bin": bin_steps, "scale": spec.scale}
        if layer.name in found.data:
            counts = found.data[layer.name].histogram.reshape(-1, BIN_STEPS).sum(axis=1)
            entry["integers"] = _shares(counts)
        if found.errors is not None and layer.name in found.errors.layers:
            entry["floats"] = _shares(found.errors.layers[layer.name].histogram)
            entry["float_first"] = lowest - BINS_BEYOND * bin_steps
        if len(entry) > 3:
            result[layer.name] = entry
    return result


def _shares(counts: np.ndarray) -> list[float]:
    total = int(counts.sum())
    return [float(f"{count / total:.4g}") if total else 0.0 for count in counts]
