"""The steps of a tuning in order: each is tried on what was kept before it, kept if it helps."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from r329fast.graph.ir import Graph
from r329fast.profile.dead_channels import dead_bias_candidates, without_dead_biases
from r329fast.profile.proposals import MIN_GAIN
from r329fast.profile.suggestion import Setup
from r329fast.quantization import Options
from r329fast.tuning.arrivals import arrivals
from r329fast.tuning.centre import centred
from r329fast.tuning.equalise import equalised
from r329fast.tuning.float_side import FloatSide, run_float
from r329fast.tuning.headroom import best_headroom, with_headroom
from r329fast.tuning.history import Moment
from r329fast.tuning.journal import Journal
from r329fast.tuning.options import TuneOptions
from r329fast.tuning.range_search import search_ranges
from r329fast.tuning.score import ImageScore, gain_intervals
from r329fast.tuning.state import MSE, Parts, State, output_score, ranges_of
from r329fast.tuning.store import Store
from r329fast.tuning.weights import fit_weights, scheme_of

ABSORB, EQUALISE, HEADROOM = "absorbed biases", "equalise", "headroom of ranges"
_SAME_FLOAT = (ABSORB, EQUALISE)  # other constants, the same float network, ranges of its own
_BY_OTHERS = (*_SAME_FLOAT, HEADROOM)  # judged by ranges that other images show
_FITS = ("bias", "rounding", "bias and rounding")
_METHODS = {"aqt2021": ("EXTREME", "MEAN"), "compass42": ("extrema", "mean", "10kld")}
MANY = 24  # with fewer images nothing that narrows a range is tried: they do not show the extremes
MAY_DISAGREE = 0.01  # share of all images in whose class a kept step may fall behind
EQUAL = 1e-5  # share of the largest output by which an equalised float network may differ


@dataclass
class Bench:
    """What every step needs: the images, the float network's answers, how to judge."""

    x: np.ndarray
    scheme: str
    options: Options
    tune: TuneOptions
    parts: Parts
    side: FloatSide
    expected: np.ndarray
    store: Callable[[], Store] = Store
    started: float = field(default_factory=time.monotonic)
    unfitted: State | None = None  # what stood before weights and biases were fitted
    _headrooms: list[tuple[State, tuple[float, float, float]]] = field(default_factory=list)

    def spent(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.started

    def goes_on(self) -> bool:
        """Whether the budget lasts."""
        return not self.tune.budget or self.spent() < 60 * self.tune.budget

    def run_float(self, graph: Graph) -> FloatSide:
        return run_float(graph, self.x, self.tune.seed, self.tune.threads, self.store())

    def choosing(self) -> np.ndarray:
        """bool [N]: the images that do not confirm (all, where there are hardly any)."""
        confirming = self.parts.confirming
        return confirming if confirming.all() else ~confirming

    def score(self, state: State) -> tuple[ImageScore, ImageScore]:
        """(on the images that choose, on those that confirm)."""
        program = state.program(self.scheme, self.options)
        first, second = (
            output_score(program, self.x, self.expected, self.tune.threads, np.flatnonzero(part))
            for part in (self.choosing(), self.parts.confirming)
        )
        return first, second

    def headroom(self, state: State) -> tuple[float, float, float]:
        """`best_headroom` of the state with corrected biases."""
        for known, found in self._headrooms:
            if known is state:
                return found
        found = best_headroom(
            _behind_biases(self, state),
            lambda trial: trial.program(self.scheme, self.options),
            self.x, self.expected, self.side, self.tune.threads,
        )  # fmt: skip
        # the state before a step and the one after it: the next step begins with either
        self._headrooms = [*self._headrooms[-1:], (state, found)]
        return found

    def ranges_as(self, state: State, method: str) -> State:
        ranges = ranges_of(
            state.graph, method, self.x, self.scheme, self.options, self.side, self.tune.threads
        )
        return State(state.graph, ranges, method)


Trial = Callable[[State], tuple[State, dict[str, Any]] | None]


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
        steps.append(("ranges", _method(bench, MSE)))
    if "equalise" in allow:
        steps.append((ABSORB, lambda state: _absorb(bench, state)))
        steps.append((EQUALISE, lambda state: _equalise(bench, state)))
    if "ranges" in allow:
        steps.append((HEADROOM, lambda state: _headroom(bench, state)))
    if "bias" in allow:
        steps.append(("dead biases", lambda state: _without_dead(bench, state)))
    kinds = tuple(kind for kind in ("bias", "rounding") if kind in allow)
    if kinds:
        steps.append((" and ".join(kinds), lambda state: _fit(bench, state, kinds, advance)))
    if "ranges" in allow and many:
        steps.append(("ranges one by one", lambda state: _search(bench, state)))
        if kinds:
            name = f"{' and '.join(kinds)} again"
            steps.append((name, lambda state: _fit_again(bench, state, kinds)))
    return steps


def _method(bench: Bench, method: str) -> Trial:
    return lambda state: (bench.ranges_as(state, method), {})


def _absorb(bench: Bench, state: State) -> tuple[State, dict[str, Any]] | None:
    graph, moves = centred(state.graph, bench.side)
    return _with_float_kept(bench, state, graph, {"shifts": _spans(moves, 0)}) if moves else None


def _equalise(bench: Bench, state: State) -> tuple[State, dict[str, Any]] | None:
    program = state.program(bench.scheme, bench.options)
    arriving = arrivals(state.graph, bench.x, bench.tune.seed, bench.tune.threads)
    graph, factors = equalised(state.graph, program, bench.side, arriving)
    details = {"factors": _spans(factors, 1)}
    return _with_float_kept(bench, state, graph, details) if factors else None


def _spans(channels: dict[str, np.ndarray], idle: float) -> dict[str, list[float]]:
    """Tensor -> the least and the largest of its channels' numbers, where any is not idle."""
    return {
        name: [float(values.min()), float(values.max())]
        for name, values in channels.items()
        if np.any(values != idle)
    }


def _with_float_kept(
    bench: Bench, state: State, graph: Graph, details: dict[str, Any]
) -> tuple[State, dict[str, Any]] | None:
    """`graph` with ranges of its own, if the float network's outputs stay as they were."""
    if state.method == "file":  # ranges from outside have no rule to follow
        return None
    side = bench.run_float(graph)
    largest = float(np.abs(bench.expected).max())
    difference = float(np.abs(side.output - bench.expected).max()) / max(largest, 1e-30)
    if difference > EQUAL:
        return None
    ranges = ranges_of(
        graph, state.method, bench.x, bench.scheme, bench.options, side, bench.tune.threads
    )
    bench.side = side
    return State(graph, ranges, state.method), {"float_difference": difference, **details}


def _headroom(bench: Bench, state: State) -> tuple[State, dict[str, Any]] | None:
    headroom, _, _ = bench.headroom(state)
    return None if headroom == 1 else (with_headroom(state, headroom), {"headroom": headroom})


def _without_dead(bench: Bench, state: State) -> tuple[State, dict[str, Any]] | None:
    """Zero for the biases of channels that cannot reach the output: as `profile --suggest` says."""
    program = state.program(bench.scheme, bench.options)
    found = dead_bias_candidates(program)
    if not found:
        return None
    names = found[0].change(Setup(state.ranges, bench.options)).zero_biases
    graph = without_dead_biases(state.graph, program, names)
    return State(graph, state.ranges, state.method), {"dead": list(names), "cause": found[0].cause}


def _behind_biases(bench: Bench, state: State) -> State:
    """The state with corrected biases: without that, errors of means hide all others."""
    if "bias" not in bench.tune.allow:
        return state
    graph, _ = fit_weights(
        state, scheme_of(bench.scheme, bench.options), bench.x, bench.side, bench.parts, ("bias",),
        bench.tune.threads, bench.goes_on,
    )  # fmt: skip
    return State(graph, state.ranges, state.method)


def _fit(
    bench: Bench, state: State, kinds: tuple[str, ...], advance: Callable[[int], None]
) -> tuple[State, dict[str, Any]]:
    graph, layers = fit_weights(
        state, scheme_of(bench.scheme, bench.options), bench.x, bench.side, bench.parts, kinds,
        bench.tune.threads, bench.goes_on, advance,
    )  # fmt: skip
    return State(graph, state.ranges, state.method), {"layers": layers}


def _fit_again(
    bench: Bench, state: State, kinds: tuple[str, ...]
) -> tuple[State, dict[str, Any]] | None:
    """Weights and biases fitted anew to the ranges that were found since, from the float ones."""
    begun = bench.unfitted
    if begun is None or begun.ranges.values == state.ranges.values:
        return None
    fresh = State(begun.graph, state.ranges, state.method)
    return _fit(bench, fresh, kinds, lambda count: None)


def _search(bench: Bench, state: State) -> tuple[State, dict[str, Any]] | None:
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
    """(the state after all steps that helped, a record of every step, when it was reached)."""
    records = []
    before = bench.score(state)
    history = [Moment("", bench.spent(), before[1].snr)]
    for name, trial in planned(bench, state, advance):
        base_side, begun = bench.side, time.monotonic()
        if name in _FITS:
            bench.unfitted = state
        found = journal.read(name, state) if journal else None
        if found is None and not bench.goes_on():
            records.append(
                {"step": name, "accepted": False, "gain_db": None, "method": "", "begun": False}
            )
            told(f"{name}: not begun, the budget of {bench.tune.budget:g} min is over")
            continue
        if found is None:
            record, after = _tried(bench, name, trial, state, before)
            if journal:
                seconds = time.monotonic() - begun
                journal.write(name, {**record, "seconds": seconds}, after)
        else:
            record, after = found
            bench.started -= record.pop("seconds", 0.0)  # what it took when it was done
            if after is not None and name in _SAME_FLOAT:
                bench.side = bench.run_float(after.graph)
        records.append(record)
        told(f"{name}: {_words(record)}")
        if after is None:
            bench.side = base_side
        else:
            state = after
            before = bench.score(state)
        history.append(Moment(name, bench.spent(), before[1].snr))
    return state, records, history


def _words(record: dict[str, Any]) -> str:
    if record["gain_db"] is None:
        return "nothing to do"
    words = f"{record['gain_db']:+.2f} dB on images that did not choose it"
    if record["accepted"]:
        return f"{words}, kept"
    if record["gain_db"] >= MIN_GAIN:
        words += f", {record['gain_chosen_db']:+.2f} dB on the others, or classes change"
    return f"{words}, not kept"


def _tried(
    bench: Bench, name: str, trial: Trial, state: State, before: tuple[ImageScore, ImageScore]
) -> tuple[dict[str, Any], State | None]:
    own = bench.side
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
        bench.side, other = own, bench.side
        gain = found[1] - (bench.headroom(state)[1] if name in _SAME_FLOAT else found[2])
        bench.side = other
        record["judged"] = "by ranges of other images, with biases corrected"
    falls = scores[0].snr < before[0].snr and name not in _BY_OTHERS
    agreed = [sum(score.agreed for score in pair) for pair in (before, scores)]
    disagrees = name not in _BY_OTHERS and (agreed[1] < agreed[0] - MAY_DISAGREE * len(bench.x))
    accepted = gain >= MIN_GAIN and not falls and not disagrees
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
