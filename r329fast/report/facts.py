"""The few figures that distinguish one run from another, from any kind of record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def about_line(record: Mapping[str, Any]) -> str:
    """Where the record comes from, in one line."""
    words = [
        str(record.get("tool", "")),
        f"scheme {record['scheme']}" if "scheme" in record else "",
    ]
    if record.get("images"):
        source = f" of {record['source']}" if record.get("source") else ""
        words.append(f"{record['images']} images{source}")
    machine = record.get("machine")
    if isinstance(machine, Mapping) and machine.get("cpu"):
        words.append(str(machine["cpu"]))
    return ", ".join(word for word in words if word)


def comparison_pairs(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(what, value with its status) of everything that can be laid beside another run's."""
    pairs: list[tuple[str, str]] = []
    for key in ("model", "scheme", "images", "hash"):
        if record.get(key) not in (None, ""):
            text = str(record[key])
            pairs.append((key, text[:16] if key == "hash" else text))
    pairs += [(f"option {key}", str(value)) for key, value in record.get("options", {}).items()]
    totals = record.get("totals") or {}
    for key, title in (("macs", "MACs"), ("parameters", "parameters"), ("weight_bytes", "bytes")):
        if key in totals:
            pairs.append((f"{title} (exact)", f"{totals[key]:,}"))
    cost = record.get("cost")
    if cost:
        pairs.append(("hardware", str(cost["hardware"])))
        pairs.append(("milliseconds (estimate)", f"{cost['milliseconds']:.3f}"))
    if totals.get("host_us"):
        pairs.append(("milliseconds here (measured)", f"{totals['host_us'] / 1000:.3f}"))
    if totals.get("host_bound_us"):
        pairs.append(("ms at least here (estimate)", f"{totals['host_bound_us'] / 1000:.3f}"))
    errors = record.get("errors")
    if errors:
        pairs.append(("output SNR, dB (exact)", f"{errors['output_snr']:.2f}"))
        pairs.append(("output cosine (exact)", f"{errors['output_cosine']:.5f}"))
        pairs.append(("agrees with float (exact)", f"{errors['agreement']:.1%}"))
        for key, title in (("top1", "top-1"), ("float_top1", "float top-1")):
            if errors.get(key) is not None:
                pairs.append((f"{title} (exact)", f"{errors[key]:.1%}"))
    evaluation = record.get("evaluation")
    if evaluation:
        if evaluation.get("setting"):
            pairs.append(("setting", str(evaluation["setting"])))
        pairs += [(f"{title} (exact)", value) for title, value in evaluation["figures"]]
    pairs += [(f"{row[0]} ({row[2]})", row[1]) for row in record.get("facts", [])]
    return pairs
