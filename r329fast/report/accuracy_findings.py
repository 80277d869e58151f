"""Findings about accuracy: what int8 loses, which setting, and what the images had."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

from r329fast.report.finding import (
    Finding,
    Link,
    number_word,
    percent,
    points,
    sentence_start,
    widening,
)

Record = Mapping[str, Any]

FEW_IMAGES = 200  # under which a top-1 says little
_CHANCE = 0.05  # McNemar p from which chance may explain a difference
_TIES = 0.01  # share of images
_SATURATED_IMAGES = 0.05


def _accuracy(record: Record) -> Finding:
    """The first sentence of every page: what int8 costs, or what is missing to say so."""
    evaluation = record.get("evaluation") or {}
    found = evaluation.get("accuracy") or {}
    if found.get("top1") is not None:
        section = "sec-images" if evaluation.get("worst") else "sec-summary"
        return _top1(found, section, _find_layer(record))
    errors = record.get("errors")
    if errors and errors.get("top1") is not None:
        return _top1(errors, "sec-error", _find_layer(record))
    if errors:
        return Finding(
            "accuracy",
            errors["agreement"] < 1,
            (
                f"int8 and float agree on the top class in {percent(errors['agreement'])} of ",
                number_word(errors["images"], "image"),
                "; the ",
                Link(f"output SNR is {errors['output_snr']:.1f} dB", section="sec-error"),
                ".",
            ),
            "Labels give the accuracy: profile --images SET --labels FILE, or eval",
        )
    if not record["layers"] or record.get("kind") == "vendor":
        return Finding(
            "accuracy", False, ("The record says nothing about accuracy.",), _measure(record)
        )
    return Finding(
        "accuracy",
        False,
        ("Cost and memory only: the record has no images, so it says nothing about accuracy.",),
        _measure(record),
    )


def _measure(record: Record) -> str:
    """What counts the accuracy of what the record is of."""
    given, kind = _given(record)
    if kind == "model":
        return f"Measure it: r329fast try {given} IMAGES"
    floats = "--float" if kind == "cfg" else "--float-model MODEL.onnx"
    return f"Measure it: r329fast eval {given} --images SET {floats} --out DIR"


def _find_layer(record: Record) -> str:
    """What shows the layers that lose it."""
    given, kind = _given(record)
    options = {
        "cfg": "--sensitivity --suggest",
        "model": "--images SET --sensitivity --suggest",
        "program": "--images SET --float MODEL.onnx --sensitivity",
    }
    return f"See which layer loses it: r329fast profile {given} {options[kind]}"


def _given(record: Record) -> tuple[str, str]:
    """(the file that the command was given, as a shell takes it; cfg, model or program)."""
    name = str(record.get("given") or "RUN.cfg")
    kinds = {".onnx": "model", ".r329": "program", ".bin": "program"}
    return shlex.quote(name), kinds.get(PurePath(name).suffix.lower(), "cfg")


def _top1(found: Mapping[str, Any], section: str, next_step: str) -> Finding:
    """int8 against float, from an evaluation's figures or a profile's errors.

    next_step: what to do about a loss that chance does not explain.
    """
    top1, floats, images = found["top1"], found.get("float_top1"), int(found.get("images") or 0)
    right = f"top-1 is {percent(top1)} of {images:,} images"
    if floats is None:
        return Finding(
            "accuracy",
            False,
            ("int8 ", Link(right, section=section), "; the float network was not run."),
            "Run it too, to see what int8 loses: eval --float",
        )
    loss = floats - top1
    if loss > 0:
        first = f"int8 loses {points(loss)} of {percent(floats)}"
    elif loss < 0:
        first = f"int8 gains {points(-loss)} over float's {percent(floats)}"
    else:
        first = f"int8 loses nothing of {percent(floats)}"
    parts: list[str | Link] = [Link(first, section=section), f": its {right}"]
    chance = found.get("mcnemar_p")
    action = ""
    if found.get("lost") is not None and found.get("gained") is not None:
        parts.append(f"; {found['lost']:,} are lost and {found['gained']:,} gained")
    if loss and chance is not None and chance >= _CHANCE:
        parts.append(f", which chance explains too (McNemar p = {chance:.2g})")
    parts.append(".")
    if images < FEW_IMAGES:
        action = (
            f"{images:,} images say little: evaluate a whole set with eval --images SET --float"
        )
    elif loss and chance is not None and chance >= _CHANCE:
        action = "More images would tell whether it is chance"
    elif loss > 0 and chance is not None:
        action = next_step
    return Finding("accuracy", loss > 0, tuple(parts), action)


def _settings(record: Record) -> Finding | None:
    """Of a sweep: the best and the worst setting, and which one the page shows."""
    evaluation = record.get("evaluation") or {}
    rows = [row for row in evaluation.get("top1_by_setting") or [] if row[1] is not None]
    if len(rows) < 2:
        return None
    best, worst = max(rows, key=lambda row: row[1]), min(rows, key=lambda row: row[1])
    shown = str(evaluation.get("setting") or "")
    parts: list[str | Link] = [
        f"Of {number_word(len(rows), 'setting')}, ",
        Link(str(best[0]), section="sec-settings"),
        f" has the best top-1 ({percent(best[1])})",
    ]
    if worst[1] < best[1]:
        parts.append(f" and {worst[0]} the worst ({percent(worst[1])})")
    is_best = any(row[0] == shown and row[1] == best[1] for row in rows)
    parts.append("." if is_best else f"; the page shows {shown}.")
    action = "" if is_best else f"Show the best: report --setting '{best[0]}'"
    return Finding("settings", not is_best, tuple(parts), action)


def _inputs(record: Record) -> Finding | None:
    found = (record.get("evaluation") or {}).get("accuracy") or {}
    images, cut = found.get("images"), found.get("saturated_images")
    if not images or not cut or cut / images < _SATURATED_IMAGES:
        return None
    values = found.get("saturated_values")
    more = f" ({values:,} values)" if values else ""
    return Finding(
        "inputs",
        True,
        (f"The input was saturated in {percent(cut / images)} of {images:,} images{more}.",),
        widening(record)
        if record.get("ranges_at_extremes") is False
        else "Give these images the preprocessing of the calibration data, or calibrate with them",
    )


def _ties(record: Record) -> Finding | None:
    found = (record.get("evaluation") or {}).get("accuracy") or {}
    images, tied = found.get("images"), found.get("tied_images")
    if not images or not tied or tied / images < _TIES:
        return None
    shared = found.get("top1_shared")
    fair = "" if shared is None else f"; top-1 is {percent(shared)} if tied classes count alike"
    words = (
        f"Several classes share the first place in {percent(tied / images)} of the images{fair}."
    )
    cut = _last_cut(record)
    if cut is None:
        return Finding("ties", False, (words,), "profile says whether the last layer cuts logits")
    if cut:
        return Finding("ties", True, (words,), f"The last layer cuts logits. {widening(record)}")
    return Finding("ties", False, (words, " One step of the output is too coarse to part them."))


def _last_cut(record: Record) -> float | None:
    """The share of the last layer's outputs that its range cuts at the high end."""
    shares = [
        row["saturated_high"] for row in record["layers"] if row.get("saturated_high") is not None
    ]
    return float(shares[-1]) if shares else None


def _skipped(record: Record) -> Finding | None:
    count = ((record.get("evaluation") or {}).get("accuracy") or {}).get("skipped") or 0
    if not count:
        return None
    verb = "is" if count == 1 else "are"
    words = sentence_start(f"{number_word(count, 'image')} could not be used and {verb} left out.")
    return Finding("skipped", True, (words,), "run.json names each of them and why")


ACCURACY: tuple[Callable[[Record], Finding | None], ...] = (
    _accuracy,
    _settings,
    _inputs,
    _ties,
    _skipped,
)
