"""What is measured on a machine once: kept, read, renewed, damaged; and what follows it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from support.kernel_cases import convolution

from r329fast.bench.cases import make_case
from r329fast.cli import main as cli
from r329fast.errors import R329Warning, UsageError
from r329fast.kernels.conv import choice
from r329fast.kernels.conv.layout import ConvLayout, conv_layout
from r329fast.kernels.measure import fit, measure
from r329fast.kernels.rates import Rates, known_rates
from r329fast.kernels.runtime import cache_files, measured
from r329fast.kernels.runtime.isa import JIT
from r329fast.kernels.runtime.measured import Measured, forget, keep
from r329fast.simulator.simulator import Simulator

compiled = pytest.mark.skipif(not JIT, reason="nothing is compiled")
ONE = (1.0, 1.0, 1.0)
VALUES = Measured(100.0, 50.0, 10.0, ONE, ONE, 4 << 20, 30.0)


@pytest.fixture(autouse=True)
def _folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A folder of its own, and values allowed."""
    monkeypatch.setenv(measured.VARIABLE, "1")
    monkeypatch.setattr(measured.measured_file, "__defaults__", (str(tmp_path),))
    monkeypatch.setattr(cache_files, "_said", set())
    forget()
    yield
    forget()


def test_kept_and_read() -> None:
    assert measured.measured() is None
    path = keep(VALUES)
    assert measured.measured() == VALUES
    forget()
    assert measured.measured() == VALUES
    assert known_rates() == Rates(100.0, 50.0, 10.0)
    assert path.parent == measured.measured_file().parent


def test_the_name_tells_cpu_and_path(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {measured.measured_file().name}
    with monkeypatch.context() as patch:
        patch.setattr(measured, "cpu_model", lambda: "another CPU")
        names.add(measured.measured_file().name)
    with monkeypatch.context() as patch:
        patch.setattr(measured, "__version__", "0.0")
        names.add(measured.measured_file().name)
    with monkeypatch.context() as patch:
        patch.setattr(measured, "ISA", replace(measured.ISA, name="another"))
        names.add(measured.measured_file().name)
    assert len(names) == 4


def test_the_variable_turns_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    keep(VALUES)
    monkeypatch.setenv(measured.VARIABLE, "0")
    assert measured.measured() is None
    assert known_rates() != Rates(100.0, 50.0, 10.0)
    monkeypatch.setenv(measured.VARIABLE, "yes")
    with pytest.raises(UsageError, match="R329FAST_MEASURED=yes: allowed 0, 1"):
        measured.measured()


def _with(**changes: object) -> bytes:
    body = {**asdict(VALUES), **changes}
    return json.dumps({"values": body, "sha256": measured._digest(body)}).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff" * 100,
        b'{"values": {}, "sha256": ""}',
        _with(gmac=0),
        _with(gmac=-5.0),
        _with(gmac=10**400),
        _with(direct=[10**400, 1, 1]),
        _with(budget=1.5),
        _with(budget=True),
        _with(budget=1 << 62),
        b"[" * 4000,
        _with(memory=float("inf")),
        _with(wake_us="soon"),
        _with(direct=[1.0]),
        _with(direct=None),
        _with(other=1.0),
        _with(budget=float("nan")),
        _with()[:-9] + b'0000000"}',
        b" " * 5000 + _with(),
    ],
)
def test_a_damaged_file_is_one_warning(content: bytes) -> None:
    measured.measured_file().write_bytes(content)
    with pytest.warns(R329Warning, match=r"damaged.*info --measure"):
        assert measured.measured() is None
    assert measured.measured() is None  # and is not said again
    keep(VALUES)
    forget()
    assert measured.measured() == VALUES


def test_terms_are_found_again() -> None:
    rng = np.random.default_rng(0)
    rows = [tuple(float(value) for value in rng.uniform(1, 1000, 3)) for _ in range(40)]
    times = [0.5 * a + 0.9 * b + 0.7 * c for a, b, c in rows]
    assert fit(rows, times) == pytest.approx((0.5, 0.9, 0.7), rel=0.05)  # type: ignore[arg-type]
    assert fit([], []) == ONE


def layout_of(size: int, channels: int) -> ConvLayout:
    program = convolution(
        np.random.default_rng(0), (size, size, channels), channels, (3, 3), pads=(1, 1, 1, 1)
    )
    return conv_layout(program.ops[0], program.tensors["x"], program.tensors["y"])


def test_the_choice_follows_what_was_measured() -> None:
    layout = layout_of(14, 32)
    keep(replace(VALUES, winograd=(1e-3, 1e-3, 1e-3)))
    assert choice.winograd_batch(layout, measured.measured()) == 1
    keep(replace(VALUES, direct=(1e-3, 1e-3, 1e-3)))
    assert choice.winograd_batch(layout, measured.measured()) == 0


@compiled
def test_a_measurement_changes_no_integers(monkeypatch: pytest.MonkeyPatch) -> None:
    case = make_case("resnet20_cifar", 32)
    x = case.program.quantize_input(case.images(3))
    expected = Simulator(case.program, backend="reference").run(x)
    values = measure()
    assert min(values.gmac, values.cache, values.memory, values.wake_us) > 0
    assert measured.measured() == values
    for kept in (
        values,
        replace(values, direct=(1e-3, 1e-3, 1e-3), budget=1 << 16, wake_us=1e-3),
        replace(values, winograd=(1e-3, 1e-3, 1e-3), gmac=1e-3),
    ):
        keep(kept)
        simulator = Simulator(case.program, threads=2)
        for count in (1, 3):
            found = simulator.run(x[:count])
            for name, array in expected.items():
                assert np.array_equal(found[name], array[:count])
        simulator.close()


@compiled
def test_info(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli.main(["info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["measured"] == "no (info --measure)"
    assert cli.main(["info", "--measure", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["measured"]) == set(asdict(VALUES))
    assert found["measure_seconds"] > 0
    monkeypatch.setenv(measured.VARIABLE, "0")
    assert cli.main(["info"]) == 0
    assert "off" in capsys.readouterr().out


@compiled
def test_weights_that_are_read_once_come_from_memory() -> None:
    """One image of a layer of 512 channels: Winograd would read 19 MB of weights."""
    found = measure()
    few, many = layout_of(7, 32), layout_of(7, 512)
    for terms, each in (
        (choice.direct_terms, found.direct),
        (choice.winograd_terms, found.winograd),
    ):
        assert each[2] == choice.LOAD / found.memory
        assert terms(few, 1)[2] == 0.0 < terms(many, 1)[2] == terms(many, 8)[2]
    assert choice.winograd_batch(many, found) != 1
