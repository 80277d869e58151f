"""What every step works with: images, the float network's answers, how a state is judged."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from r329fast.calibration import Ranges
from r329fast.graph.export.float_session import FloatSession
from r329fast.graph.ir import Graph
from r329fast.tuning.arrivals import arrivals
from r329fast.tuning.float_side import FloatSide, run_float
from r329fast.tuning.headroom import best_headroom
from r329fast.tuning.mirrors import WithMirrors, is_image, mirrored
from r329fast.tuning.options import TuneOptions
from r329fast.tuning.remembered import Remembered
from r329fast.tuning.score import ImageScore
from r329fast.tuning.state import Parts, State, output_score, ranges_of
from r329fast.tuning.store import Store
from r329fast.tuning.weights import fit_weights, scheme_of

EQUAL = 1e-5  # share of the largest output by which an equalised float network may differ
INPUT, OUTPUT = "range of the input", "range of the output"
MANY = 24  # with fewer images nothing that narrows a range is tried: they do not show the extremes
_Headroom = tuple[float, float, float]
Result = tuple[State, dict[str, Any]]  # of a trial: the state after it, what to record of it


@dataclass
class Bench:
    """What every step needs: the images, the float network's answers, how to judge."""

    x: np.ndarray
    scheme: str
    tune: TuneOptions
    parts: Parts
    side: FloatSide
    expected: np.ndarray
    store: Callable[..., Store] = Store
    started: float = field(default_factory=time.monotonic)
    unfitted: State | None = None  # what stood before weights and biases were fitted
    tried: State | None = None  # the same of a step that is judged behind the fit
    kept: dict[str, dict[str, Any]] = field(default_factory=dict)  # records of steps by name
    origin: State | None = None  # what the run began with
    _held: tuple[np.ndarray, np.ndarray] | None = None
    # the state before a step and the one after it: the next step begins with either
    _held_scores: Remembered[State, ImageScore] = field(default_factory=lambda: Remembered(2))
    _headrooms: Remembered[State, _Headroom] = field(default_factory=lambda: Remembered(2))
    _arrivals: Remembered[Graph, dict[str, np.ndarray]] = field(
        default_factory=lambda: Remembered(1)
    )

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
        program = state.program(self.scheme)
        first, second = (
            output_score(program, self.x, self.expected, self.tune.threads, np.flatnonzero(part))
            for part in (self.choosing(), self.parts.confirming)
        )
        return first, second

    def held(self, state: State) -> ImageScore:
        """On the images that no weight is fitted to, and their mirror images.

        Those that judge layers chose among a few candidates for each; a dozen that did not even do
        that cannot tell 0.3 dB from chance. A mirror image has the same scene and other roundings.
        """
        known = self._held_scores.get(state)
        if known is not None:
            return known
        if self._held is None:
            part = self.parts.judging | self.parts.confirming
            x, expected = self.x[part], self.expected[part]
            turned = mirrored(x)
            if turned is not None:
                graph = (self.origin or state).graph
                session = FloatSession(graph, threads=self.tune.threads)
                also = session.run(turned)[graph.outputs[0]]
                x, expected = np.concatenate([x, turned]), np.concatenate([expected, also])
            self._held = x, expected
        found = output_score(state.program(self.scheme), *self._held, self.tune.threads)
        return self._held_scores.put(state, found)

    def headroom(self, state: State) -> tuple[float, float, float]:
        """`best_headroom` of the state with corrected biases."""
        known = self._headrooms.get(state)
        if known is not None:
            return known
        found = best_headroom(
            _behind_biases(self, state),
            lambda trial: trial.program(self.scheme),
            self.x, self.expected, self.side, self.tune.threads,
        )  # fmt: skip
        return self._headrooms.put(state, found)

    def arrivals(self, state: State) -> Mapping[str, np.ndarray]:
        """`arrivals` of the state's network, once for all steps on it."""
        if state.arriving:
            return state.arriving
        known = self._arrivals.get(state.graph)
        if known is not None:
            return known
        found = arrivals(state.graph, self.x, self.tune.seed, self.tune.threads)
        return self._arrivals.put(state.graph, found)

    def ranges_as(self, state: State, method: str) -> State:
        ranges = ranges_of(
            state.graph, method, self.x, self.scheme, state.options, self.side, self.tune.threads
        )
        return dataclasses.replace(state, ranges=self.with_own_inputs(state, ranges), method=method)

    def with_own_inputs(self, state: State, ranges: Ranges) -> Ranges:
        """Ranges found anew, but the input's where a step has chosen it."""
        if INPUT not in self.kept:
            return ranges
        own = {name: state.ranges[name] for name in state.graph.inputs}
        return Ranges({**ranges.values, **own}, ranges.seen)


def _behind_biases(bench: Bench, state: State) -> State:
    """The state with corrected biases: without that, errors of means hide all others."""
    if "bias" not in bench.tune.allow:
        return state
    graph, _ = fit_weights(
        state, scheme_of(bench.scheme, state.options), bench.x, bench.side, bench.parts, ("bias",),
        bench.tune.threads, bench.goes_on,
    )  # fmt: skip
    return dataclasses.replace(state, graph=graph)


def fitted(
    bench: Bench, state: State, kinds: tuple[str, ...], advance: Callable[[int], None]
) -> Result:
    graph, layers = fit_weights(
        state, scheme_of(bench.scheme, state.options), bench.x, bench.side, bench.parts, kinds,
        bench.tune.threads, bench.goes_on, advance, bench.arrivals(state),
    )  # fmt: skip
    return dataclasses.replace(state, graph=graph), {"layers": layers}


def fitted_with_mirrors(bench: Bench, state: State, kinds: tuple[str, ...]) -> Result | None:
    """`fitted` to the images and their mirror images: twice as many roundings of the same scenes.

    Only images that fit are mirrored; those that judge and confirm stay as they are. None where
    the input is no image.
    """
    parts = bench.parts
    if not is_image(bench.x):
        return None
    more = WithMirrors(bench.x, np.flatnonzero(parts.fitted))
    count = len(more) - len(bench.x)
    added = np.ones(count, dtype=bool)
    wider = Parts(
        np.concatenate([parts.fitted, added]),
        np.concatenate([parts.judging, ~added]),
        np.concatenate([parts.confirming, ~added]),
    )
    # samples are read layer after layer and may lie in the file: the maps of more images need room
    bench.side.store.spill()
    store = bench.store(in_memory=0)
    side = run_float(state.graph, more, bench.tune.seed, bench.tune.threads, store)
    graph, layers = fit_weights(
        state, scheme_of(bench.scheme, state.options), more, side, wider, kinds,
        bench.tune.threads, bench.goes_on, None, bench.arrivals(state),
    )  # fmt: skip
    details = {"layers": layers, "mirrored": count}
    store.close()
    return dataclasses.replace(state, graph=graph), details


def spans(channels: dict[str, np.ndarray], idle: float) -> dict[str, list[float]]:
    """Tensor -> the least and the largest of its channels' numbers, where any is not idle."""
    return {
        name: [float(values.min()), float(values.max())]
        for name, values in channels.items()
        if np.any(values != idle)
    }


def rescaled(
    arriving: Mapping[str, np.ndarray], factors: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The arrivals of a network whose channels have factors: they need no other pass."""
    return {
        name: each / factors[name] ** 2 if name in factors else each
        for name, each in arriving.items()
    }


def with_float_kept(
    bench: Bench,
    state: State,
    graph: Graph,
    arriving: Mapping[str, np.ndarray],
    details: dict[str, Any],
) -> Result | None:
    """`graph` with ranges of its own, if the float network's outputs stay as they were.

    arriving: its arrivals.
    """
    if state.method == "file":  # ranges from outside have no rule to follow
        return None
    side = bench.run_float(graph)
    largest = float(np.abs(bench.expected).max())
    difference = float(np.abs(side.output - bench.expected).max()) / max(largest, 1e-30)
    if difference > EQUAL:
        return None
    ranges = ranges_of(
        graph, state.method, bench.x, bench.scheme, state.options, side, bench.tune.threads
    )
    bench.side = side
    ranges = bench.with_own_inputs(state, ranges)
    return dataclasses.replace(state, graph=graph, ranges=ranges, arriving=arriving), {
        "float_difference": difference, **details
    }  # fmt: skip
