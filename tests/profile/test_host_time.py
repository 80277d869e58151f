"""Times of layers on this machine beside their bounds."""

from __future__ import annotations

import numpy as np
import pytest
from support.kernel_cases import convolution
from support.profiled import bundled_case

from r329fast.kernels.rates import Rates, measure_rates
from r329fast.kernels.runtime.isa import ISA
from r329fast.profile.host_time import host_times
from r329fast.profile.profiling import Wanted, collect
from r329fast.profile.record import layer_rows, make_record
from r329fast.program.blocks import op_bytes, op_macs
from r329fast.program.ops import OPS
from r329fast.report.columns import totals
from r329fast.report.console import layer_table, summary_lines
from r329fast.simulator.op_bounds import op_products


def test_every_layer_has_a_time_and_the_bound_of_its_ops() -> None:
    program = bundled_case().program
    spec = program.tensors[program.inputs[0]]
    found = host_times(program, np.zeros((2, *spec.shape), spec.dtype), seconds=0.01)
    assert set(found.us) == set(found.bound_us) == {layer.name for layer in program.layers}
    assert found.rates is not None
    expected = dict.fromkeys(found.us, 0.0)
    for op in program.ops:
        if not OPS[op.kind].alias:
            weights = op.consts["weights"].nbytes if "weights" in op.consts else 0
            macs, moved = op_products(program, op), op_bytes(program, op)
            rate = found.rates.cache if 2 * moved <= 512 * 1024 else found.rates.memory
            seconds = max(macs / found.rates.gmac, (moved + weights / 2) / rate) / 1e9
            expected[op.layer] += seconds * 1e6
    assert found.bound_us == pytest.approx(expected)
    assert any(value > 0 for value in found.bound_us.values())


@pytest.mark.parametrize(
    ("shape", "outs", "kernel", "group", "inner"),
    [((8, 8, 24), 10, (1, 1), 1, 24), ((8, 8, 3), 5, (3, 3), 1, 27), ((8, 8, 6), 6, (3, 3), 6, 9)],
)
@pytest.mark.parametrize(("act", "roundings"), [("NONE", 1), ("RELU", 1), ("CLIP", 2)])
def test_products_are_whole_steps_and_one_more_for_each_rounding(
    shape: tuple[int, int, int],
    outs: int,
    kernel: tuple[int, int],
    group: int,
    inner: int,
    act: str,
    roundings: int,
) -> None:
    rng = np.random.default_rng(0)
    program = convolution(rng, shape, outs, kernel, group=group, chosen=act)
    results = program.tensors["y"].elements
    assert op_macs(program, program.ops[0]) == results * inner
    steps = -(-inner // ISA.kgroup) + roundings
    assert op_products(program, program.ops[0]) == results * steps * ISA.kgroup


def test_rates_of_a_run_are_the_higher_of_two() -> None:
    assert Rates(3.0, 1.0, 5.0).best(Rates(2.0, 4.0, 1.0)) == Rates(3.0, 4.0, 5.0)
    rates = measure_rates()
    assert min(rates.gmac, rates.cache, rates.memory) > 0


def test_record_names_the_bound_an_estimate() -> None:
    found = collect(bundled_case().program, wanted=Wanted(errors=False))
    rows = layer_rows(found)
    record = make_record(found, totals(rows))
    assert set(record["host_rates"]) == {"gmac", "cache", "memory"}
    for row in rows:
        assert row["host_bound_us"] == found.host.bound_us[row["name"]]
        if row["host_of_bound"] is not None:
            assert row["host_of_bound"] == pytest.approx(row["host_bound_us"] / row["host_us"])
    assert any(row["host_of_bound"] for row in rows)
    (line,) = [line for line in summary_lines(record) if "bound reached" in line]
    assert line.startswith("estimate ")
    for width in (80, 160):
        heads = layer_table(rows, width).heads
        assert "of host bound est." in heads
        assert sum(max(len(word) for word in head.split()) for head in heads) < width


def test_a_record_without_times_has_no_bound() -> None:
    found = collect(bundled_case().program, wanted=Wanted(host_time=False, errors=False))
    rows = layer_rows(found)
    record = make_record(found, totals(rows))
    assert record["host_rates"] is None
    assert "host_of_bound" not in rows[0]
    assert not any("bound reached" in line for line in summary_lines(record))
