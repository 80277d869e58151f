"""What to look at first in a record, in sentences: the one list that page and terminal show.

`findings` reads any record that `load_run` or `make_record` gives; what a record does not hold
gives no sentence, and what is missing to judge the run gives one that says how to get it.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from r329fast.report.accuracy_findings import ACCURACY
from r329fast.report.finding import (
    MOST_NAMES,
    Finding,
    Link,
    layer_links,
    number_word,
    percent,
    sentence_start,
    widening,
)

Record = Mapping[str, Any]
Rows = Sequence[Mapping[str, Any]]

_SATURATED = 0.0005  # share of a layer's outputs from which a cut is named
_INPUT_SATURATED = 0.001
_CLEARLY_WORSE = 3.0  # dB under the median of all layers
_HALF = 0.5
_IDLE = 0.1  # utilisation of the MAC array under which a layer wastes it
_COARSE = 0.01  # relative error of a multiplier


def findings(record: Record) -> list[Finding]:
    """Sentences about the record, first what no figure shows, then accuracy; never empty."""
    about_accuracy = [item for rule in ACCURACY if (item := rule(record)) is not None]
    rest = [item for rule in _RULES if (item := rule(record)) is not None]
    found = [*_failures(record), *about_accuracy, *rest]
    if not found:
        found.append(Finding("nothing", False, ("The record holds nothing that stands out.",)))
    return found


def finding_lines(found: Sequence[Finding]) -> list[str]:
    """The same list for a terminal: a numbered sentence, then a line with what to do."""
    lines = []
    for number, item in enumerate(found, 1):
        lines.append(f"{number}. {item.text}")
        if item.action:
            lines.append(f"   -> {item.action}")
    return lines


def _failures(record: Record) -> list[Finding]:
    """What is wrong although every integer is right (`profile/silent_failures.py`)."""
    found = []
    for item in record.get("failures") or []:
        text, name = sentence_start(str(item["text"]).rstrip(".")) + ".", str(item["layer"])
        before, quoted, after = text.partition(repr(name))
        parts = (before, Link(quoted, layer=name), after) if name and quoted else (text,)
        found.append(Finding("failure", True, parts))
    return found


# --- error ------------------------------------------------------------------------------------


def _layers(record: Record) -> Finding | None:
    """The layers that lose most: by what each does to the output, or else by its own error."""
    rows = [row for row in record["layers"] if isinstance(row.get("only_snr"), (int, float))]
    if not rows:
        return _layers_alone(record)
    noise = {row["name"]: 10 ** (-row["only_snr"] / 10) for row in rows}
    whole = sum(noise.values())
    rows.sort(key=lambda row: -noise[row["name"]])
    chosen = rows[: _fewest([noise[row["name"]] for row in rows], _HALF * whole)]
    share = sum(noise[row["name"]] for row in chosen) / whole
    return Finding(
        "layers",
        True,
        (
            sentence_start(f"{number_word(len(chosen), 'layer')} of {len(rows)} "),
            "makes " if len(chosen) == 1 else "make ",
            f"{percent(share)} of the ",
            Link("output's error", section="sec-sensitivity"),
            ", each quantised alone: ",
            *layer_links(chosen, [f"{row['only_snr']:.1f} dB" for row in chosen]),
            ".",
        ),
        "" if record.get("suggestions") else "Measure what helps there: profile --suggest",
    )


def _layers_alone(record: Record) -> Finding | None:
    rows = [row for row in record["layers"] if isinstance(row.get("snr_single"), (int, float))]
    # layers that compute nothing have no error of their own
    rows = [row for row in rows if row.get("macs")] or rows
    if len(rows) < 2:
        return None
    middle = statistics.median(row["snr_single"] for row in rows)
    worst = sorted(rows, key=lambda row: row["snr_single"])[:MOST_NAMES]
    worst = [row for row in worst if row["snr_single"] <= middle - _CLEARLY_WORSE]
    action = "See what each does to the output, and what helps: profile --sensitivity --suggest"
    if not worst:
        low = min(row["snr_single"] for row in rows)
        words = f"No layer stands out: alone each has {low:.1f} dB or more, half of them more than "
        return Finding(
            "layers",
            False,
            (words, Link(f"{middle:.1f} dB", section="sec-error"), "."),
            action,
        )
    return Finding(
        "layers",
        True,
        (
            sentence_start(number_word(len(worst), "layer")),
            " loses" if len(worst) == 1 else " lose",
            " most, ",
            Link("each taken alone", section="sec-error"),
            ": ",
            *layer_links(worst, [f"{row['snr_single']:.1f} dB" for row in worst]),
            f"; half of the layers have more than {middle:.1f} dB.",
        ),
        action,
    )


def _suggestion(record: Record) -> Finding | None:
    items = record.get("suggestions") or []
    if not items:
        return None
    best = max(items, key=lambda item: (item["after"]["snr"] or 0) - (item["before"]["snr"] or 0))
    before, after = best["before"], best["after"]
    what = "worst part's" if best.get("kind") == "outputs" else "output's"
    gain = f"{what} SNR from {before['snr']:.1f} to {after['snr']:.1f} dB"
    agreed = percent(after["agreement"])
    if after["agreement"] == before["agreement"]:
        gain += f" and leaves the agreement with float at {agreed}"
    else:
        gain += f", and the agreement with float from {percent(before['agreement'])} to {agreed}"
    name = Link(str(best["action"]).removeprefix("together: "), section="sec-suggestions")
    return Finding(
        "suggestion",
        False,
        ("What helps most: ", name, f". It takes the {gain}."),
        f"In the cfg: {best['setting']}",
    )


def _cut(record: Record) -> Finding | None:
    """Layers whose range cuts off outputs."""
    rows = [row for row in _not_inputs(record["layers"]) if _cut_share(row) >= _SATURATED]
    if not rows:
        return None
    rows.sort(key=lambda row: -_cut_share(row))
    chosen = rows[:MOST_NAMES]
    action = widening(record)
    if not record.get("suggestions") and not record.get("ranges_at_extremes"):
        action += "; profile --suggest measures what that gains"
    return Finding(
        "cut",
        True,
        (
            sentence_start(number_word(len(rows), "layer")),
            " cuts off" if len(rows) == 1 else " cut off",
            f" more than {percent(_SATURATED)} of the outputs, most of all ",
            *layer_links(chosen, [percent(_cut_share(row)) for row in chosen]),
            ".",
        ),
        action,
    )


def _input_cut(record: Record) -> Finding | None:
    rows = [row for row in record["layers"] if _is_input(row)]
    rows = [row for row in rows if _cut_share(row) >= _INPUT_SATURATED]
    if not rows:
        return None
    worst = max(rows, key=_cut_share)
    return Finding(
        "input",
        True,
        (
            "The input ",
            Link(str(worst["name"]), layer=str(worst["name"])),
            f" was saturated in {percent(_cut_share(worst))} of its values.",
        ),
        widening(record)
        if record.get("ranges_at_extremes") is False
        else "Use the preprocessing (mean, scale, size) of the calibration data for these images",
    )


def _cut_share(row: Mapping[str, Any]) -> float:
    return float((row.get("saturated_low") or 0) + (row.get("saturated_high") or 0))


def _is_input(row: Mapping[str, Any]) -> bool:
    return bool(row.get("op") == "Input")


def _not_inputs(rows: Rows) -> list[Mapping[str, Any]]:
    return [row for row in rows if not _is_input(row)]


# --- numbers of the program -------------------------------------------------------------------


def _named(
    record: Record, kind: str, key: str, bad: Callable[[Any], bool], words: str, action: str
) -> Finding | None:
    """A finding about the layers whose counter is bad: "two layers <words>: a (3) and b (1)"."""
    rows = [row for row in record["layers"] if row.get(key) is not None and bad(row[key])]
    if not rows:
        return None
    chosen = rows[:MOST_NAMES]
    more = f" and {len(rows) - len(chosen)} more" if len(rows) > len(chosen) else ""
    values = [percent(row[key]) if isinstance(row[key], float) else str(row[key]) for row in chosen]
    start = sentence_start(f"{number_word(len(rows), 'layer')} {words}: ")
    return Finding(kind, True, (start, *layer_links(chosen, values), f"{more}."), action)


def _accumulator(record: Record) -> Finding | None:
    return _named(
        record,
        "accumulator",
        "headroom_bits",
        lambda value: value < 1,
        "with less than one bit of a 32-bit accumulator left over the sums seen",
        "Other images may overflow it: look at acc_min and acc_max, narrow the weights' range",
    )


def _biases(record: Record) -> Finding | None:
    return _named(
        record,
        "biases",
        "biases_clipped",
        lambda value: value > 0,
        "with biases that int32 clips",
        "The scales of input or weights are too large there: widen the input's range",
    )


def _dead(record: Record) -> Finding | None:
    return _named(
        record,
        "dead",
        "bits_lost_to_dead",
        lambda value: value > 0,
        "losing bias bits to channels that cannot reach the output",
        "Set those biases to zero in the model: profile RUN.cfg --suggest measures what that "
        "gains; tune --allow bias does it",
    )


def _multipliers(record: Record) -> Finding | None:
    return _named(
        record,
        "multipliers",
        "multiplier_error",
        lambda value: value >= _COARSE,
        f"with a multiplier more than {percent(_COARSE)} from the real rescale",
        "In the cfg: [Optimizer] multiplier_bits = 15"
        if record.get("scheme") == "compass42"
        else "Its channels share one shift, which leaves the smallest few bits: tune --allow "
        "equalise makes channels alike where that gains",
    )


# --- cost -------------------------------------------------------------------------------------


def _time(record: Record) -> Finding | None:
    """What the estimated time waits for, and where."""
    cost = record.get("cost")
    rows = [row for row in record["layers"] if row.get("cycles")]
    if not cost or not rows or not cost.get("cycles"):
        return None
    whole = cost["cycles"]
    bounds = dict(cost["bound_cycles"])
    waits = "memory" if bounds.get("memory", 0) >= _HALF * whole else str(cost["bound"])
    mine = [row for row in rows if row.get("bound") == waits]
    mine.sort(key=lambda row: -row["cycles"])
    total = sum(row["cycles"] for row in mine)
    chosen = mine[: _fewest([row["cycles"] for row in mine], _HALF * total)]
    part = sum(row["cycles"] for row in chosen) / total if total else 0.0
    verb = {"memory": "waits for memory", "compute": "is computing"}.get(waits, f"is {waits}")
    return Finding(
        "time",
        waits == "memory",
        (
            f"{percent(bounds.get(waits, 0) / whole)} of the ",
            Link(f"estimated {cost['milliseconds']:.2f} ms", section="sec-cost"),
            f" per image {verb}, {percent(part)} of that in ",
            *layer_links(chosen, [percent(row["cycles"] / whole) for row in chosen]),
            ".",
        ),
        _time_action(cost, waits),
    )


def _time_action(cost: Mapping[str, Any], waits: str) -> str:
    other = cost.get("sensitivity", {}).get("double the bandwidth")
    if waits == "memory" and other:
        faster = f"double the bandwidth would give {other['milliseconds']:.2f} ms (estimate)"
        return f"Smaller feature maps or weights there; {faster}"
    if waits == "compute":
        return "Fewer MACs there; a wider map or channels in multiples of 16 fill the array better"
    return "Fewer, larger layers: each node costs its overhead"


def _array(record: Record) -> Finding | None:
    """Layers that leave most of the MAC array idle, where they take a good part of the time."""
    cost = record.get("cost")
    if not cost or not cost.get("cycles"):
        return None
    idle = [
        row
        for row in record["layers"]
        if row.get("macs") and row.get("bound") == "compute" and (row.get("utilisation") or 0) > 0
        if row["utilisation"] < _IDLE
    ]
    share = sum(row["cycles"] for row in idle) / cost["cycles"]
    if share < _IDLE:
        return None
    idle.sort(key=lambda row: -row["cycles"])
    chosen, one = idle[:MOST_NAMES], len(idle) == 1
    return Finding(
        "array",
        True,
        (
            sentence_start(number_word(len(idle), "layer")),
            f" {'uses' if one else 'use'} less than {percent(_IDLE)} of the MAC array and "
            f"{'takes' if one else 'take'} {percent(share)} of the ",
            Link("estimated time", section="sec-roofline"),
            ", first of all ",
            *layer_links(chosen, [percent(row["utilisation"]) for row in chosen]),
            ".",
        ),
        "Depthwise layers fill one MAC of 16: fewer channels there, or dense layers instead",
    )


def _marks(record: Record) -> Finding | None:
    """What the vendor's binary is to be minded for."""
    lints = [fact for fact in record.get("facts") or [] if str(fact[0]).startswith("mind: ")]
    if not lints:
        return None
    parts: list[str | Link] = ["In the binary: "]
    names = {str(row["name"]) for row in record["layers"]}
    for index, (title, text, *_) in enumerate(lints[:MOST_NAMES]):
        name = str(title).removeprefix("mind: ")
        parts += ["; " if index else "", Link(name, layer=name) if name in names else name]
        said = str(text).rstrip(".")
        parts.append(said.removeprefix(name) if said.startswith(f"{name} ") else f": {said}")
    more = len(lints) - MOST_NAMES
    parts.append(f"; and {more} more." if more > 0 else ".")
    return Finding("binary", True, tuple(parts))


def _fewest(falling: Sequence[float], wanted: float) -> int:
    """How many of the largest are needed to reach `wanted`; at most MOST_NAMES."""
    total, count = 0.0, 0
    for value in falling[:MOST_NAMES]:
        total, count = total + value, count + 1
        if total >= wanted:
            break
    return count


_RULES: tuple[Callable[[Record], Finding | None], ...] = (
    _layers,
    _suggestion,
    _input_cut,
    _cut,
    _accumulator,
    _biases,
    _dead,
    _multipliers,
    _time,
    _array,
    _marks,
)
