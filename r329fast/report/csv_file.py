"""The layer table as CSV: the columns' keys as header, plain numbers, empty where unknown."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from r329fast.base.sheets import as_cell
from r329fast.report.columns import COLUMNS


def layers_csv(layers: Sequence[Mapping[str, Any]]) -> str:
    """CSV text (RFC 4180, line feeds): every column that some layer has, one line per layer."""
    keys = [column.key for column in COLUMNS if any(column.key in layer for layer in layers)]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(keys)
    for layer in layers:
        writer.writerow(["" if layer.get(key) is None else as_cell(layer[key]) for key in keys])
    return stream.getvalue()
