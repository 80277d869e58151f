"""`--suggest` proposes 16 bits where a layer's range is too wide for 8, with measured gain."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path

import numpy as np
import pytest
from support.graph_nets import net, random, save

from r329fast.calibration import calibrate
from r329fast.graph import load_model
from r329fast.profile.data_counters import DataCounter
from r329fast.profile.errors import LabelledBatch, analyse_errors
from r329fast.profile.hardware import load_hardware
from r329fast.profile.suggestions import suggest
from r329fast.profile.widths import with_widths
from r329fast.quantization import Options, quantize

WIDE = 200.0  # one channel is so much larger, and the next layer scales it back


def test_16_bits_are_proposed_for_the_layer_that_needs_them(tmp_path: Path) -> None:
    first, second = random(8, 4, 3, 3, scale=0.3), random(6, 8, 3, 3, seed=1, scale=0.3)
    first[0] *= WIDE
    second[:, 0] /= WIDE
    model = net(
        [("Conv", "x a", "c", {}), ("Conv", "c b", "y", {})],
        (1, 4, 9, 8),
        {"a": first, "b": second},
    )
    graph = load_model(save(model, tmp_path))
    x = random(12, 9, 8, 4, seed=5)
    ranges = calibrate(graph, x, "compass42", "extrema")
    options = Options(quantize_method_for_weight="per_channel_symmetric_restricted_range")
    program = quantize(graph, ranges, "compass42", options)
    counter = DataCounter(program)
    batches = [LabelledBatch(x)]
    errors = analyse_errors(graph, program, batches, on_tensors=counter.add)
    hardware = load_hardware()
    found = suggest(
        graph, program, ranges, options, errors, counter.layers, {}, batches, hardware=hardware
    )
    widths = [item for item in found if item.kind == "width"]
    assert widths
    assert max(found, key=lambda item: item.gain) in widths
    best = widths[0]
    assert best.gain > 3
    assert "(estimate: " in best.action
    assert "ms per image)" in best.action
    # what the setting says is what was measured
    words = best.setting.removeprefix("[Optimizer] ")
    fields = dict(
        part.split(" = ") for part in words.replace(", w", "|w").replace(", b", "|b").split("|")
    )
    again = quantize(graph, ranges, "compass42", dataclasses.replace(options, **fields))
    wide = {name for name, spec in again.tensors.items() if spec.bits == 16}
    numbers = ast.literal_eval(fields["activation_bits"].partition("<[")[2].partition("]")[0] + ",")
    assert wide == {list(graph)[low].outputs[0] for low, _ in numbers}


def test_a_range_goes_before_all_other_scopes(tmp_path: Path) -> None:
    model = net(
        [("Conv", "x a", "c", {}), ("Conv", "c b", "y", {})],
        (1, 4, 9, 8),
        {"a": random(8, 4, 3, 3), "b": random(6, 8, 3, 3)},
    )
    graph = load_model(save(model, tmp_path))
    asked = Options(activation_bits="8 & <[(0, 9)]:8> <[Convolution]:8>", weight_bits="16")
    changed = with_widths(asked, graph, (1,))
    bits = [
        changed.bits("activation_bits", i, layer.type, layer.name) for i, layer in enumerate(graph)
    ]
    assert bits == [8, 16, 8]
    assert np.all([changed.bits("weight_bits", i, "Convolution", "") == 16 for i in range(3)])
    assert changed.bits("bias_bits", 1, "Convolution", "") == 48


@pytest.mark.parametrize("scheme", ["aqt2021"])
def test_the_old_scheme_gets_no_such_advice(scheme: str, tmp_path: Path) -> None:
    model = net([("Conv", "x a", "y", {})], (1, 4, 9, 8), {"a": random(8, 4, 3, 3)})
    graph = load_model(save(model, tmp_path))
    x = random(4, 9, 8, 4, seed=5)
    ranges = calibrate(graph, x, scheme, "EXTREME")
    program = quantize(graph, ranges, scheme)
    counter = DataCounter(program)
    batches = [LabelledBatch(x)]
    errors = analyse_errors(graph, program, batches, on_tensors=counter.add)
    found = suggest(graph, program, ranges, Options(), errors, counter.layers, {}, batches)
    assert all(item.kind != "width" for item in found)
