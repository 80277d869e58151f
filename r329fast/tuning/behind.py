"""Changes of the float network that are judged with weights and biases fitted anew.

What a change is worth is seen behind the fit: before it, errors hide it that the fit takes away.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from r329fast.profile.errors import ratio_db
from r329fast.profile.proposals import MIN_GAIN
from r329fast.tuning.centre import centred
from r329fast.tuning.equalise import equalised, predicted_noise
from r329fast.tuning.headroom import with_headroom
from r329fast.tuning.score import ImageScore, judged_gain
from r329fast.tuning.settings import Change
from r329fast.tuning.silent import without_silent
from r329fast.tuning.state import MSE, State
from r329fast.tuning.weights import scheme_of
from r329fast.tuning.workbench import Bench, Result, fitted, rescaled, spans, with_float_kept

RANGES = "ranges"
ABSORB, EQUALISE, HEADROOM = "absorbed biases", "equalise", "headroom of ranges"
BEHIND = " behind the fit"
_ERRORS = 3.92  # standard errors that a 95 % interval is wide


def behind_fit(bench: Bench, kinds: tuple[str, ...], change: str) -> Result | None:
    """A change of the float network from before the fit, with weights and biases fitted anew.

    With absorbed biases the channel factors are sought anew, if there are any.
    """
    base, factors = bench.unfitted, EQUALISE in bench.kept or EQUALISE + BEHIND in bench.kept
    if base is None or base.method == "file" or (change == EQUALISE and factors):
        return None
    graph, details = base.graph, dict[str, Any]()
    program, arriving = base.program(bench.scheme), bench.arrivals(base)
    before = predicted_noise(base.graph, program, bench.side, arriving) if arriving else None
    if change == ABSORB:
        side = bench.side
        if factors and bench.origin is not None:
            # shifts come before factors: a channel beside zero asks for another one
            scheme = scheme_of(bench.scheme, base.options)
            graph, _ = without_silent(bench.origin.graph, program, scheme)
            side, arriving = bench.run_float(graph), bench.arrivals(bench.origin)
        graph, moves = centred(graph, side)
        del side
        if not any(np.any(values) for values in moves.values()):
            return None
        details["shifts"] = spans(moves, 0)
    # constants move no derivative: what arrives is the same before and after them
    scales: dict[str, np.ndarray] = {}
    if change == EQUALISE or factors:
        moved = bench.side if change == EQUALISE else bench.run_float(graph)
        graph, scales = equalised(graph, program, moved, arriving, means_count=False)
        if not scales and change == EQUALISE:
            return None
        details["factors"] = spans(scales, 1)
        del moved
    arriving = rescaled(arriving, scales)
    found = with_float_kept(bench, base, graph, arriving, details)
    if found is None:
        return None
    state, details = found
    state = _with_known_headroom(bench, state)
    details["predicted_gain_db"] = None
    if before:
        after = predicted_noise(graph, state.program(bench.scheme), bench.side, arriving)
        details["predicted_gain_db"] = ratio_db(before, after)
    bench.tried = state
    after_fit, layers = fitted_best(bench, state, kinds)
    return after_fit, {**details, **layers}


def settings_behind_fit(bench: Bench, kinds: tuple[str, ...], change: Change) -> Result | None:
    """Other settings of quantisation, with weights and biases fitted to them."""
    base = bench.unfitted
    found = change(base) if base is not None else None
    if base is None or found is None:
        return None
    bench.tried, details = found
    if bench.tried.graph is not base.graph:
        bench.side = bench.run_float(bench.tried.graph)
    after, layers = fitted_best(bench, bench.tried, kinds)
    return after, {**details, **layers}


def ranges_behind_fit(bench: Bench, kinds: tuple[str, ...]) -> Result | None:
    """The ranges that err least in each tensor, with weights and biases fitted to them."""
    base = bench.unfitted
    if base is None or base.method in ("file", MSE):
        return None
    bench.tried = _with_known_headroom(bench, bench.ranges_as(base, MSE))
    return fitted_best(bench, bench.tried, kinds)


def fitted_best(bench: Bench, state: State, kinds: tuple[str, ...]) -> Result:
    """`fitted`; with biases alone where the images that no weight is fitted to say that it is
    better, by more than one standard error: fitted weights may know their images too well."""
    whole, details = fitted(bench, state, kinds, lambda count: None)
    if set(kinds) != {"bias", "rounding"}:
        return whole, details
    simple, words = fitted(bench, state, ("bias",), lambda count: None)
    gain, low, high = judged_gain(bench.held(whole), bench.held(simple))
    found = {"biases_alone_db": gain, "biases_alone_interval_db": [low, high]}
    if gain > _standard_error(low, high):
        return simple, {**words, **found, "biases_alone": True}
    return whole, {**details, **found, "biases_alone": False}


def _with_known_headroom(bench: Bench, state: State) -> State:
    """With the headroom that was kept; found for another method's ranges, it only widens: ranges
    that err least are narrow already."""
    kept = bench.kept.get(HEADROOM)
    if not kept:
        return state
    headroom = kept["headroom"]
    if state.method != kept["method"]:
        headroom = max(headroom, 1.0)
    return with_headroom(state, headroom)


def better_by_order(before: ImageScore, after: ImageScore) -> tuple[bool, dict[str, Any]]:
    """(whether the output is better by MIN_GAIN, why)."""
    gain, low, high = judged_gain(before, after)
    return gain >= MIN_GAIN, {
        "judged": "classes' order included", "judged_gain_db": gain,
        "judged_interval_db": [low, high],
    }  # fmt: skip


def _standard_error(low: float, high: float) -> float:
    """Of a gain with that 95 % interval."""
    return (high - low) / _ERRORS


def better_settings(before: ImageScore, after: ImageScore) -> tuple[bool, dict[str, Any]]:
    """(whether other settings are better, why): by more than one standard error."""
    gain, low, high = judged_gain(before, after)
    error = _standard_error(low, high)
    return gain > error, {
        "judged": "with weights fitted anew, classes' order included",
        "judged_gain_db": gain, "judged_interval_db": [low, high], "tie": abs(gain) <= error,
        "predicted_gain_db": None,
    }  # fmt: skip


def better_behind(
    details: dict[str, Any], before: ImageScore, after: ImageScore
) -> tuple[bool, dict[str, Any]]:
    """(whether a fitted network is better than another, why): what both bring is judged.

    Where the interval of the gain holds zero the images cannot tell, and the one with the smaller
    noise in the model is taken.
    """
    gain, low, high = judged_gain(before, after)
    tie = low <= 0 <= high
    predicted = details["predicted_gain_db"]
    better = predicted is not None and predicted > 0 if tie else gain > 0
    judged = "with weights fitted anew, classes' order included"
    return better, {
        "judged": judged, "judged_gain_db": gain, "judged_interval_db": [low, high], "tie": tie
    }  # fmt: skip
