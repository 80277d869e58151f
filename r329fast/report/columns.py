"""The one list of columns that feeds console, CSV, JSON and HTML.

Every column is marked with the source of its numbers: `exact` (counted, or compared value by
value), `estimate` (modelled) or `measured` (timed on the machine that made the record).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

STATUSES = ("exact", "estimate", "measured")
GROUPS = ("layer", "counters", "data", "cost", "error", "sensitivity")


@dataclass(frozen=True)
class Column:
    """One number of a layer.

    key: in JSON, CSV header; title: in tables; unit: "" where it has none; status: as above;
    group: one of GROUPS; form: how people see it: "text", "count", "bytes", "share" (a fraction
    shown in percent), "real"; total: "sum", or "" where a sum means nothing; wide: only in CSV,
    JSON and HTML; good: "low" or "high" where one end is better (for colours), else "".
    """

    key: str
    title: str
    unit: str
    status: str
    group: str
    form: str
    about: str
    total: str = ""
    wide: bool = False
    good: str = ""

    def text(self, value: Any) -> str:
        """A value as a table shows it."""
        if value is None:
            return ""
        if self.form == "text":
            return str(value)
        if self.form in ("count", "bytes"):
            return f"{value:,}" if isinstance(value, int) else f"{value:,.0f}"
        if self.form == "share":
            return "0" if value == 0 else f"{value * 100:.3g}%"
        return f"{value:.4g}"


def _exact(key: str, title: str, group: str, form: str, about: str, **more: Any) -> Column:
    return Column(key, title, more.pop("unit", ""), "exact", group, form, about, **more)


def _cost(key: str, title: str, unit: str, form: str, about: str, **more: Any) -> Column:
    return Column(key, title, unit, "estimate", "cost", form, about, **more)


def _error(key: str, title: str, unit: str, about: str) -> Column:
    good, wide = "low" if unit == "steps" else "high", unit != "dB"
    return _exact(key, title, "error", "real", about, unit=unit, wide=wide, good=good)


_BEFORE = "errors of all layers before it included"
_STEPS = "in steps of the layer's output"

COLUMNS: tuple[Column, ...] = (
    _exact("name", "layer", "layer", "text", "the vendor's layer name"),
    _exact("op", "type", "layer", "text", "the vendor's layer type"),
    _exact("macs", "MACs", "counters", "count", "multiply-accumulates of one image", total="sum"),
    _exact(
        "ops_count",
        "ops_count",
        "counters",
        "count",
        "the vendor's figure in graph.json (grouped convolutions counted dense)",
        total="sum",
        wide=True,
    ),
    _exact("act", "activation", "layer", "text", "fused into the layer", wide=True),
    _exact("shape", "output", "layer", "text", "shape of one image's output", wide=True),
    _exact(
        "parameters",
        "parameters",
        "counters",
        "count",
        "weights, biases and slopes",
        total="sum",
        wide=True,
    ),
    _exact(
        "weight_bytes",
        "weight B",
        "counters",
        "bytes",
        "constants as the vendor's _int8.bin holds them",
        unit="bytes",
        total="sum",
    ),
    _exact(
        "input_bytes",
        "in B",
        "counters",
        "bytes",
        "activations read, one image",
        unit="bytes",
        total="sum",
        wide=True,
    ),
    _exact(
        "output_bytes",
        "out B",
        "counters",
        "bytes",
        "activations written, one image",
        unit="bytes",
        total="sum",
        wide=True,
    ),
    _exact(
        "intensity",
        "MACs/B",
        "counters",
        "real",
        "arithmetic intensity: MACs over bytes of weights, inputs and outputs",
        unit="MACs per byte",
        wide=True,
    ),
    _exact("path", "kernel", "layer", "text", "kernel path chosen on this machine", wide=True),
    Column(
        "host_us",
        "host us",
        "us",
        "measured",
        "data",
        "real",
        "median time of one image on one thread of this machine",
        total="sum",
        wide=True,
        good="low",
    ),
    Column(
        "host_bound_us",
        "host bound",
        "us",
        "estimate",
        "data",
        "real",
        "least time here: its MACs at the bare tile's rate or its bytes at a copy's, as measured",
        total="sum",
        wide=True,
    ),
    Column(
        "host_of_bound",
        "of host bound",
        "",
        "estimate",
        "data",
        "share",
        "host bound over host time; Winograd may pass 100 %, layers of a few us are mostly calls",
        wide=True,
        good="high",
    ),
    _exact(
        "saturated_low",
        "cut low",
        "data",
        "share",
        "share of outputs that the last clamp cut at the low end (not: by the activation)",
        good="low",
    ),
    _exact(
        "saturated_high",
        "cut high",
        "data",
        "share",
        "share of outputs that the last clamp cut at the high end",
        good="low",
    ),
    _exact("zeros", "zeros", "data", "share", "share of outputs that stand for 0", wide=True),
    _exact("range_low", "low", "data", "real", "lowest value that its range holds", wide=True),
    _exact("range_high", "high", "data", "real", "highest value that its range holds", wide=True),
    _exact("acc_min", "acc min", "data", "count", "smallest sum before the activation", wide=True),
    _exact("acc_max", "acc max", "data", "count", "largest sum before the activation", wide=True),
    _exact(
        "headroom_bits",
        "head room",
        "data",
        "count",
        "bits that a signed 32-bit accumulator has left over the largest sum",
        unit="bits",
        wide=True,
        good="high",
    ),
    _exact(
        "biases_clipped",
        "biases clipped",
        "counters",
        "count",
        "biases at an end of int32",
        total="sum",
        wide=True,
        good="low",
    ),
    _exact(
        "bias_bits_lost",
        "bias bits lost",
        "counters",
        "count",
        "low bits of all its biases cut to fit 16 bits and a shift",
        unit="bits",
        wide=True,
        good="low",
    ),
    _exact(
        "dead_channels",
        "dead channels",
        "counters",
        "count",
        "channels with a multiplier of 0, which cannot reach the output",
        total="sum",
        wide=True,
        good="low",
    ),
    _exact(
        "bits_lost_to_dead",
        "lost to dead",
        "counters",
        "count",
        "how many of the bias bits lost the biases of dead channels cost",
        unit="bits",
        wide=True,
        good="low",
    ),
    _exact(
        "multiplier_error",
        "mult. error",
        "counters",
        "share",
        "largest relative error of M / 2^N against the real rescale",
        wide=True,
        good="low",
    ),
    _exact(
        "multiplier_min",
        "smallest M",
        "counters",
        "count",
        "smallest multiplier: few bits left where it is small",
        wide=True,
        good="high",
    ),
    _cost("cycles", "cycles", "cycles", "count", "larger of compute and memory", total="sum"),
    _cost(
        "compute_cycles",
        "compute",
        "cycles",
        "count",
        "padded MACs over MACs per cycle",
        total="sum",
        wide=True,
    ),
    _cost(
        "memory_cycles",
        "memory",
        "cycles",
        "count",
        "DDR bytes over the bandwidth",
        total="sum",
        wide=True,
    ),
    _cost(
        "utilisation",
        "utilisation",
        "",
        "share",
        "useful MACs over what the array could do in the compute cycles",
        wide=True,
        good="high",
    ),
    _cost("passes", "passes", "", "count", "reads of the input, by the weight buffer", wide=True),
    _cost("ddr_read", "DDR read", "bytes", "bytes", "by the traffic rule", total="sum", wide=True),
    _cost(
        "ddr_write", "DDR write", "bytes", "bytes", "by the traffic rule", total="sum", wide=True
    ),
    _cost("time_us", "chip us", "us", "real", "cycles over the clock", total="sum", good="low"),
    _cost("bound", "bound", "", "text", "what the layer waits for"),
    _error("cosine_entire", "cos entire", "", f"cosine with the float network, {_BEFORE}"),
    _error("snr_entire", "SNR entire", "dB", f"signal over error against float, {_BEFORE}"),
    _error(
        "cosine_single",
        "cos single",
        "",
        "cosine when this layer alone is quantised and fed with float inputs",
    ),
    _error(
        "snr_single",
        "SNR single",
        "dB",
        "signal over error of this layer alone, fed with float inputs",
    ),
    _error("max_error", "max err", "steps", f"largest error (entire) {_STEPS}"),
    _error("mean_error", "mean err", "steps", f"mean error (entire) {_STEPS}"),
    _error("max_error_single", "max err single", "steps", "largest error of this layer alone"),
    _error("mean_error_single", "mean err single", "steps", "mean error of this layer alone"),
    _exact(
        "only_snr",
        "net SNR, only this",
        "sensitivity",
        "real",
        "SNR of the network's output when only this layer is quantised",
        unit="dB",
        wide=True,
        good="high",
    ),
    _exact(
        "only_agreement",
        "agree, only this",
        "sensitivity",
        "share",
        "images whose top class stays the float network's when only this layer is quantised",
        wide=True,
        good="high",
    ),
    _exact(
        "without_snr",
        "net SNR, all but this",
        "sensitivity",
        "real",
        "SNR of the network's output when this layer is left in float and all others are quantised",
        unit="dB",
        wide=True,
        good="high",
    ),
    _exact(
        "without_agreement",
        "agree, all but this",
        "sensitivity",
        "share",
        "the same, as images whose top class is the float network's",
        wide=True,
        good="high",
    ),
)

BY_KEY: dict[str, Column] = {column.key: column for column in COLUMNS}


def shown_columns(
    layers: Sequence[Mapping[str, Any]], *, wide: bool = True, groups: Iterable[str] = GROUPS
) -> list[Column]:
    """The columns that have a value in at least one layer, in order."""
    wanted = set(groups)
    return [
        column
        for column in COLUMNS
        if (wide or not column.wide)
        and column.group in wanted
        and any(layer.get(column.key) is not None for layer in layers)
    ]


def totals(layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Sums of all columns that can be summed."""
    result: dict[str, Any] = {}
    for column in COLUMNS:
        values = [layer[column.key] for layer in layers if layer.get(column.key) is not None]
        if column.total == "sum" and values:
            result[column.key] = sum(values)
    return result
