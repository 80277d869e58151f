"""`bench --ops`: every op against a bound that is measured in the same run."""

from __future__ import annotations

import json

import pytest

from r329fast.bench.cases import Case, make_case
from r329fast.bench.op_times import op_times, record
from r329fast.cli import main as cli
from r329fast.kernels.rates import Rates


@pytest.fixture(scope="module")
def case() -> Case:
    return make_case("ds_cnn", 20)


def test_every_op_has_its_time_and_bound(case: Case) -> None:
    times, rates = op_times(case, batch=3, rounds=1)
    computed = [op.layer for op in case.program.ops if op.kind != "reshape"]
    assert [item.layer for item in times] == computed
    assert sum(item.share for item in times) == pytest.approx(1.0)
    assert sum(item.macs for item in times) == case.macs
    assert min(rates.gmac, rates.cache, rates.memory) > 0
    assert all(item.us > 0 and item.bound_us > 0 for item in times)


def test_the_bound_is_the_slower_of_products_and_bytes() -> None:
    rates = Rates(gmac=100.0, cache=50.0, memory=10.0)
    assert rates.bound(1e9, 1e3, 1e3) == pytest.approx(0.01)
    assert rates.bound(1e3, 1e9, 1e3) == pytest.approx(0.02)
    assert rates.bound(1e3, 1e9, 1e9) == pytest.approx(0.1)  # past the caches


def test_kinds_add_up(case: Case) -> None:
    times, rates = op_times(case, batch=2, rounds=1)
    result = record(times, rates)
    assert sum(entry["ops"] for entry in result["kinds"].values()) == len(times)
    assert sum(entry["us"] for entry in result["kinds"].values()) == pytest.approx(
        sum(item.us for item in times)
    )


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["bench", "--ops", "--models", "ds_cnn", "--batch", "2", "--rounds", "1"]
    assert cli.main(argv) == 0
    shown = capsys.readouterr().out
    assert "ds_cnn:" in shown
    assert "of bound %" in shown
    assert cli.main([*argv, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["ds_cnn"]
    assert {"batch", "rates", "ops", "kinds"} == set(found)
    assert cli.main(["bench", "--ops", "--models", "ds_cnn", "--batch", "0"]) == 2
