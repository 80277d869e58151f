"""The page of a tuning: what was tried, what was kept, and every layer before and after."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
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
                (word, *(_db(side[word]["snr"]) for side in (before, after)),
                 *(f"{side[word]['agreement']:.1%}" for side in (before, after)))
                for word in ("chosen", "confirmed")
            ],
        ),
        "<h2>Steps</h2>",
        _table(
            ("step", "gain where chosen, dB", "gain where confirmed, dB", ""),
            [
                (step["step"], _db(step.get("gain_chosen_db")), _db(step["gain_db"]),
                 "kept" if step["accepted"] else "not kept")
                for step in record["steps"]
            ],
        ),
        *(_layers(step) for step in record["steps"] if step.get("layers")),
    ]  # fmt: skip
    title = html.escape(f"{record['model']} - tuning - r329fast")
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{css}</style></head><body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def _layers(step: Mapping[str, Any]) -> str:
    rows = [
        (layer["layer"], _db(layer["before"]), _db(layer["after"]), layer["chosen"])
        for layer in step["layers"]
    ]
    return f"<h2>Layers: {_text(step['step'])}</h2>" + _table(
        ("layer", "SNR as it was, dB", "SNR as chosen, dB", "chosen"), rows
    )


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = ["<tr>" + "".join(f"<th>{_text(cell)}</th>" for cell in head) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    return "<table>" + "\n".join(lines) + "</table>"


def _db(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _text(value: object) -> str:
    return html.escape(str(value))
