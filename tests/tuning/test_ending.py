"""What is left of the steps is never worse than the beginning."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import pytest
from support.programs import small_graph

from r329fast.calibration import Ranges, calibrate
from r329fast.tuning import steps
from r329fast.tuning.behind import HEADROOM
from r329fast.tuning.ending import UNDONE, Ending, Standing
from r329fast.tuning.float_side import run_float
from r329fast.tuning.headroom import with_headroom
from r329fast.tuning.options import TuneOptions
from r329fast.tuning.score import ImageScore
from r329fast.tuning.state import State, split, stored_ranges
from r329fast.tuning.workbench import Bench


def _score(noise: float, others: int = 0, images: int = 8) -> ImageScore:
    """Of images with a signal of 25 and such noise; `others` get another class than float's."""
    score = ImageScore()
    exact = np.tile(np.array([3.0, 0.0, 4.0]), (images, 1))
    found = exact.copy()
    found[:, 2] += np.sqrt(noise)
    found[:others, 0] = found[:others, 2] + 0.1
    score.add(found, exact, None)
    return score


def _state(word: str) -> State:
    return State(small_graph(), Ranges({}), word)


def _ended(pairs: list[tuple[float, float]], base: int = 0) -> tuple[int, Any, list[str]]:
    """(which pair's state is left, the records, the lines); what stands behind step `base` is a
    base of its own."""
    lines: list[str] = []
    states = [_state(str(number)) for number in range(len(pairs))]
    scores = [(_score(one), _score(other)) for one, other in pairs]
    ending = Ending(Standing((), states[0], scores[0]))
    records = [{"step": f"step {number}", "accepted": True} for number in range(1, len(pairs))]
    for number, record in enumerate(records, 1):
        last = ending.take(str(record["step"]), states[number], scores[number])
        if number == base:
            ending.found(last)
    left = ending.undo(records, lines.append)
    return int(left.state.method), records, lines


def test_only_what_can_still_be_the_best_is_held() -> None:
    """Each state holds the weights of a network: hundreds of MB over all steps of a large one."""
    ending = Ending(Standing((), _state("start"), (_score(1.0), _score(1.0))))
    states = []
    for number, noise in enumerate((0.9, 0.8, 1.1, 1.2, 0.7, 1.3)):
        state = _state(str(number))
        states.append(weakref.ref(state))
        ending.take(str(number), state, (_score(noise), _score(noise)))
        del state
    assert [number for number, state in enumerate(states) if state() is not None] == [4, 5]
    assert ending.best().state is states[4]()


@pytest.mark.parametrize(
    ("ends", "left"),
    [
        ([(0.9, 0.9), (0.5, 0.5)], 2),
        ([(0.9, 0.9), (1.1, 0.5)], 1),  # those that choose lose
        ([(0.9, 0.9), (0.5, 1.1)], 1),
        ([(1.0, 1.0), (0.999, 0.999)], 0),  # no gain that is worth a file
        ([(1.5, 1.5), (2.0, 2.0)], 0),
        ([(1.5, 1.5), (0.5, 0.5)], 2),  # what is worth something behind the second
        ([], 0),
    ],
)
def test_the_last_that_gains(ends: list[tuple[float, float]], left: int) -> None:
    found, records, lines = _ended([(1.0, 1.0), *ends])
    assert found == left
    assert [record["accepted"] for record in records] == [i < left for i in range(len(records))]
    undone = [record.get("undone", False) for record in records]
    assert undone == [i >= left for i in range(len(records))]
    assert len(lines) == (left < len(ends))
    if lines:
        assert lines[0].startswith(f"step {left + 1}")


def test_behind_headroom_the_wider_ranges_are_what_counts() -> None:
    """They cost the images that set the ranges and are proved by others."""
    assert _ended([(1.0, 1.0), (2.0, 2.0)], base=1)[0] == 1
    assert _ended([(1.0, 1.0), (2.0, 2.0), (1.5, 1.5)], base=1)[0] == 2
    assert _ended([(1.0, 1.0), (2.0, 2.0), (2.5, 1.5)], base=1)[0] == 1


def test_classes_count() -> None:
    ending = Ending(Standing((), _state(""), (_score(1.0), _score(1.0))))
    worse = _score(0.9, others=1)
    assert worse.agreed == 7
    ending.take("step", _state("a"), (_score(0.9), worse))
    assert ending.best() is ending.base
    ending.take("step", _state("b"), (_score(0.9), _score(0.9)))
    assert ending.best().state.method == "b"


@pytest.mark.parametrize("settings", [True, False])
def test_headroom_keeps_what_was_best_before_it(
    settings: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that gains stays, one that was kept for another does not, headroom does."""
    bench, state = _bench()
    graph = state.graph
    better = State(graph, with_headroom(state, 1.05).ranges, "better")
    worse = State(graph, with_headroom(state, 3.0).ranges, "worse")
    trials = [("settings", better)] * settings + [("equalise", worse)]
    plan: list[Any] = [(name, lambda start, after=after: (after, {})) for name, after in trials]
    wide = with_headroom(worse, 1.5)
    plan.append((HEADROOM, lambda start: (wide, {"headroom": 1.5})))
    scores = {id(state): 1.0, id(better): 0.8, id(worse): 2.0, id(wide): 2.5}
    monkeypatch.setattr(steps, "planned", lambda *words: plan)
    monkeypatch.setattr(Bench, "score", lambda self, one: (_score(scores.get(id(one), 1.2)),) * 2)
    answers = iter([(1.0, 10.0, 10.0), (1.0, 20.0, 20.0), (1.5, 30.0, 20.0)])
    monkeypatch.setattr(Bench, "headroom", lambda self, start: next(answers))
    last, records, _ = steps.take_steps(bench, state, None, lambda count: None, lambda line: None)
    kept = {item["step"] for item in records if item["accepted"]}
    assert kept == ({HEADROOM, "settings"} if settings else {HEADROOM})
    wanted = with_headroom(better if settings else state, 1.5)
    assert last.ranges.values == wanted.ranges.values


def test_a_step_that_nothing_followed_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Channel factors are kept for the fit; where that does not help, they do not stay."""
    bench, state = _bench()
    wide = with_headroom(state, 1.5)
    monkeypatch.setattr(steps, "planned", lambda *words: [("equalise", lambda start: (wide, {}))])
    answers = iter([(1.0, 10.0, 10.0), (1.0, 20.0, 20.0)])
    monkeypatch.setattr(Bench, "headroom", lambda self, start: next(answers))
    lines: list[str] = []
    last, records, history = steps.take_steps(bench, state, None, lambda count: None, lines.append)
    assert last is state
    assert [(item["accepted"], item["undone"]) for item in records] == [(False, True)]
    assert "kept" in lines[0]
    assert "equalise: undone" in lines[1]
    assert [moment.step for moment in history] == ["", "equalise", UNDONE]
    assert history[2].snr == history[0].snr > history[1].snr


def _bench() -> tuple[Bench, State]:
    graph = small_graph()
    x = np.random.default_rng(0).normal(size=(24, *graph.shapes[graph.inputs[0]]))
    x = x.astype(np.float32)
    ranges = stored_ranges(calibrate(graph, x, "aqt2021", "EXTREME"))
    side = run_float(graph, x, 0)
    bench = Bench(x, "aqt2021", TuneOptions(), split(len(x)), side, side.output)
    return bench, State(graph, ranges, "EXTREME")
