"""A cfg that has what `--suggest` advises gives the figure that was promised."""

from __future__ import annotations

import dataclasses

from support.profiled import Case, bundled_case

from r329fast.calibration import Ranges, calibrate
from r329fast.profile.data_counters import DataCounter
from r329fast.profile.errors import LabelledBatch, analyse_errors
from r329fast.profile.precision import program_options
from r329fast.profile.suggestion import Suggestion
from r329fast.profile.suggestions import suggest
from r329fast.quantization import quantize

NARROW = "/layer3/block1/conv1/Conv"


def suggestions_of(case: Case, ranges: Ranges) -> list[Suggestion]:
    program = quantize(case.graph, ranges, case.program.scheme)
    counter, batches = DataCounter(program), [LabelledBatch(case.x[:8])]
    errors = analyse_errors(case.graph, program, batches, on_tensors=counter.add)
    options = program_options(program)
    return suggest(case.graph, program, ranges, options, errors, counter.layers, {}, batches)


def test_extremes_are_those_of_the_calibration_not_of_the_profiled_images() -> None:
    case = bundled_case("compass42")
    narrow = calibrate(case.graph, case.x, "compass42", "mean")
    wide = calibrate(case.graph, case.x, "compass42", "extrema")
    found = {item.kind: item for item in suggestions_of(case, narrow)}
    item = found["calibration"]
    assert item.setting == "[Optimizer] calibration_strategy_for_activation = extrema"
    batches = [LabelledBatch(case.x[:8])]
    after = analyse_errors(case.graph, quantize(case.graph, wide, "compass42"), batches)
    assert abs((item.after["snr"] or 0) - after.output.snr) < 1e-3


def test_extremes_are_not_advised_where_the_ranges_are_those_already() -> None:
    case = bundled_case("compass42")
    ranges = calibrate(case.graph, case.x[:4], "compass42", "extrema")
    assert ranges.at_extremes
    assert "calibration" not in {item.kind for item in suggestions_of(case, ranges)}
    from_file = Ranges({**ranges.values, NARROW: (0.0, ranges[NARROW][1] / 4)})
    found = {item.kind: item for item in suggestions_of(case, from_file)}
    assert found["calibration"].setting.endswith("without ts_max_file and ts_min_file")


def test_what_helps_together_has_each_key_once_and_can_be_used() -> None:
    case = bundled_case("compass42")
    ranges = calibrate(case.graph, case.x, "compass42", "extrema")
    (item,) = (item for item in suggestions_of(case, ranges) if item.kind == "together")
    parts = item.setting.split("; ")
    fields = dict(
        part.removeprefix("[Optimizer] ").split(" = ", 1)
        for part in parts
        if part.startswith("[Optimizer] ")
    )
    assert len(fields) == sum(part.startswith("[Optimizer] ") for part in parts)
    values = dict(ranges.values)
    for part in parts:
        if part.startswith("max_min: "):
            name, _, bounds = part.removeprefix("max_min: ").partition(" = ")
            low, high = bounds.partition(" (")[0].split(" to ")
            values[name] = (float(low), float(high))
    options = dataclasses.replace(program_options(case.program), **fields)
    program = quantize(case.graph, Ranges(values, ranges.seen), "compass42", options)
    after = analyse_errors(case.graph, program, [LabelledBatch(case.x[:8])])
    assert abs((item.after["snr"] or 0) - after.output.snr) < 0.05
