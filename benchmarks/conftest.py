"""Collects what the micro-benchmarks measured into one table after the run."""

from __future__ import annotations

from typing import Any

import pytest

_ROWS = pytest.StashKey[list[tuple[str, ...]]]()


@pytest.fixture
def table(request: pytest.FixtureRequest) -> list[tuple[str, ...]]:
    """Rows (case, path, unit rate, fraction) printed at the end."""
    return request.config.stash.setdefault(_ROWS, [])


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    rows = config.stash.get(_ROWS, [])
    if not rows:
        return
    from r329fast.base.machine import cpu_model
    from r329fast.kernels import ISA

    terminalreporter.section(f"kernels on path {ISA.name}, one thread, {cpu_model()}")
    for case, path, rate, fraction in rows:
        terminalreporter.write_line(f"{case:<34} {path:<18} {rate:>16} {fraction:>8}")
