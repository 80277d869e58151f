"""What is left of the steps is never worse than the beginning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.programs import small_graph

from r329fast.calibration import Ranges, calibrate
from r329fast.tuning import steps
from r329fast.tuning.ending import UNDONE, Standing, last_that_gains
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


def _standing(number: int, chosen: ImageScore, confirmed: ImageScore) -> Standing:
    graph = small_graph()
    return Standing(number, State(graph, Ranges({}), str(number)), (chosen, confirmed))


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
    lines: list[str] = []
    pairs = [(1.0, 1.0), *ends]
    stood = [_standing(i, *map(_score, pair)) for i, pair in enumerate(pairs)]
    records: list[dict[str, Any]] = [
        {"step": f"step {i}", "accepted": True} for i in range(1, len(pairs))
    ]
    last = last_that_gains(stood, records, lines.append)
    assert last is stood[left]
    assert [record["accepted"] for record in records] == [i < left for i in range(len(records))]
    assert [record.get("undone", False) for record in records] == [
        i >= left for i in range(len(records))
    ]
    assert len(lines) == (left < len(ends))
    if lines:
        assert lines[0].startswith(f"step {left + 1}")


def test_classes_count() -> None:
    start = _standing(0, _score(1.0), _score(1.0))
    end = _standing(1, _score(0.001, others=1), _score(0.001))
    records: list[dict[str, Any]] = [{"step": "step", "accepted": True}]
    assert end.scores[0].snr < start.scores[0].snr or end.scores[0].agreed < 8
    assert last_that_gains([start, end], records, lambda line: None) is start


def test_a_step_that_nothing_followed_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Headroom is kept for other images; where nothing behind it helps, it does not stay."""
    graph = small_graph()
    x = np.random.default_rng(0).normal(size=(24, *graph.shapes[graph.inputs[0]]))
    x = x.astype(np.float32)
    ranges = stored_ranges(calibrate(graph, x, "aqt2021", "EXTREME"))
    side = run_float(graph, x, 0)
    bench = Bench(x, "aqt2021", TuneOptions(), split(len(x)), side, side.output)
    state = State(graph, ranges, "EXTREME")
    wide = with_headroom(state, 1.5)
    name = "headroom of ranges"
    monkeypatch.setattr(steps, "planned", lambda *words: [(name, lambda start: (wide, {}))])
    monkeypatch.setattr(Bench, "headroom", lambda self, start: (1.5, 20.0, 10.0))
    lines: list[str] = []
    last, records, history = steps.take_steps(bench, state, None, lambda count: None, lines.append)
    assert last is state
    assert [(item["accepted"], item["undone"]) for item in records] == [(False, True)]
    assert "kept" in lines[0]
    assert f"{name}: undone" in lines[1]
    assert [moment.step for moment in history] == ["", name, UNDONE]
    assert history[2].snr == history[0].snr > history[1].snr
