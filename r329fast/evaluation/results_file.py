"""One row per image: `results.parquet` where pyarrow is installed, else `results.csv`.

Both are written chunk by chunk, in the order of the label file, whoever did the chunks and when.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from r329fast.base.files import write_atomic
from r329fast.base.reading import faults_of
from r329fast.base.sheets import as_cell
from r329fast.errors import UsageError
from r329fast.evaluation.chunk_log import ChunkLog, unpack
from r329fast.evaluation.job import ChunkPlan
from r329fast.evaluation.score import TOP

FORMATS = ("parquet", "csv")
Columns = dict[str, list[Any]]
_ROW_GROUP = 4096


def choose_format(wanted: str | None) -> tuple[str, str]:
    """(format, a word for the user where it is not parquet for want of pyarrow)."""
    if wanted is not None and wanted not in FORMATS:
        raise UsageError(f"format {wanted!r}, allowed {', '.join(FORMATS)}", option="format")
    if wanted == "csv":
        return "csv", ""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        if wanted == "parquet":
            raise UsageError(
                "parquet needs pyarrow (pip install 'r329fast[eval]')", option="format"
            ) from None
        return "csv", (
            "pyarrow is not installed: results.csv instead of results.parquet (pip install "
            "pyarrow, or --format csv, which asks for it)"
        )
    return "parquet", ""


def columns_of(
    payload: dict[str, np.ndarray], variant: int, first: int, names: tuple[str, ...],
    labels: np.ndarray,
) -> Columns:  # fmt: skip
    """The columns of one chunk; `first` is the number of its first image."""
    scores = payload[f"score{variant}"]
    bad = json.loads(payload["bad"].tobytes())
    count = len(scores)
    found: Columns = {
        "image": list(range(first, first + count)),
        "file": list(names[first : first + count]),
        "label": labels[first : first + count].tolist(),
        "status": [bad.get(str(row), "ok") for row in range(count)],
        "rank": scores["rank"].tolist(),
        "tied": scores["tied"].tolist(),
        "saturated": scores["saturated"].tolist(),
    }
    for place in range(TOP):
        found[f"top{place + 1}"] = scores["top"][:, place].tolist()
        found[f"value{place + 1}"] = scores["value"][:, place].tolist()
    if "float" in payload:
        found["float_rank"] = payload["float"]["rank"].tolist()
        for place in range(TOP):
            found[f"float_top{place + 1}"] = payload["float"]["top"][:, place].tolist()
    if f"logits{variant}" in payload:
        logits = payload[f"logits{variant}"]
        if logits.ndim != 2 or logits.dtype.kind not in "iu" or logits.itemsize > 2:
            raise ValueError(f"found logits {logits.dtype} {list(logits.shape)}")
        found["logits"] = logits.tolist()
    if {len(column) for column in found.values()} != {count}:
        raise ValueError("found columns of different lengths")
    return found


def _chunks(log: ChunkLog, variant: int, plan: ChunkPlan) -> Iterator[Columns]:
    names, classes = plan.source.names, plan.classes
    for number in sorted(log.done):
        with faults_of(log.path, "a record of this evaluation", "; --overwrite begins anew"):
            payload = unpack(log.read(number))
            columns = columns_of(payload, variant, plan.rows(number).start, names, classes)
        yield columns


def write_results(path: Path, log: ChunkLog, variant: int, plan: ChunkPlan) -> Path:
    """Write the rows of one variant from a complete log; `.parquet` or `.csv` by the ending.

    Raises FileError where the file cannot be written.
    """
    chunks = _chunks(log, variant, plan)
    write = _write_parquet if path.suffix == ".parquet" else _write_csv
    return write_atomic(path, lambda stream: write(stream, chunks))


def _write_csv(stream: BinaryIO, chunks: Iterator[Columns]) -> None:
    header = False
    for columns in chunks:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if not header:
            writer.writerow(columns)
            header = True
        if "logits" in columns:
            columns["logits"] = [" ".join(map(str, row)) for row in columns["logits"]]
        columns["file"] = [as_cell(name) for name in columns["file"]]
        writer.writerows(zip(*columns.values(), strict=True))
        stream.write(text.getvalue().encode())


def _write_parquet(stream: BinaryIO, chunks: Iterator[Columns]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def kind(name: str) -> Any:
        if name in ("file", "status"):
            return pa.string()
        return pa.list_(pa.int16()) if name == "logits" else pa.int32()

    writer = None
    tables: list[Any] = []
    for columns in chunks:
        fields = [(name, kind(name)) for name in columns]
        tables.append(pa.table(columns, schema=pa.schema(fields)))
        if writer is None:
            writer = pq.ParquetWriter(stream, tables[0].schema)
        if sum(table.num_rows for table in tables) >= _ROW_GROUP:
            writer.write_table(pa.concat_tables(tables))
            tables.clear()
    if writer is not None:
        if tables:
            writer.write_table(pa.concat_tables(tables))
        writer.close()
