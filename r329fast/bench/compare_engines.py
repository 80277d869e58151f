"""`bench`: models and engines side by side, as one record of plain data."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np

from r329fast.base.machine import cores, cpu_model
from r329fast.bench.cases import Case, make_case
from r329fast.bench.engines import INT8_PEERS, OURS, PEERS, Engine, missing_peers, ours, peers
from r329fast.bench.engines import versions as engine_versions
from r329fast.bench.given_cores import enough, given_cores
from r329fast.bench.interleaved import RoundTimes, cpu_ratio, fastest, interleave, ratio
from r329fast.bench.models import bench_model
from r329fast.bench.qdq import float_forms
from r329fast.errors import UsageError
from r329fast.graph import FloatSession

_PATIENCE = 30.0  # seconds that a case waits for cores that are not there

Say = Callable[[str], object]


def machine() -> dict[str, Any]:
    """What the figures depend on: CPU, cores, kernel path, versions, load (1 minute)."""
    from r329fast.kernels import ISA

    load = None
    with suppress(OSError, AttributeError):
        load = round(os.getloadavg()[0], 2)
    return {
        "cpu": cpu_model(),
        "cores": cores(),
        "path": ISA.name,
        "load": load,
        "versions": engine_versions(),
    }


def bench(
    models: Sequence[str],
    threads: Sequence[int] = (1,),
    batch: int | None = None,
    rounds: int = 7,
    with_peers: bool = False,
    size: int | None = None,
    say: Say = lambda text: None,
) -> dict[str, Any]:
    """Time models one after the other, each with all engines interleaved.

    threads: settings timed one by one; batch, size: images at once and side of the image, by
    default the model's own. say: called with a line before every step. The record has the
    machine, the engines that are missing, `results`: one entry per model and number of threads,
    and their `summary`. Raises UsageError for an unknown model or a number below 1.
    """
    for name in models:
        bench_model(name)
    numbers = {"threads": min(threads, default=0), "rounds": rounds}
    numbers |= {"batch": 1 if batch is None else batch, "size": 1 if size is None else size}
    for key, value in numbers.items():
        if value < 1:
            raise UsageError(f"{key}: found {value}, allowed at least 1", option=key)
    missing = missing_peers() if with_peers else {}
    families = [name for name in PEERS if name not in missing] if with_peers else []
    results = []
    for name in models:
        say(f"{name}: building")
        case = make_case(name, size)
        images = batch or bench_model(name).batch
        for count in threads:
            say(f"{name}: batch {images}, threads {count}")
            results.append(bench_case(case, images, count, rounds, families))
    record = {"machine": machine(), "rounds": rounds, "missing": missing, "results": results}
    return record | {"summary": summary(results)}


def cores_note(result: dict[str, Any]) -> str:
    """What to know of an entry of `results` whose threads had not a core each; else empty."""
    given, threads = result.get("given_cores"), result["threads"]
    if given is None or given >= enough(threads):
        return ""
    return (
        f"{result['model']}, batch {result['batch']}: {threads} threads had {given:.1f} cores "
        "while this was measured; measure again when the machine gives them"
    )


def summary(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Over all networks of a setting: geometric mean and worst of the ratios to the faster peer.

    A setting is a number of threads, and one image or the batch; empty without peers.
    """
    settings: dict[tuple[bool, int], dict[str, float]] = {}
    for result in results:
        if "ratio" in result:
            setting = (result["batch"] == 1, result["threads"])
            settings.setdefault(setting, {})[result["model"]] = result["ratio"]
    return [
        {
            "one_image": one,
            "threads": threads,
            "networks": len(ratios),
            "geometric_mean": statistics.geometric_mean(ratios.values()),
            "worst": min(ratios.values()),
            "worst_model": min(ratios, key=lambda name: ratios[name]),
        }
        for (one, threads), ratios in settings.items()
    ]


def bench_case(
    case: Case, batch: int, threads: int, rounds: int, families: Sequence[str] = ()
) -> dict[str, Any]:
    """One model, batch and number of threads: all engines interleaved.

    With several threads, rounds in which the machine gives fewer cores are measured again;
    `given_cores` of the record is the least in those that count.
    """
    failed: dict[str, str] = {}
    engines = [ours(case, batch, threads)]
    for family in families:
        forms = peers(case, family, batch, threads, failed)
        engines += [_best_of(forms)] if forms else []
    runs = {engine.family: engine.run for engine in engines}
    gauge = partial(given_cores, threads)
    timings = interleave(runs, rounds, gauge=gauge, enough=enough(threads), patience=_PATIENCE)
    expected = FloatSession(case.graph).run(case.images(batch))[case.graph.outputs[0]]
    mine = timings[OURS]
    entries = [_entry(case, engine, timings[engine.family], mine, batch) for engine in engines]
    for engine, entry in zip(engines, entries, strict=True):
        entry["correlation"] = correlation(expected, engine.run())
    result = {
        "model": case.name,
        "size": case.size,
        "gmac": case.macs / 1e9,
        "batch": batch,
        "threads": threads,
        "given_cores": mine.gauged if threads > 1 else None,
        "engines": entries,
        "failed": failed,
        "float_ops": float_forms(case.graph) if families else {},
    }
    rivals = [family for family in INT8_PEERS if family in timings]
    if rivals:
        best = min(rivals, key=lambda family: timings[family].median)
        result |= {"faster_int8_peer": best, "ratio": ratio(timings[best], mine)}
        result["cpu_ratio"] = min(cpu_ratio(timings[family], mine) for family in rivals)
    return result


def _best_of(engines: list[Engine]) -> Engine:
    """The family's fastest form, so that no peer is timed at its worst."""
    return engines[fastest([engine.run for engine in engines])]


def _entry(
    case: Case, engine: Engine, timing: RoundTimes, mine: RoundTimes, batch: int
) -> dict[str, Any]:
    each = timing.median / batch
    low, high = timing.quartiles
    return {
        "engine": engine.family,
        "variant": engine.variant,
        "ms_per_image": each * 1e3,
        "best_ms_per_image": timing.best / batch * 1e3,
        "quartiles_ms_per_image": [low / batch * 1e3, high / batch * 1e3],
        "cpu_ms_per_image": statistics.median(timing.cpu) / batch * 1e3,
        "images_per_second": 1 / each,
        "gmac_per_second": case.macs / each / 1e9,
        "times_ours": ratio(timing, mine),
        "cpu_times_ours": cpu_ratio(timing, mine),
    }


def correlation(expected: np.ndarray, got: np.ndarray) -> float:
    """How an engine's outputs follow the float network's, over all images and classes.

    It tells that all engines computed the same network; integers need no scale for it.
    """
    a = expected.reshape(-1).astype(np.float64)
    b = got.reshape(-1).astype(np.float64)
    return float(np.corrcoef(a, b)[0, 1])
