"""A profile record as lines and tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from r329fast.report.columns import BY_KEY, Column, shown_columns

_CONSOLE_KEYS = (
    "name",
    "op",
    "macs",
    "weight_bytes",
    "saturated_low",
    "saturated_high",
    "cycles",
    "time_us",
    "bound",
    "snr_entire",
    "snr_single",
    "only_snr",
)
_SHORT = {"exact": "exact", "estimate": "est.", "measured": "meas."}


def table_lines(layers: Sequence[Mapping[str, Any]], keys: Sequence[str] = ()) -> list[str]:
    """The layer table as plain lines, one per layer, never folded; the second line is the status.

    keys: which columns, in order; by default a dozen useful ones, as far as they have values.
    """
    columns: list[Column] = (
        [BY_KEY[key] for key in keys]
        if keys
        else [column for column in shown_columns(layers) if column.key in _CONSOLE_KEYS]
    )
    rows = [[column.title for column in columns]]
    rows.append([_SHORT[column.status] + _unit(column) for column in columns])
    rows += [[column.text(layer.get(column.key)) for column in columns] for layer in layers]
    widths = [max(len(row[index]) for row in rows) for index in range(len(columns))]
    left = [column.form == "text" for column in columns]
    lines = [
        "  ".join(
            cell.ljust(width) if text else cell.rjust(width)
            for cell, width, text in zip(row, widths, left, strict=True)
        ).rstrip()
        for row in rows
    ]
    return [*lines[:2], "-" * max(len(line) for line in lines), *lines[2:]]


def _unit(column: Column) -> str:
    return f" {column.unit}" if column.unit not in ("", "bytes", "cycles") else ""


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
    lines += _dead_lines(record["layers"])
    errors = record.get("errors")
    if errors:
        lines += _error_lines(errors)
    return lines


def _dead_lines(layers: Sequence[Mapping[str, Any]]) -> list[str]:
    """The layers that lose bias bits to channels that cannot reach the output."""
    found = [
        f"{layer['name']} {layer['bits_lost_to_dead']} ({layer['dead_channels']} channels)"
        for layer in layers
        if layer.get("bits_lost_to_dead")
    ]
    if not found:
        return []
    return [
        f"exact     bias bits lost to channels that cannot reach the output: {', '.join(found)}"
    ]


def _error_lines(errors: Mapping[str, Any]) -> list[str]:
    lines = [
        f"exact     against float over {errors['images']} images: output SNR "
        f"{errors['output_snr']:.2f} dB, cosine {errors['output_cosine']:.5f}, top class agrees "
        f"in {errors['agreement']:.1%}"
    ]
    if errors.get("top1") is not None:
        lines.append(
            f"exact     top-1 {errors['top1']:.1%} (int8), {errors['float_top1']:.1%} (float)"
        )
    return lines


def finding_lines(record: Mapping[str, Any]) -> list[str]:
    """What is wrong although every integer is right, before all figures."""
    return [f"finding: {item['text']}" for item in record.get("failures", ())]


def suggestion_lines(suggestions: Sequence[Mapping[str, Any]]) -> list[str]:
    """What to change, best first, with the measured gain."""
    lines = []
    for number, item in enumerate(suggestions, 1):
        after, before = item["after"], item["before"]
        gain = f"output SNR {before['snr']:.2f} -> {after['snr']:.2f} dB, "
        gain += f"agreement {before['agreement']:.1%} -> {after['agreement']:.1%}"
        if after.get("top1") is not None:
            gain += f", top-1 {before['top1']:.1%} -> {after['top1']:.1%}"
        lines.append(f"{number}. {item['action']} ({item['cause']}): {gain} (exact)")
        lines.append(f"   {item['setting']}")
    return lines
