"""The steps of a tuning in order: each is tried on what was kept before it, kept if it helps."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from r329fast.profile.dead_channels import dead_bias_candidates, without_dead_biases
from r329fast.profile.proposals import MIN_GAIN
from r329fast.profile.suggestion import Setup
from r329fast.tuning.behind import (
    ABSORB,
    BEHIND,
    EQUALISE,
    HEADROOM,
    RANGES,
    behind_fit,
    better_behind,
    ranges_behind_fit,
)
from r329fast.tuning.centre import centred
from r329fast.tuning.ending import MAY_DISAGREE, UNDONE, Ending, Standing
from r329fast.tuning.equalise import equalised
from r329fast.tuning.headroom import with_headroom
from r329fast.tuning.history import Moment
from r329fast.tuning.journal import Journal
from r329fast.tuning.range_search import search_ranges
from r329fast.tuning.score import ImageScore, gain_intervals
from r329fast.tuning.state import MSE, State
from r329fast.tuning.weights import scheme_of
from r329fast.tuning.workbench import Bench, Result, fitted, spans, with_float_kept

_SAME_FLOAT = (ABSORB, EQUALISE)  # other constants, the same float network, ranges of its own
_BY_OTHERS = (*_SAME_FLOAT, HEADROOM)  # judged by ranges that other images show
_FITS = ("bias", "rounding", "bias and rounding")
_UNFITTED = ", unfitted"  # entry of the journal: what stood before the fit
_METHODS = {"aqt2021": ("EXTREME", "MEAN"), "compass42": ("extrema", "mean", "10kld")}
MANY = 24  # with fewer images nothing that narrows a range is tried: they do not show the extremes


Trial = Callable[[State], Result | None]


def planned(bench: Bench, start: State, advance: Callable[[int], None]) -> list[tuple[str, Trial]]:
    """(name, trial) of every step that is allowed; a trial gives None where it has nothing."""
    allow = bench.tune.allow
    steps: list[tuple[str, Trial]] = []
    many = len(bench.x) >= MANY
    if "settings" in allow and many:
        for method in _METHODS[bench.scheme]:
            if method != start.method:
                steps.append((f"settings {method}", _method(bench, method)))
    if "ranges" in allow and many:
        steps.append((RANGES, _method(bench, MSE)))
    kinds = tuple(kind for kind in ("bias", "rounding") if kind in allow)
    behind = many and bool(kinds)
    if "equalise" in allow:
        if not behind:
            steps.append((ABSORB, lambda state: _absorb(bench, state)))
        steps.append((EQUALISE, lambda state: _equalise(bench, state)))
    if "ranges" in allow:
        steps.append((HEADROOM, lambda state: _headroom(bench, state)))
    if "bias" in allow:
        steps.append(("dead biases", lambda state: _without_dead(bench, state)))
    if kinds:
        steps.append((" and ".join(kinds), lambda state: fitted(bench, state, kinds, advance)))
    if behind and "ranges" in allow:
        steps.append((RANGES + BEHIND, lambda state: ranges_behind_fit(bench, kinds)))
    if behind and "equalise" in allow:
        steps.append((EQUALISE + BEHIND, lambda state: behind_fit(bench, kinds, EQUALISE)))
        steps.append((ABSORB + BEHIND, lambda state: behind_fit(bench, kinds, ABSORB)))
    if "ranges" in allow and many:
        steps.append(("ranges one by one", lambda state: _search(bench, state)))
        if kinds:
            name = f"{' and '.join(kinds)} again"
            steps.append((name, lambda state: _fit_again(bench, state, kinds)))
    return steps


def _method(bench: Bench, method: str) -> Trial:
    return lambda state: (bench.ranges_as(state, method), {})


def _absorb(bench: Bench, state: State) -> Result | None:
    graph, moves = centred(state.graph, bench.side)
    return with_float_kept(bench, state, graph, {"shifts": spans(moves, 0)}) if moves else None


def _equalise(bench: Bench, state: State) -> Result | None:
    program = state.program(bench.scheme, bench.options)
    graph, factors = equalised(state.graph, program, bench.side, bench.arrivals(state.graph))
    details = {"factors": spans(factors, 1)}
    return with_float_kept(bench, state, graph, details) if factors else None


def _headroom(bench: Bench, state: State) -> Result | None:
    headroom, _, _ = bench.headroom(state)
    return None if headroom == 1 else (with_headroom(state, headroom), {"headroom": headroom})


def _without_dead(bench: Bench, state: State) -> Result | None:
    """Zero for the biases of channels that cannot reach the output: as `profile --suggest` says."""
    program = state.program(bench.scheme, bench.options)
    found = dead_bias_candidates(program)
    if not found:
        return None
    names = found[0].change(Setup(state.ranges, bench.options)).zero_biases
    graph = without_dead_biases(state.graph, program, names)
    return State(graph, state.ranges, state.method), {"dead": list(names), "cause": found[0].cause}


def _fit_again(bench: Bench, state: State, kinds: tuple[str, ...]) -> Result | None:
    """Weights and biases fitted anew to the ranges that were found since, from the float ones."""
    begun = bench.unfitted
    if begun is None or begun.ranges.values == state.ranges.values:
        return None
    fresh = State(begun.graph, state.ranges, state.method)
    return fitted(bench, fresh, kinds, lambda count: None)


def _search(bench: Bench, state: State) -> Result | None:
    chosen = bench.choosing()
    found, changes = search_ranges(
        state,
        scheme_of(bench.scheme, bench.options),
        bench.x[chosen],
        bench.expected[chosen],
        bench.tune.threads,
        bench.goes_on,
    )
    return (found, {"ranges": changes}) if changes else None


def take_steps(
    bench: Bench, state: State, journal: Journal | None, advance: Callable[[int], None],
    told: Callable[[str], None],
) -> tuple[State, list[dict[str, Any]], list[Moment]]:  # fmt: skip
    """(the state after all steps that helped, a record of every step, when it was reached).

    The state is the one it began with unless it ends better than that."""
    records = []
    before = bench.score(state)
    history = [Moment("", bench.spent(), before[1].snr)]
    ending = Ending(Standing((), state, before))
    for name, trial in planned(bench, state, advance):
        base, begun = bench.side.graph, time.monotonic()
        if name in _FITS:
            bench.unfitted = state
        bench.tried = None
        found = _finished(bench, journal, name, state)
        if found is None and not bench.goes_on():
            records.append(
                {"step": name, "accepted": False, "gain_db": None, "method": "", "begun": False}
            )
            told(f"{name}: not begun, the budget of {bench.tune.budget:g} min is over")
            continue
        if found is None:
            record, after = _tried(bench, name, trial, state, before)
            if journal:
                if after is not None and bench.tried is not None:
                    journal.write(name + _UNFITTED, {**record, "layers": []}, bench.tried)
                seconds = time.monotonic() - begun
                journal.write(name, {**record, "seconds": seconds}, after)
        else:
            record, after = found
            bench.started -= record.pop("seconds", 0.0)  # what it took when it was done
        records.append(record)
        told(f"{name}: {_words(record)}")
        if after is not None:
            state, bench.kept[name] = after, record
            bench.unfitted = bench.tried or bench.unfitted
            before = bench.score(state)
            best, last = ending.best(), ending.take(name, state, before)
            if name == HEADROOM:
                ending.found(_widened(bench, best, last, record["headroom"]))
        elif bench.side.graph is not base:
            bench.side = bench.run_float(base)
        history.append(Moment(name, bench.spent(), before[1].snr))
    last = ending.undo(records, told)
    if last.state is not state:
        history.append(Moment(UNDONE, bench.spent(), last.scores[1].snr))
    return last.state, records, history


def _widened(bench: Bench, best: Standing, last: Standing, headroom: float) -> Standing:
    """What was best before the headroom, with it: `last`, where that has no step more."""
    if best.kept == last.kept[:-1]:
        return last
    wide = with_headroom(best.state, headroom)
    return Standing((*best.kept, HEADROOM), wide, bench.score(wide))


def _finished(
    bench: Bench, journal: Journal | None, name: str, state: State
) -> tuple[dict[str, Any], State | None] | None:
    """A step that an earlier run finished, and with it the float network that it left."""
    found = journal.read(name, state) if journal else None
    if journal is None or found is None or found[1] is None:
        return found
    graph = found[1].graph
    if name.endswith(BEHIND):
        unfitted = journal.read(name + _UNFITTED, state)
        if unfitted is None or unfitted[1] is None:
            return None
        bench.tried = unfitted[1]
        graph = bench.tried.graph
    if name in _SAME_FLOAT or name.endswith(BEHIND):
        bench.side = bench.run_float(graph)
    return found


def _words(record: dict[str, Any]) -> str:
    if record["gain_db"] is None:
        return "nothing to do"
    words = f"{record['gain_db']:+.2f} dB on images that did not choose it"
    if record.get("tie"):
        words += ", a tie"
        if record["predicted_gain_db"] is not None:
            words += f"; the model of the noise says {record['predicted_gain_db']:+.2f} dB"
    if record["accepted"]:
        return f"{words}, kept"
    if record.get("tie") and (record["predicted_gain_db"] or 0) > 0:
        return f"{words}, but others lose, classes change or the budget is over: not kept"
    if record["gain_db"] >= MIN_GAIN and not record.get("tie"):
        words += f", {record['gain_chosen_db']:+.2f} dB on the others, or classes change"
    return f"{words}, not kept"


def _tried(
    bench: Bench, name: str, trial: Trial, state: State, before: tuple[ImageScore, ImageScore]
) -> tuple[dict[str, Any], State | None]:
    # before the trial, whose float network takes the place of the one that this needs
    was = bench.headroom(state) if name in _SAME_FLOAT else None
    result = trial(state)
    record: dict[str, Any] = {"step": name, "accepted": False, "gain_db": None, "method": ""}
    if result is None:
        return record, None
    after, details = result
    scores = bench.score(after)
    gain = scores[1].snr - before[1].snr
    if name in _BY_OTHERS:
        # these trade rounding against cutting off: every image is judged by others' ranges
        found = bench.headroom(after if name in _SAME_FLOAT else state)
        gain = found[1] - (was[1] if was else found[2])
        record["judged"] = "by ranges of other images, with biases corrected"
    falls = scores[0].snr < before[0].snr and name not in _BY_OTHERS
    agreed = [sum(score.agreed for score in pair) for pair in (before, scores)]
    disagrees = name not in _BY_OTHERS and (agreed[1] < agreed[0] - MAY_DISAGREE * len(bench.x))
    accepted = gain >= MIN_GAIN and not falls and not disagrees
    if "predicted_gain_db" in details:
        better, why = better_behind(details, before[1], scores[1])
        # half a fit, where the budget ended it, is no tie
        accepted = better and not falls and not disagrees and bench.goes_on()
        record |= why
    record |= {
        "accepted": accepted,
        "gain_db": gain,
        **gain_intervals(before[1], scores[1]),
        "gain_chosen_db": scores[0].snr - before[0].snr,
        "method": after.method,
        "before": {"chosen": before[0].as_json(), "confirmed": before[1].as_json()},
        "after": {"chosen": scores[0].as_json(), "confirmed": scores[1].as_json()},
        **details,
    }
    return record, after if accepted else None
