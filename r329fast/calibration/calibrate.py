"""Runs the float graph over a calibration set and gathers ranges, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from r329fast.calibration.hidden import HIDDEN, hidden_of
from r329fast.calibration.ranges import Ranges
from r329fast.calibration.statistics import (
    MOMENTUM,
    ExtremeRange,
    MeanRange,
    RunningStatistics,
    range_statistics,
)
from r329fast.calibration.strategies import choose_range, parse_strategy
from r329fast.cfg.scoped import parse_scoped
from r329fast.cfg.sections import AQT_METHODS
from r329fast.cfg.values import BadValueError
from r329fast.errors import DataError, UsageError, nearest
from r329fast.graph.ir import Graph

# Images run through the float graph at once; bounds memory, does not change any statistic.
_RUN_BATCH = 8

Dataset = np.ndarray | Mapping[str, np.ndarray]
Progress = Callable[[int, int], None]


def calibrate(
    graph: Graph,
    dataset: Dataset,
    scheme: str = "aqt2021",
    method: str | None = None,
    *,
    batch_size: int = 1,
    momentum: float = MOMENTUM,
    histc_bins: int = 2048,
    activation_method: str = "per_tensor_symmetric_full_range",
    threads: int = 1,
    progress: Progress | None = None,
) -> Ranges:
    """Ranges of every tensor of the fused graph, from float inference.

    dataset: float32 [N, *input shape] (NHWC), or such an array for each input name; only one
    run batch of it is in memory at a time (it may be a memory map). method: MEAN (default) or
    EXTREME for aqt2021; a compass42 strategy ("mean" by default, "extrema", "3std", "10kld",
    "0.9percentile", "aciq_laplace", ...), which may differ from layer to layer in the vendor's
    words, `mean & <[Convolution]:extrema>`. batch_size: images of one statistics batch (compass42;
    the 2021 tool takes image by image). activation_method: how activations will be quantised,
    with scopes alike (decides ACIQ's form). progress(done, total) is called after each run batch.

    Raises DataError for a dataset that does not fit the graph, UsageError for a wrong method.
    """
    if not isinstance(dataset, np.ndarray | Mapping):
        raise DataError(f"dataset: found {type(dataset).__name__}, allowed a float32 array")
    feeds = _feeds(graph, dataset)
    total = len(next(iter(feeds.values())))
    if scheme == "aqt2021":
        return _calibrate_aqt(graph, feeds, total, method or "MEAN", threads, progress)
    if scheme != "compass42":
        raise UsageError(f"scheme {scheme!r}, allowed aqt2021, compass42", option="scheme")
    if batch_size < 1 or histc_bins < 1 or not 0 <= momentum <= 1:
        raise UsageError(
            f"batch_size {batch_size}, histc_bins {histc_bins} and momentum {momentum}: allowed at "
            "least 1, at least 1, and 0 to 1"
        )
    strategies = _by_layer(graph, method or "mean")
    modes = _by_layer(graph, activation_method)
    chosen = {name: parse_strategy(text) for name, text in strategies.items()}
    statistics: dict[str, RunningStatistics] = {}
    for tensors in _batches(graph, feeds, total, batch_size, threads, progress):
        for name, values in tensors:
            if name not in statistics:
                strategy = chosen[name]
                bins = histc_bins if strategy.needs_histogram else 0
                statistics[name] = RunningStatistics(momentum, strategy.needs_moments, bins)
            statistics[name].update(values)
    found = {
        name: choose_range(chosen[name], s, "asymmetric" not in modes[name])
        for name, s in statistics.items()
    }
    seen = {name: s.extrema.range() for name, s in statistics.items()}
    _check_numbers(graph, seen)
    return Ranges(found, seen)


def _check_numbers(graph: Graph, seen: Mapping[str, tuple[float, float]]) -> None:
    """Raise DataError where the float network itself gave NaN: no range says anything then."""
    for layer in graph:
        for name in layer.outputs:
            if name in seen and any(np.isnan(value) for value in seen[name]):
                raise DataError(
                    f"tensor {name!r} ({layer.type} {layer.name!r}): the float network gives NaN "
                    "on the calibration set, as a logarithm or root of a negative number does; "
                    "check the recipe of the calibration images, or cut the graph in front of it "
                    "(output = ..)",
                    tensor=name,
                )


def _by_layer(graph: Graph, text: str) -> dict[str, str]:
    """The value for every calibrated entry, of a text that may have the vendor's scopes."""
    try:
        scoped = parse_scoped(text)
    except BadValueError as error:
        raise UsageError(f"calibration: {error}", option="method") from error
    result = {}
    for index, layer in enumerate(graph):
        value = scoped.for_layer(index, layer.type, layer.name, layer.act.kind)
        hidden = (row.key(layer.name) for row in HIDDEN.values())
        for name in (*layer.outputs, *hidden):
            result[name] = value
    return result


def _calibrate_aqt(
    graph: Graph,
    feeds: dict[str, np.ndarray],
    total: int,
    method: str,
    threads: int,
    progress: Progress | None,
) -> Ranges:
    if method not in AQT_METHODS:
        raise UsageError(
            f"calibration method {method!r}, allowed {', '.join(AQT_METHODS)}"
            f"{nearest(method, AQT_METHODS)}",
            option="method",
        )
    statistics: dict[str, MeanRange | ExtremeRange] = {}
    for tensors in _batches(graph, feeds, total, 1, threads, progress):
        for name, values in tensors:
            if name not in statistics:
                statistics[name] = range_statistics(method)
            statistics[name].update(values)
    seen = {name: s.seen() for name, s in statistics.items()}
    _check_numbers(graph, seen)
    return Ranges({name: s.range() for name, s in statistics.items()}, seen)


def _feeds(graph: Graph, dataset: Dataset) -> dict[str, np.ndarray]:
    """The dataset by input name, checked against the graph."""
    if isinstance(dataset, np.ndarray):
        if len(graph.inputs) != 1:
            names = ", ".join(graph.inputs)
            raise DataError(f"dataset: one array found, the graph has the inputs {names}")
        dataset = {graph.inputs[0]: dataset}
    if set(dataset) != set(graph.inputs):
        raise DataError(f"dataset: inputs {sorted(dataset)}, expected {sorted(graph.inputs)}")
    lengths = {name: len(array) for name, array in dataset.items()}
    if len(set(lengths.values())) != 1 or not next(iter(lengths.values())):
        raise DataError(f"dataset: {lengths} images, expected the same number, at least 1")
    for name, array in dataset.items():
        expected = graph.shapes[name]
        if array.dtype != np.float32 or array.shape[1:] != expected:
            raise DataError(
                f"dataset for input {name!r}: found {array.dtype} {array.shape}, expected float32 "
                f"(N, {', '.join(map(str, expected))})"
            )
    return dict(dataset)


def _batches(
    graph: Graph,
    feeds: dict[str, np.ndarray],
    total: int,
    batch_size: int,
    threads: int,
    progress: Progress | None,
) -> Iterator[Iterator[tuple[str, np.ndarray]]]:
    """(tensor, values) pairs a statistics batch; a short last batch counts like a full one."""
    from r329fast.graph.export.float_session import FloatSession

    # A graph of inputs alone (for quantising an input) needs no inference.
    only_inputs = all(layer.is_input for layer in graph)
    session = None if only_inputs else FloatSession(graph, keep="all", threads=threads)
    run_batch = max(_RUN_BATCH // batch_size, 1) * batch_size
    for start in range(0, total, run_batch):
        stop = min(start + run_batch, total)
        chunk = {name: np.ascontiguousarray(array[start:stop]) for name, array in feeds.items()}
        _check_finite(chunk, start)
        tensors = {**chunk, **(session.run(chunk) if session else {})}
        for first in range(0, stop - start, batch_size):
            yield _tensors_of(graph, tensors, slice(first, first + batch_size))
        if progress is not None:
            progress(stop, total)


def _check_finite(chunk: dict[str, np.ndarray], start: int) -> None:
    for name, array in chunk.items():
        finite = np.isfinite(array).reshape(len(array), -1).all(axis=1)
        if not finite.all():
            where = start + int(np.argmin(finite))
            raise DataError(f"dataset for input {name!r}: image {where} holds NaN or infinity")


def _tensors_of(
    graph: Graph, tensors: dict[str, np.ndarray], images: slice
) -> Iterator[tuple[str, np.ndarray]]:
    """Every tensor in IR order, and what single layers need beyond their output (spec B.11)."""
    for layer in graph:
        for name in layer.outputs:
            yield name, tensors[name][images]
        hidden = hidden_of(layer)
        if hidden is not None:
            x, y = (tensors[name][images] for name in (layer.inputs[0], layer.outputs[0]))
            yield hidden.key(layer.name), hidden.values(layer, x, y)
