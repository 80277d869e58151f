"""What several runs differ in, in sentences: accuracy, error, cost, and the layer that changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from r329fast.report.finding import Finding, Link, percent, points

Record = Mapping[str, Any]
Values = list[tuple[str, float]]  # (label of the run, its number), of those that have it


def comparison_findings(records: Sequence[Record], labels: Sequence[str]) -> list[Finding]:
    """Sentences about the differences between runs; empty for one run."""
    if len(records) < 2:
        return []
    found = [rule(records, labels) for rule in (_accuracy, _error, _time, _layer)]
    items = [item for item in found if item is not None]
    if not items:
        items.append(Finding("same", False, ("The runs do not differ in what they both hold.",)))
    return items


def _values(
    records: Sequence[Record], labels: Sequence[str], number: Callable[[Record], Any]
) -> Values:
    pairs = [(label, number(record)) for record, label in zip(records, labels, strict=True)]
    return [(label, float(value)) for label, value in pairs if isinstance(value, (int, float))]


def _compared(
    kind: str, values: Values, high: bool, said: Callable[[str, float, str, float], str]
) -> Finding | None:
    """What is said of the best run and the worst; None where there are no two that differ."""
    ordered = sorted(values, key=lambda pair: pair[1], reverse=high)
    if len(ordered) < 2 or ordered[0][1] == ordered[-1][1]:
        return None
    return Finding(f"compared {kind}", False, (said(*ordered[0], *ordered[-1]),))


def _top1(record: Record) -> Any:
    found = (record.get("evaluation") or {}).get("accuracy") or {}
    return found.get("top1", (record.get("errors") or {}).get("top1"))


def _counted(record: Record) -> Any:
    """The images that `_top1` is of."""
    found = (record.get("evaluation") or {}).get("accuracy") or {}
    if "top1" in found:
        return found.get("images")
    errors = record.get("errors") or {}
    return errors.get("images") if errors.get("top1") is not None else None


def _accuracy(records: Sequence[Record], labels: Sequence[str]) -> Finding | None:
    def said(best: str, high: float, worst: str, low: float) -> str:
        return (
            f"{best} has the best top-1, {percent(high)}: {points(high - low)} more than {worst} "
            f"({percent(low)})."
        )

    found = _compared("accuracy", _values(records, labels, _top1), True, said)
    counts = dict(_values(records, labels, _counted))
    if found is None or len(set(counts.values())) < 2:
        return found
    words = ", ".join(f"{label} {count:,.0f}" for label, count in counts.items())
    action = f"These are not the same images ({words}): count all over the same ones"
    return dataclasses.replace(found, loss=True, action=action)


def _error(records: Sequence[Record], labels: Sequence[str]) -> Finding | None:
    def said(best: str, high: float, worst: str, low: float) -> str:
        return (
            f"{best} is nearest to float: output SNR {high:.1f} dB, {worst} is farthest with "
            f"{low:.1f} dB."
        )

    found = _values(records, labels, lambda run: (run.get("errors") or {}).get("output_snr"))
    return _compared("error", found, True, said)


def _time(records: Sequence[Record], labels: Sequence[str]) -> Finding | None:
    def said(best: str, low: float, worst: str, high: float) -> str:
        return (
            f"{best} takes the least time, {low:.2f} ms per image (estimate); {worst} takes "
            f"{high:.2f} ms."
        )

    found = _values(records, labels, lambda run: (run.get("cost") or {}).get("milliseconds"))
    return _compared("time", found, False, said)


def _layer(records: Sequence[Record], labels: Sequence[str]) -> Finding | None:
    """The layer whose own error differs most from that in the first run."""
    first = {row["name"]: row.get("snr_single") for row in records[0]["layers"]}
    most: tuple[float, str, str, float] | None = None
    for record, label in zip(records[1:], labels[1:], strict=True):
        for row in record["layers"]:
            before, after = first.get(row["name"]), row.get("snr_single")
            if not isinstance(before, (int, float)) or not isinstance(after, (int, float)):
                continue
            change = abs(after - before)
            if change and (most is None or change > most[0]):
                most = (change, row["name"], label, after)
    if most is None:
        return None
    _, name, label, after = most
    return Finding(
        "compared layer",
        False,
        (
            "No layer's own error changes more than that of ",
            Link(name, layer=name),
            f": from {first[name]:.1f} dB in {labels[0]} to {after:.1f} dB in {label}.",
        ),
    )
