"""The page of a tuning: what was tried, what was kept, and every layer before and after."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import Any


def tuning_page(record: Mapping[str, Any]) -> str:
    """One HTML page that needs no network, of the record in tune.json."""
    css = resources.files(f"{__package__}.assets").joinpath("report.css").read_text("utf-8")
    before, after = record["before"], record["after"]
    parts = [
        f"<h1>{_text(record['model'])}</h1>",
        f"<p>Scheme {_text(record['scheme'])}; {record['images']['all']} calibration images: "
        f"{record['images']['fitted']} fitted to, {record['images']['judging']} judged layers, "
        f"{record['images']['confirming']} confirmed steps.</p>",
        "" if record["gained"] else "<p>No step helped; the network stays as it is.</p>",
        "<h2>Output against float</h2>",
        _table(
            ("images", "SNR before, dB", "SNR after, dB", "agreement before", "agreement after"),
            [
                (shown, *(_db(side[word]["snr"]) for side in (before, after)),
                 *(f"{side[word]['agreement']:.1%}" for side in (before, after)))
                for word, shown in (("chosen", "that chose"), ("confirmed", "that chose nothing"))
            ],
        ),
        "<h2>Steps</h2>",
        _table(
            ("step", "where chosen, dB", "where confirmed, dB", "95 %", "agreement, points",
             "95 %", ""),
            [_step(step) for step in record["steps"]],
        ),
        *_times(record),
        *(_changes(step) for step in record["steps"] if step["accepted"]),
        *(_layers(step) for step in record["steps"] if step.get("layers")),
    ]  # fmt: skip
    title = html.escape(f"{record['model']} - tuning - r329fast")
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{css}</style></head><body><main>\n"
        + "\n".join(parts)
        + "\n</main></body></html>\n"
    )


def _times(record: Mapping[str, Any]) -> list[str]:
    """What was reached after how many seconds; '' for records without times."""
    time = record.get("time")
    if not time:
        return []
    first, last = time["history"][0]["snr"], time["history"][-1]["snr"]
    rows = []
    for moment in time["history"]:
        share = (moment["snr"] - first) / (last - first) if last > first else 0.0
        rows.append(
            (moment["step"] or "as it was", f"{moment['seconds']:.1f}", _db(moment["snr"]),
             f"{share:.0%}")
        )  # fmt: skip
    head = ("after", "seconds", "SNR where confirmed, dB", "of the gain")
    words = f"{time['wall']:.0f} s with {time['threads']} threads, {time['cpu']:.0f} s of CPU time."
    return ["<h2>Gain over time</h2>", f"<p>{words}</p>", _table(head, rows)]


def _step(step: Mapping[str, Any]) -> tuple[str, ...]:
    """One line of the table of steps; gains beside their intervals, on the confirming images."""
    if step["gain_db"] is None:
        why = "nothing to do" if step.get("begun", True) else "not begun: budget over"
        return (step["step"], "", "", "", "", "", why)
    before, after = step["before"]["confirmed"], step["after"]["confirmed"]
    points = 100 * (after["agreement"] - before["agreement"])
    return (
        step["step"], _db(step["gain_chosen_db"]), _db(step["gain_db"]),
        _interval(step["gain_interval_db"]), f"{points:+.1f}",
        _interval(step["agreement_interval_points"]), "kept" if step["accepted"] else "not kept",
    )  # fmt: skip


def _changes(step: Mapping[str, Any]) -> str:
    """What a step changed where, for those that do not change weights layer by layer."""
    if step.get("ranges"):
        rows = [
            (item["tensor"], *(f"{low:.6g} to {high:.6g}" for low, high in
                               (item["from"], item["to"])), _db(item["gain_db"]))
            for item in step["ranges"]
        ]  # fmt: skip
        head = ("tensor", "range as it was", "range as chosen", "gain where chosen, dB")
        return f"<h2>Ranges: {_text(step['step'])}</h2>" + _table(head, rows)
    if step.get("factors"):
        return "<h2>Factors of channels</h2>" + _table(
            ("tensor", "smallest factor", "largest factor"),
            [(name, f"{low:.3g}", f"{high:.3g}") for name, (low, high) in step["factors"].items()],
        )
    if step.get("headroom"):
        return f"<p>All ranges times {step['headroom']:g} ({_text(step['step'])}).</p>"
    if step.get("cause"):
        return f"<p>{_text(step['step'])}: {_text(step['cause'])}.</p>"
    return "" if step.get("layers") else f"<p>Kept: {_text(step['step'])}.</p>"


def _interval(pair: Sequence[float]) -> str:
    return f"{pair[0]:+.1f} to {pair[1]:+.1f}"


def _layers(step: Mapping[str, Any]) -> str:
    rows = [
        (layer["layer"], _db(layer["before"]), _db(layer["after"]), layer["chosen"])
        for layer in step["layers"]
    ]
    kept = "" if step["accepted"] else " (not kept)"
    return f"<h2>Layers: {_text(step['step'])}{kept}</h2>" + _table(
        ("layer", "SNR as it was, dB", "SNR as chosen, dB", "chosen"), rows
    )


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = ["<tr>" + "".join(f"<th>{_text(cell)}</th>" for cell in head) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    return '<div class="scroll"><table>' + "\n".join(lines) + "</table></div>"


def _db(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _text(value: object) -> str:
    return html.escape(str(value))
