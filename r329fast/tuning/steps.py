"""The steps of a tuning in order: each is tried on what was kept before it, kept if it helps."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

from r329fast.base.allocator import give_back
from r329fast.calibration import Ranges
from r329fast.graph.ir import SoftmaxAttrs
from r329fast.profile.dead_channels import dead_bias_candidates, without_dead_biases
from r329fast.profile.suggestion import Setup
from r329fast.tuning.behind import (
    ABSORB,
    BEHIND,
    EQUALISE,
    HEADROOM,
    RANGES,
    behind_fit,
    ranges_behind_fit,
    settings_behind_fit,
)
from r329fast.tuning.centre import centred
from r329fast.tuning.ending import UNDONE, Ending, Standing
from r329fast.tuning.equalise import equalised
from r329fast.tuning.headroom import best_output_headroom, with_headroom
from r329fast.tuning.history import Moment
from r329fast.tuning.input_range import best_input_range
from r329fast.tuning.journal import Journal
from r329fast.tuning.range_search import FINE_RATIOS, RATIOS, search_ranges
from r329fast.tuning.score import ImageScore, gain_intervals
from r329fast.tuning.settings import SETTINGS, Change, changes_of
from r329fast.tuning.silent import SILENT, steps_gain, without_silent
from r329fast.tuning.state import MSE, State, answer_tensors, range_change, scaled
from r329fast.tuning.verdict import AGAIN, ONE_BY_ONE, SAME_FLOAT, verdict, verdict_words
from r329fast.tuning.weights import scheme_of
from r329fast.tuning.workbench import (
    INPUT,
    MANY,
    OUTPUT,
    Bench,
    Result,
    fitted,
    fitted_with_mirrors,
    rescaled,
    spans,
    with_float_kept,
)

_FITS = ("bias", "rounding", "bias and rounding")
_UNFITTED = ", unfitted"  # entry of the journal: what stood before the fit
_METHODS = {"aqt2021": ("EXTREME", "MEAN"), "compass42": ("extrema", "mean", "10kld")}


Trial = Callable[[State], Result | None]


def planned(bench: Bench, start: State, advance: Callable[[int], None]) -> list[tuple[str, Trial]]:
    """(name, trial) of every step that is allowed; a trial gives None where it has nothing."""
    allow = bench.tune.allow
    steps: list[tuple[str, Trial]] = []
    many = len(bench.x) >= MANY
    if "settings" in allow and many:
        for method in _METHODS[bench.scheme]:
            if method != start.method:
                steps.append((f"{SETTINGS} {method}", _method(bench, method)))
    if "ranges" in allow and many:
        steps.append((RANGES, _method(bench, MSE)))
        steps.append((INPUT, lambda state: _input_range(bench, state)))
    kinds = tuple(kind for kind in ("bias", "rounding") if kind in allow)
    behind = many and bool(kinds)
    settings = changes_of(bench.scheme, bench.tune.per_channel is None)
    if not (many and "settings" in allow):
        settings = {}
    if not behind:
        steps += list(settings.items())
    if "equalise" in allow:
        steps.append((SILENT, lambda state: _without_silent(bench, state)))
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
    if behind:
        steps += [
            (name + BEHIND, _setting_behind(bench, kinds, change))
            for name, change in settings.items()
        ]
    if behind and "equalise" in allow:
        steps.append((EQUALISE + BEHIND, lambda state: behind_fit(bench, kinds, EQUALISE)))
        steps.append((ABSORB + BEHIND, lambda state: behind_fit(bench, kinds, ABSORB)))
    if "ranges" in allow and many:
        steps.append((ONE_BY_ONE[0], lambda state: _search(bench, state, RATIOS)))
        steps.append((OUTPUT, lambda state: _output_range(bench, state)))
        if kinds:
            name = " and ".join(kinds)
            steps.append((name + AGAIN[0], lambda state: _fit_again(bench, state, kinds, True)))
            steps.append((ONE_BY_ONE[1], lambda state: _search(bench, state, FINE_RATIOS)))
            steps.append((name + AGAIN[1], lambda state: _fit_again(bench, state, kinds, False)))
    return steps


def _method(bench: Bench, method: str) -> Trial:
    return lambda state: (bench.ranges_as(state, method), {})


def _setting_behind(bench: Bench, kinds: tuple[str, ...], change: Change) -> Trial:
    return lambda state: settings_behind_fit(bench, kinds, change)


def _input_range(bench: Bench, state: State) -> Result | None:
    if state.method == "file":
        return None
    arriving = bench.arrivals(state).get(state.graph.inputs[0])
    scheme, parts = scheme_of(bench.scheme, state.options), bench.parts
    found = best_input_range(
        state, scheme, bench.x[bench.choosing()], bench.x[parts.confirming], arriving
    )
    if found is None:
        return None
    after, gain = found
    name = state.graph.inputs[0]
    change = range_change(name, state.ranges[name], after.ranges[name], gain)
    return after, {"ranges": [change], "own_gain_db": gain}


def _output_range(bench: Bench, state: State) -> Result | None:
    last = state.graph.producer(state.graph.outputs[0])
    if state.method == "file" or isinstance(last.attrs, SoftmaxAttrs):
        return None  # the steps of a Softmax are its own
    program = state.program(bench.scheme)
    headroom, gain = best_output_headroom(program, bench.expected)
    names = sorted(answer_tensors(state.graph) & set(state.ranges.values))
    if headroom == 1:
        return None
    values, changes = dict(state.ranges.values), []
    for name in names:
        values[name] = scaled(state.ranges[name], headroom)
        changes.append(range_change(name, state.ranges[name], values[name], gain))
    after = dataclasses.replace(state, ranges=Ranges(values))
    return after, {"ranges": changes, "own_gain_db": gain}


def _absorb(bench: Bench, state: State) -> Result | None:
    graph, moves = centred(state.graph, bench.side)
    if not moves:
        return None
    details = {"shifts": spans(moves, 0)}
    return with_float_kept(bench, state, graph, bench.arrivals(state), details)


def _without_silent(bench: Bench, state: State) -> Result | None:
    program, scheme = state.program(bench.scheme), scheme_of(bench.scheme, state.options)
    graph, silent = without_silent(state.graph, program, scheme)
    if not silent:
        return None
    after = dataclasses.replace(state, graph=graph, arriving=bench.arrivals(state))
    gain = steps_gain(program, after.program(bench.scheme), silent, state.graph)
    bench.side = bench.run_float(graph)
    return after, {"silent": silent, "own_gain_db": gain}


def _equalise(bench: Bench, state: State) -> Result | None:
    program = state.program(bench.scheme)
    arriving = bench.arrivals(state)
    graph, factors = equalised(state.graph, program, bench.side, arriving)
    if not factors:
        return None
    details = {"factors": spans(factors, 1)}
    return with_float_kept(bench, state, graph, rescaled(arriving, factors), details)


def _headroom(bench: Bench, state: State) -> Result | None:
    headroom, _, _ = bench.headroom(state)
    return None if headroom == 1 else (with_headroom(state, headroom), {"headroom": headroom})


def _without_dead(bench: Bench, state: State) -> Result | None:
    """Zero for the biases of channels that cannot reach the output: as `profile --suggest` says."""
    program = state.program(bench.scheme)
    found = dead_bias_candidates(program)
    if not found:
        return None
    names = found[0].change(Setup(state.ranges, state.options)).zero_biases
    graph = without_dead_biases(state.graph, program, names)
    return dataclasses.replace(state, graph=graph, arriving=bench.arrivals(state)), {
        "dead": list(names), "cause": found[0].cause
    }  # fmt: skip


def _fit_again(bench: Bench, state: State, kinds: tuple[str, ...], first: bool) -> Result | None:
    """Weights and biases fitted anew to the ranges that were found since, from the float ones;
    with mirror images, if the network reads images, and then the first time in any case."""
    begun = bench.unfitted
    if begun is None:
        return None
    moved = begun.ranges.values != state.ranges.values
    bench.tried = dataclasses.replace(state, graph=begun.graph)
    found = fitted_with_mirrors(bench, bench.tried, kinds) if first or moved else None
    if found is None and moved:
        found = fitted(bench, bench.tried, kinds, lambda count: None)
    return found


def _search(bench: Bench, state: State, ratios: Sequence[float]) -> Result | None:
    chosen = bench.choosing()
    found, changes = search_ranges(
        state,
        scheme_of(bench.scheme, state.options),
        bench.x[chosen],
        bench.expected[chosen],
        bench.tune.threads,
        bench.goes_on,
        ratios,
    )
    return (found, {"ranges": changes}) if changes else None


def take_steps(
    bench: Bench, state: State, journal: Journal | None, advance: Callable[[int], None],
    told: Callable[[str], None],
) -> tuple[State, list[dict[str, Any]], list[Moment]]:  # fmt: skip
    """(the state after all steps that helped, a record of every step, when it was reached).

    The state is the one it began with unless it ends better than that."""
    records = []
    bench.origin = state
    before = bench.score(state)
    history = [Moment("", bench.spent(), before[1].snr)]
    ending = Ending(Standing((), state, before))
    for name, trial in planned(bench, state, advance):
        base, begun = bench.side.graph, time.monotonic()
        give_back()
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
        told(f"{name}: {verdict_words(record)}")
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
    if name.endswith((BEHIND, *AGAIN)):
        unfitted = journal.read(name + _UNFITTED, state)
        if unfitted is None or unfitted[1] is None:
            return None
        bench.tried = unfitted[1]
        graph = bench.tried.graph
        if name.endswith(AGAIN):  # the float network is the one that stands, as it is in memory
            assert bench.unfitted is not None
            bench.tried = dataclasses.replace(bench.tried, graph=bench.unfitted.graph)
    if name in (*SAME_FLOAT, SILENT) or name.endswith(BEHIND):
        bench.side = bench.run_float(graph)
    return found


def _tried(
    bench: Bench, name: str, trial: Trial, state: State, before: tuple[ImageScore, ImageScore]
) -> tuple[dict[str, Any], State | None]:
    # before the trial, whose float network takes the place of the one that this needs
    was = bench.headroom(state) if name in SAME_FLOAT else None
    result = trial(state)
    record: dict[str, Any] = {"step": name, "accepted": False, "gain_db": None, "method": ""}
    if result is None:
        return record, None
    after, details = result
    scores = bench.score(after)
    record |= {
        **verdict(bench, name, (state, after), (before, scores), details, was),
        **gain_intervals(before[1], scores[1]),
        "gain_chosen_db": scores[0].snr - before[0].snr,
        "method": after.method,
        "before": {"chosen": before[0].as_json(), "confirmed": before[1].as_json()},
        "after": {"chosen": scores[0].as_json(), "confirmed": scores[1].as_json()},
        **details,
    }
    return record, after if record["accepted"] else None
