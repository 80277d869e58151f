"""The page of a tuning: what was tried, what was kept, and every layer before and after."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import PurePath
from typing import Any

_COMPARISON = "r329fast eval DIR/tuned.cfg --images SET --float-model ORIGINAL.onnx"


def tuning_page(record: Mapping[str, Any], comparison: str = _COMPARISON) -> str:
    """One HTML page that needs no network, of the record in tune.json.

    comparison: the command that compares the tuned network with the one that it was made of.
    """
    css = resources.files(f"{__package__}.assets").joinpath("report.css").read_text("utf-8")
    before, after = record["before"], record["after"]
    images = record["images"]
    parts = [
        f"<h1>{_text(PurePath(record['model']).name)}: tuning</h1>",
        f"<p>{_text(record['model'])}. Scheme {_text(record['scheme'])}; {images['all']} "
        f"calibration images: {images['fitted']} fit, {images['judging']} judge layers, "
        f"{images['confirming']} confirm steps.</p>",
        f"<p>{_verdict(record, comparison)}</p>",
        *(f'<p class="note">{_text(note)}</p>' for note in record.get("notes", ())),
        _section(
            "Output against float",
            ("images", "SNR, dB", "agreement"),
            [
                (shown, *(f"{_db(before[word]['snr'])} \N{RIGHTWARDS ARROW} "
                          f"{_db(after[word]['snr'])}",
                          f"{before[word]['agreement']:.1%} \N{RIGHTWARDS ARROW} "
                          f"{after[word]['agreement']:.1%}"))
                for word, shown in (("chosen", "that choose"), ("confirmed", "that confirm"))
            ],
        ),
        _section(
            "Steps",
            ("step", "result", "gain, dB", "95 %", "others, dB", "agreement, points", "95 %"),
            [_step(step) for step in record["steps"]],
            "Gains on the images that confirm, beside intervals by drawing these images again; "
            "others: on the images that choose.",
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


def _verdict(record: Mapping[str, Any], comparison: str) -> str:
    """What there is to do next, and what the budget left out."""
    cut = [step["step"] for step in record["steps"] if not step.get("begun", True)]
    words = "No step helped; the network stays as it is."
    if record["gained"]:
        words = (
            f"tuned.cfg runs the tuned network; <code>{_text(comparison)}</code> on a set with "
            "labels says what it is worth in accuracy beside the float network."
        )
    if cut:
        words += f" The budget of {record['budget']:g} min was over before {_text(', '.join(cut))}."
    return words


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
    head = ("after", "seconds", "SNR, dB", "share")
    threads = "1 thread" if time["threads"] == 1 else f"{time['threads']} threads"
    words = f"{time['wall']:.0f} s with {threads}, {time['cpu']:.0f} s of CPU time."
    return [_section("Gain over time", head, rows, words)]


def _step(step: Mapping[str, Any]) -> tuple[str, ...]:
    """One line of the table of steps; gains beside their intervals, on the confirming images."""
    if step["gain_db"] is None:
        why = "nothing to do" if step.get("begun", True) else "not begun: budget over"
        return (step["step"], why, "", "", "", "", "")
    before, after = step["before"]["confirmed"], step["after"]["confirmed"]
    points = 100 * (after["agreement"] - before["agreement"])
    elsewhere = step.get("judged", "").startswith("by ")  # then the interval is of another gain
    return (
        step["step"], _kept(step), _gain(step["gain_db"]),
        "" if elsewhere else _interval(step["gain_interval_db"]), _gain(step["gain_chosen_db"]),
        f"{points:+.1f}",
        _interval(step["agreement_interval_points"]),
    )  # fmt: skip


def _kept(step: Mapping[str, Any]) -> str:
    if step.get("undone"):
        return "undone at the end"
    words = "kept" if step["accepted"] else "not kept"
    if step.get("biases_alone"):
        words += " (biases alone)"
    if step.get("tie"):
        model = step["predicted_gain_db"] is not None
        words += " (a tie: by the model of the noise)" if model else " (a tie)"
    return words


_ROOM = 19  # characters of a cell and its label's longest word, side by side in half a phone
_LINE = 22  # of a cell that is not folded: it gets the phone's width
_CHANNELS = (("shifts", "Shifts", "shift"), ("factors", "Factors", "factor"))


def _changes(step: Mapping[str, Any]) -> str:
    """What a step changed where, for those that do not change weights layer by layer."""
    if step.get("ranges"):
        rows = [
            (item["tensor"], *(f"{low:.6g} to {high:.6g}" for low, high in
                               (item["from"], item["to"])), _db(item["gain_db"]))
            for item in step["ranges"]
        ]  # fmt: skip
        head = ("tensor", "range as it was", "range as chosen", "gain where chosen, dB")
        return _section(f"Ranges: {step['step']}", head, rows)
    if step.get("factors") or step.get("shifts"):
        return "".join(_channels(step, *words) for words in _CHANNELS if step.get(words[0]))
    if step.get("options") or step.get("silent"):
        return _settings(step) + _silent(step)
    if step.get("headroom"):
        return f"<p>All ranges times {step['headroom']:g} ({_text(step['step'])}).</p>"
    if step.get("cause"):
        return f"<p>{_text(step['step'])}: {_text(step['cause'])}.</p>"
    return "" if step.get("layers") else f"<p>Kept: {_text(step['step'])}.</p>"


def _settings(step: Mapping[str, Any]) -> str:
    rows = [(name, _value(value)) for name, value in step.get("options", {}).items()]
    head = ("setting of the cfg", "value")
    return _section(f"Settings: {step['step']}", head, rows) if rows else ""


def _silent(step: Mapping[str, Any]) -> str:
    rows = [(name, str(count)) for name, count in step.get("silent", {}).items()]
    words = "Zero whatever they read: they got a weight, so that their layer's shift is its own."
    head = ("layer", "silent channels")
    return _section(f"Silent channels: {step['step']}", head, rows, words) if rows else ""


def _value(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _channels(step: Mapping[str, Any], key: str, title: str, word: str) -> str:
    return _section(
        f"{title} of channels: {step['step']}",
        ("tensor", f"smallest {word}", f"largest {word}"),
        [(name, f"{low:.3g}", f"{high:.3g}") for name, (low, high) in step[key].items()],
    )


def _interval(pair: Sequence[float]) -> str:
    return f"{pair[0]:+.1f} to {pair[1]:+.1f}"


def _layers(step: Mapping[str, Any]) -> str:
    rows = [
        (layer["layer"], _db(layer["before"]), _db(layer["after"]), layer["chosen"])
        for layer in step["layers"]
    ]
    kept = "" if step["accepted"] else " (not kept)"
    head = ("layer", "SNR as it was, dB", "SNR as chosen, dB", "chosen")
    return _section(f"Layers: {step['step']}{kept}", head, rows)


def _section(
    title: str, head: Sequence[str], rows: Iterable[Sequence[str]], words: str = ""
) -> str:
    """A table under its title; its first column is text, the others numbers."""
    body = "\n".join(_row(head, row) for row in rows)
    before = f"<p>{_text(words)}</p>" if words else ""
    table = f'<table class="stack"><thead>{_head(head)}</thead><tbody>{body}</tbody></table>'
    return f'<section><h2>{_text(title)}</h2>{before}<div class="scroll">{table}</div></section>'


def _head(cells: Sequence[str]) -> str:
    first, *others = map(_text, cells)
    return f'<tr><th class="text">{first}</th>{"".join(f"<th>{cell}</th>" for cell in others)}</tr>'


def _row(head: Sequence[str], cells: Sequence[str]) -> str:
    """A phone shows each cell beside its label, below the first."""
    first, *others = map(_text, cells)
    text = f'<tr><td class="text">{first}</td>'
    for label, cell in zip(head[1:], others, strict=True):
        kind = _kind(label, cell)
        text += f'<td class="{kind}" data-label="{_text(label)}">{cell}</td>'
    return f"{text}</tr>"


def _kind(label: str, cell: str) -> str:
    if not cell:
        return "none"
    if len(cell) + max(map(len, label.split())) <= _ROOM:
        return "num"
    return "num long" if len(cell) <= _LINE else "words"


def _gain(value: float) -> str:
    return f"{value:+.2f}"


def _db(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _text(value: object) -> str:
    return html.escape(str(value))
