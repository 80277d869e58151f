"""A whole profile: counters, cost, times, errors, sensitivity and suggestions of one program."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from r329fast.calibration.ranges import Ranges
from r329fast.graph.ir import Graph
from r329fast.profile.cost import estimate
from r329fast.profile.data_counters import DataCounter, count_data
from r329fast.profile.errors import analyse_errors, float_block
from r329fast.profile.hardware import Hardware, load_hardware
from r329fast.profile.host_time import HostTimes, host_times
from r329fast.profile.images import Images
from r329fast.profile.precision import precision, program_options
from r329fast.profile.record import Findings
from r329fast.profile.sensitivity import computing_layers, layer_sensitivity
from r329fast.profile.silent_failures import OutputWatch, joined_failures
from r329fast.profile.split_outputs import split_suggestions
from r329fast.profile.suggestions import suggest
from r329fast.program.program import Program
from r329fast.simulator.simulator import Simulator

SENSITIVITY_IMAGES = 16
_SATURATION_IMAGES = 16  # they are decoded once more for it

# step("errors", total) -> a function that advances it
Step = Callable[[str, int | None], Callable[[int], None]]


@dataclass(frozen=True)
class Wanted:
    """Which parts to do. Errors, sensitivity and suggestions need the float graph and images.

    sensitivity_images: how many of the images the sensitivity order uses.
    """

    host_time: bool = True
    errors: bool = True
    sensitivity: bool = False
    suggestions: bool = False
    sensitivity_images: int = SENSITIVITY_IMAGES


def collect(
    program: Program,
    *,
    graph: Graph | None = None,
    ranges: Ranges | None = None,
    images: Images | None = None,
    hardware: Hardware | None = None,
    wanted: Wanted | None = None,
    threads: int = 1,
    source: str = "",
    step: Step | None = None,
) -> Findings:
    """Profile `program`; what its arguments do not allow is left out.

    graph: the float graph that it was made from; ranges: those that it was quantised with (for
    suggestions); images: what data counters and errors run over.
    """
    start, wanted = time.perf_counter(), wanted or Wanted()
    step = step or (lambda label, total: lambda count: None)
    extremes = ranges.at_extremes if ranges is not None and ranges.seen else None
    found = Findings(program, source=source, at_extremes=extremes)
    found.precision = precision(program, graph)
    found.cost = estimate(program, hardware or load_hardware())
    if len(program.inputs) != 1:
        images = None  # one array an image is all that sources give
    found.failures = joined_failures(program, graph.onnx_names if graph is not None else None)
    found.paths = Simulator(program).paths()
    if wanted.host_time:
        step("timing", None)
        found.host = _host_times(program, images)
    if images is not None:
        watch = OutputWatch(program, source or "the images")
        found.input_saturated = _input_saturated(program, images)
        if graph is not None and wanted.errors:
            counter = DataCounter(program)

            def look(tensors: dict[str, np.ndarray]) -> None:
                counter.add(tensors)
                watch.add(tensors)

            found.errors = analyse_errors(
                graph,
                program,
                images,
                threads=threads,
                on_tensors=look,
                advance=step("errors", len(images)),
            )
            found.data = counter.layers
        else:
            integers = (program.quantize_input(batch.x) for batch in images)
            advance = step("counting", len(images))
            found.data = count_data(
                program, integers, threads=threads, advance=advance, on_tensors=watch.add
            )
        found.failures = [*found.failures, *watch.failures()]
        if graph is not None and wanted.sensitivity:
            few = images.first(wanted.sensitivity_images)
            rounds = -(-len(few) // min(4 * float_block(graph), 8))
            total = rounds * len(computing_layers(program))
            found.sensitivity = layer_sensitivity(
                graph, program, few, threads=threads, advance=step("sensitivity", total)
            )
        if graph is not None and ranges is not None and found.errors and wanted.suggestions:
            split = split_suggestions(graph, program, found.failures, images, threads)
            found.suggestions = split + suggest(
                graph,
                program,
                ranges,
                program_options(program),
                found.errors,
                found.data,
                {item.name: item.multiplier_error for item in found.precision},
                images,
                threads=threads,
                advance=step("suggestions", None),
                hardware=hardware or load_hardware(),
            )
    found.seconds = time.perf_counter() - start
    return found


def _input_saturated(program: Program, images: Images) -> float:
    """Share of the values of the first images that the input's range cuts off."""
    shares = [program.saturates_input(batch.x).mean() for batch in images.first(_SATURATION_IMAGES)]
    return float(np.mean(shares))


def _host_times(program: Program, images: Images | None) -> HostTimes:
    if images is not None:
        x = program.quantize_input(next(iter(images)).x[:1])
    else:
        spec = program.tensors[program.inputs[0]]
        x = np.zeros((1, *spec.shape), dtype=spec.dtype)
    return host_times(program, x)
