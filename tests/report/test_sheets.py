"""Names that a spreadsheet would compute are written as texts and read back as they were."""

from __future__ import annotations

import csv
import io

import pytest

from r329fast.base.sheets import as_cell, from_cell
from r329fast.report.csv_file import layers_csv


@pytest.mark.parametrize(
    "name",
    ["=cmd|'/C calc'!A0", "+1", "-1", "@SUM(1)", "\tx", "\rx", "'=x", "''@x", "a=b", "'a"],
)
def test_cells(name: str) -> None:
    cell = as_cell(name)
    assert isinstance(cell, str)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert from_cell(cell) == name


def test_numbers_stay() -> None:
    assert as_cell(-1.5) == -1.5


def test_layer_names_from_a_model() -> None:
    text = layers_csv([{"name": "=HYPERLINK(1)", "op": "Input", "macs": 5, "snr_entire": -3.5}])
    rows = list(csv.reader(io.StringIO(text)))
    assert rows[1][0] == "'=HYPERLINK(1)"
    assert "-3.5" in rows[1]
