"""What every step works with: images, the float network's answers, how a state is judged."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from r329fast.graph.ir import Graph
from r329fast.quantization import Options
from r329fast.tuning.arrivals import arrivals
from r329fast.tuning.float_side import FloatSide, run_float
from r329fast.tuning.headroom import best_headroom
from r329fast.tuning.options import TuneOptions
from r329fast.tuning.score import ImageScore
from r329fast.tuning.state import Parts, State, output_score, ranges_of
from r329fast.tuning.store import Store
from r329fast.tuning.weights import fit_weights, scheme_of

EQUAL = 1e-5  # share of the largest output by which an equalised float network may differ
Result = tuple[State, dict[str, Any]]  # of a trial: the state after it, what to record of it


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
    tried: State | None = None  # the same of a step that is judged behind the fit
    kept: dict[str, dict[str, Any]] = field(default_factory=dict)  # records of steps by name
    _arrivals: tuple[Graph, dict[str, np.ndarray]] | None = None
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

    def arrivals(self, graph: Graph) -> dict[str, np.ndarray]:
        """`arrivals` of the network, once for the steps that follow each other on it."""
        if self._arrivals is None or self._arrivals[0] is not graph:
            self._arrivals = graph, arrivals(graph, self.x, self.tune.seed, self.tune.threads)
        return self._arrivals[1]

    def ranges_as(self, state: State, method: str) -> State:
        ranges = ranges_of(
            state.graph, method, self.x, self.scheme, self.options, self.side, self.tune.threads
        )
        return State(state.graph, ranges, method)


def _behind_biases(bench: Bench, state: State) -> State:
    """The state with corrected biases: without that, errors of means hide all others."""
    if "bias" not in bench.tune.allow:
        return state
    graph, _ = fit_weights(
        state, scheme_of(bench.scheme, bench.options), bench.x, bench.side, bench.parts, ("bias",),
        bench.tune.threads, bench.goes_on,
    )  # fmt: skip
    return State(graph, state.ranges, state.method)


def fitted(
    bench: Bench, state: State, kinds: tuple[str, ...], advance: Callable[[int], None]
) -> Result:
    graph, layers = fit_weights(
        state, scheme_of(bench.scheme, bench.options), bench.x, bench.side, bench.parts, kinds,
        bench.tune.threads, bench.goes_on, advance,
    )  # fmt: skip
    return State(graph, state.ranges, state.method), {"layers": layers}


def spans(channels: dict[str, np.ndarray], idle: float) -> dict[str, list[float]]:
    """Tensor -> the least and the largest of its channels' numbers, where any is not idle."""
    return {
        name: [float(values.min()), float(values.max())]
        for name, values in channels.items()
        if np.any(values != idle)
    }


def with_float_kept(
    bench: Bench, state: State, graph: Graph, details: dict[str, Any]
) -> Result | None:
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
