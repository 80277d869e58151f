"""Whether a step of a tuning is kept: who judges it, and in which words it is told."""

from __future__ import annotations

from typing import Any

from r329fast.profile.proposals import MIN_GAIN
from r329fast.tuning.behind import (
    ABSORB,
    BEHIND,
    EQUALISE,
    HEADROOM,
    better_behind,
    better_by_order,
    better_settings,
)
from r329fast.tuning.score import ImageScore, agreement_falls
from r329fast.tuning.settings import SETTINGS
from r329fast.tuning.silent import SILENT
from r329fast.tuning.state import State
from r329fast.tuning.workbench import INPUT, OUTPUT, Bench

SAME_FLOAT = (ABSORB, EQUALISE)  # other constants, the same float network, ranges of its own
_BY_OTHERS = (*SAME_FLOAT, HEADROOM)  # judged by ranges that other images show
ONE_BY_ONE = ("ranges one by one", "ranges one by one, finely")
AGAIN = (" again", " once more")  # ends of the names of fits behind the first


def verdict(
    bench: Bench,
    name: str,
    states: tuple[State, State],
    scores: tuple[tuple[ImageScore, ImageScore], tuple[ImageScore, ImageScore]],
    details: dict[str, Any],
    was: tuple[float, float, float] | None,
) -> dict[str, Any]:
    """Whether a step is kept, and why: of the states before and after it, and their scores.

    was: of the state before it, where the float network changed: the headroom.
    """
    before, after = scores
    gain = after[1].snr - before[1].snr
    found: dict[str, Any] = {"gain_db": gain}
    if name in (INPUT, OUTPUT, SILENT):  # what is lost there nothing can give back
        better = details["own_gain_db"] >= MIN_GAIN
        return {**found, "accepted": better, "judged": "by the tensor's own error"}
    if name in _BY_OTHERS:
        # these trade rounding against cutting off: every image is judged by others' ranges
        other = bench.headroom(states[1] if was else states[0])
        gain = other[1] - (was[1] if was else other[2])
        judged = "by ranges of other images, with biases corrected"
        return {"gain_db": gain, "accepted": gain >= MIN_GAIN, "judged": judged}
    disagrees = agreement_falls(before, after)
    if not name.endswith((BEHIND, *AGAIN)) and name not in ONE_BY_ONE:
        falls = after[0].snr < before[0].snr
        return {**found, "accepted": gain >= MIN_GAIN and not falls and not disagrees}
    held = bench.held(states[0]), bench.held(states[1])
    if "predicted_gain_db" in details:
        better, why = better_behind(details, *held)
    elif name.startswith(SETTINGS):
        better, why = better_settings(*held)
    else:
        better, why = better_by_order(*held)
    # half a fit, where the budget ended it, proves nothing
    return {**found, "accepted": better and not disagrees and bench.goes_on(), **why}


def verdict_words(record: dict[str, Any]) -> str:
    if record["gain_db"] is None:
        return "nothing to do"
    words = f"{record['gain_db']:+.2f} dB on images that did not choose it"
    if "own_gain_db" in record:
        where = "multipliers themselves" if record.get("step") == SILENT else "tensor itself"
        words += f", {record['own_gain_db']:+.1f} dB in the {where}"
    if "judged_gain_db" in record:
        words += f" ({record['judged_gain_db']:+.2f} dB as it is judged)"
    if record.get("biases_alone"):
        words += ", with biases alone"
    if record.get("tie"):
        words += ", a tie"
        if record["predicted_gain_db"] is not None:
            words += f"; the model of the noise says {record['predicted_gain_db']:+.2f} dB"
    if record["accepted"]:
        return f"{words}, kept"
    return f"{words}{_against(record)}, not kept"


def _against(record: dict[str, Any]) -> str:
    """What spoke against a step that gained."""
    if "judged_gain_db" in record:
        wanted = record["predicted_gain_db"] or 0 if record.get("tie") else record["judged_gain_db"]
        least = 0 if record.get("tie") else MIN_GAIN
        return ", but agreement falls or the budget is over" if wanted > least else ""
    if record["gain_db"] < MIN_GAIN or "own_gain_db" in record:
        return ""
    chosen = record["gain_chosen_db"]
    return f", but {chosen:+.2f} dB on the others" if chosen < 0 else ", but agreement falls"
