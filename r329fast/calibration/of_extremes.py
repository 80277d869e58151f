"""Ranges from what is known of every image already: its smallest and largest values."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from r329fast.calibration.hidden import hidden_of
from r329fast.calibration.ranges import Ranges
from r329fast.calibration.statistics import MOMENTUM, RunningStatistics, range_statistics
from r329fast.calibration.strategies import choose_range, parse_strategy, simple_strategy
from r329fast.graph.ir import Graph


def ranges_of_extremes(
    graph: Graph, extremes: Mapping[str, np.ndarray], scheme: str, method: str
) -> Ranges | None:
    """What `calibrate` gives for the method, image by image; None where more has to be known.

    extremes: tensor -> float32 [N, 2], (min, max) of each image in the order of the set.
    """
    if any(hidden_of(layer) is not None for layer in graph):
        return None
    names = [name for layer in graph for name in layer.outputs]
    if any(name not in extremes for name in names):
        return None
    if scheme == "aqt2021":
        found = {name: range_statistics(method) for name in names}
        for name, statistics in found.items():
            for pair in extremes[name]:
                statistics.update(pair)
        return Ranges(
            {name: statistics.range() for name, statistics in found.items()},
            {name: statistics.seen() for name, statistics in found.items()},
        )
    if not simple_strategy(method):
        return None
    strategy = parse_strategy(method)
    if strategy.needs_moments or strategy.needs_histogram:
        return None
    running = {name: RunningStatistics(MOMENTUM, False, 0) for name in names}
    for name, one in running.items():
        for pair in extremes[name]:
            one.update(pair)
    return Ranges(
        {name: choose_range(strategy, one, True) for name, one in running.items()},
        {name: one.extrema.range() for name, one in running.items()},
    )
