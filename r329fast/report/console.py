"""A profile record as lines and a table for the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from r329fast.report.columns import BY_KEY, Column, shown_columns

# What a terminal shows of a layer, in order; and which of it goes first where room is short.
_CONSOLE_KEYS = (
    "name",
    "op",
    "macs",
    "weight_bytes",
    "saturated_low",
    "saturated_high",
    "time_us",
    "bound",
    "host_us",
    "host_of_bound",
    "snr_entire",
    "snr_single",
    "only_snr",
)
_DROPPED_FIRST = (
    *("op", "weight_bytes", "macs", "host_us", "saturated_low", "bound", "snr_entire"),
    *("host_of_bound", "only_snr"),
)
_SHORT = {"exact": "exact", "estimate": "est.", "measured": "meas."}
_WORST_BY = ("only_snr", "snr_single", "time_us", "ops_count")
_GAP = 3  # blanks between two columns
_LONGEST_NAME = 36  # columns of a layer's name, which folds beyond
SHOWN_LAYERS = 20


@dataclass(frozen=True)
class LayerTable:
    """heads and rows (texts) of a table, and a line that says which layers they are."""

    heads: list[str]
    rows: list[list[str]]
    about: str


def layer_table(
    layers: Sequence[Mapping[str, Any]], width: int = 80, most: int = SHOWN_LAYERS
) -> LayerTable:
    """The worst layers, the worst of them last, in as many columns as `width` has room for.

    most: how many layers (0: all). The head of a column ends in the status of its numbers.
    """
    by = next((key for key in _WORST_BY if any(row.get(key) is not None for row in layers)), "")
    worse_is_less = bool(by) and BY_KEY[by].good == "high"

    def badness(row: Mapping[str, Any]) -> float:
        value = row.get(by)
        if not isinstance(value, (int, float)):
            return -math.inf
        return -value if worse_is_less else value

    ordered = sorted(layers, key=badness)
    shown = ordered[-most:] if most else ordered
    columns = [column for column in shown_columns(layers) if column.key in _CONSOLE_KEYS]
    texts = {key.key: [_clean(key.text(row.get(key.key))) for row in shown] for key in columns}
    sizes = {column.key: _size(column, texts[column.key]) for column in columns}
    for key in _DROPPED_FIRST:
        if sum(sizes.values()) + _GAP * len(sizes) <= width:
            break
        sizes.pop(key, None)
    kept = [column for column in columns if column.key in sizes]
    count = f"{len(layers)} layers" if len(shown) == len(layers) else (
        f"{len(shown)} of {len(layers)} layers"
    )  # fmt: skip
    order = f", by {BY_KEY[by].title}, the worst last" if by else ""
    return LayerTable(
        [_head(column) for column in kept],
        [list(row) for row in zip(*(texts[column.key] for column in kept), strict=True)],
        count + order,
    )


def _size(column: Column, cells: Sequence[str]) -> int:
    """Columns of the terminal that a column of the table takes."""
    widest = max([len(cell) for cell in cells] + [len(word) for word in _head(column).split()])
    return min(widest, _LONGEST_NAME) if column.key == "name" else widest


def _head(column: Column) -> str:
    if column.form == "text" and column.status == "exact":
        return column.title
    unit = f" {column.unit}" if column.unit not in ("", "bytes", "us") else ""
    return f"{column.title}{unit} {_SHORT[column.status]}"


def _clean(text: str) -> str:
    """A name without characters that move a terminal's cursor."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def summary_lines(record: Mapping[str, Any]) -> list[str]:
    """The totals in words; every line is marked exact, estimate or measured."""
    totals = record["totals"]
    lines = [
        f"{record['model']}: scheme {record['scheme']}, {len(record['layers'])} layers, "
        f"{record['images']} images counted",
        f"exact     {totals['macs']:,} MACs, ops_count {totals['ops_count']:,}, "
        f"{totals['parameters']:,} parameters, {totals['weight_bytes']:,} bytes of weights",
    ]
    cost = record.get("cost")
    if cost:
        waits = ", ".join(
            f"{share / cost['cycles']:.0%} {bound}" for bound, share in cost["bound_cycles"].items()
        )
        lines.append(
            f"estimate  {cost['hardware']}: {cost['milliseconds']:.2f} ms, "
            f"{cost['frames_per_second']:.1f} frames per second, {cost['cycles']:,} cycles "
            f"({waits}), DDR {(cost['ddr_read'] + cost['ddr_write']) / 1e6:.1f} MB"
        )
        other = ", ".join(
            f"{label} {value['milliseconds']:.2f} ms"
            for label, value in cost["sensitivity"].items()
        )
        lines.append(f"estimate  with {other}")
    if totals.get("host_us") is not None:
        lines.append(
            f"measured  {totals['host_us'] / 1000:.2f} ms per image on one thread of "
            f"{record['machine']['cpu']} (sum of the layers' medians)"
        )
    lines += _bound_lines(record)
    lines += _dead_lines(record["layers"])
    errors = record.get("errors")
    if errors:
        lines += _error_lines(errors, bool(record.get("evaluation")))
    return lines


def _bound_lines(record: Mapping[str, Any]) -> list[str]:
    """What the layers' time here is of the least that it could be."""
    totals, rates = record["totals"], record.get("host_rates")
    if not rates or not totals.get("host_us") or totals.get("host_bound_us") is None:
        return []
    least = totals["host_bound_us"]
    return [
        f"estimate  {least / 1000:.2f} ms at least ({least / totals['host_us']:.0%} of the bound "
        f"reached): MACs at {rates['gmac']:.0f} GMAC/s of the bare tile, bytes at "
        f"{rates['cache']:.0f} GB/s in cache or {rates['memory']:.0f} in memory, rates measured in "
        "the same run"
    ]


def _dead_lines(layers: Sequence[Mapping[str, Any]]) -> list[str]:
    """The layers that lose bias bits to channels that cannot reach the output."""
    found = [
        f"{layer['name']} {layer['bits_lost_to_dead']} ({layer['dead_channels']} "
        f"channel{'s' * (layer['dead_channels'] != 1)})"
        for layer in layers
        if layer.get("bits_lost_to_dead")
    ]
    if not found:
        return []
    return [
        f"exact     bias bits lost to channels that cannot reach the output: {', '.join(found)}"
    ]


def _error_lines(errors: Mapping[str, Any], evaluated: bool) -> list[str]:
    lines = [
        f"exact     against float over {errors['images']} images: output SNR "
        f"{errors['output_snr']:.2f} dB, cosine {errors['output_cosine']:.5f}, top class agrees "
        f"in {errors['agreement']:.1%}"
    ]
    # of a handful of images it says nothing beside an evaluation
    if errors.get("top1") is not None and not evaluated:
        lines.append(
            f"exact     top-1 {errors['top1']:.1%} (int8), {errors['float_top1']:.1%} (float)"
        )
    return lines


def suggestion_lines(suggestions: Sequence[Mapping[str, Any]]) -> list[str]:
    """What to change, best first, with the measured gain."""
    lines = []
    for number, item in enumerate(suggestions, 1):
        after, before = item["after"], item["before"]
        what = "worst part's" if item.get("kind") == "outputs" else "output"
        gain = f"{what} SNR {before['snr']:.2f} -> {after['snr']:.2f} dB, "
        gain += f"agreement {before['agreement']:.1%} -> {after['agreement']:.1%}"
        if after.get("top1") is not None:
            gain += f", top-1 {before['top1']:.1%} -> {after['top1']:.1%}"
        lines.append(f"{number}. {item['action']} ({item['cause']}): {gain} (exact)")
        lines.append(f"   {item['setting']}")
    return lines
