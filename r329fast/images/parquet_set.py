"""Image sets in parquet files, as Hugging Face keeps them: image bytes and a label per row."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from r329fast.base.limits import IMAGE, TENSOR, Limit
from r329fast.base.reading import check_size, faults_of, open_regular
from r329fast.errors import DataError, FileError, UsageError
from r329fast.images.parts import Part, file_and_row, joined_part, part_kind, row_names

_IMAGES = ("image", "img", "images", "jpg", "png", "picture")
_LABELS = ("label", "labels", "fine_label", "class", "target", "cls")
_KEPT = 2  # row groups in memory: threads read ahead across a border


def _is_label(item: object) -> bool:
    return isinstance(item, str) or (type(item) is int and item >= 0)


class _Table:
    """One parquet file; a row group's images are read at once and kept for its other rows."""

    def __init__(self, path: Path, name: str) -> None:
        try:
            import pyarrow.parquet as parquet
        except ImportError as error:
            raise UsageError("parquet needs pyarrow (pip install 'r329fast[eval]')") from error
        self.path, self.name, self.kind = path, name, part_kind(PurePosixPath(name).name)
        self._stream = open_regular(path)
        self._groups: OrderedDict[int, list[Any]] = OrderedDict()
        try:
            with faults_of(path, "a parquet file"):
                self._file = parquet.ParquetFile(self._stream)
                columns = self._file.schema_arrow.names
                kinds = {field.name: field.type for field in self._file.schema_arrow}
                sizes = [
                    (self._file.metadata.row_group(group).num_rows,
                     self._file.metadata.row_group(group).total_byte_size)
                    for group in range(self._file.num_row_groups)
                ]  # fmt: skip
            self._image = _column(columns, _IMAGES)
            self._label = _column(columns, _LABELS)
            if self._image is None:
                raise DataError(
                    f"{path}: found the columns {', '.join(columns[:8])}, allowed: image and label"
                )
            _check_kind(path, self._image, kinds[self._image])
        except BaseException:
            self._stream.close()
            raise
        self._starts = [0]
        for rows, size in sizes:
            check_size(f"a row group of {path}, unpacked", size, TENSOR)
            self._starts.append(self._starts[-1] + rows)
        self.rows = self._starts[-1]

    def labels(self) -> list[str] | None:
        """Class numbers or names of all rows; DataError for anything else."""
        if self._label is None:
            return None
        with faults_of(self.path, "a parquet file"):
            found = self._file.read(columns=[self._label]).column(0).to_pylist()
        if len(found) != self.rows:
            raise FileError(f"{self.path}: found {len(found)} labels in {self.rows} rows")
        odd = [item for item in found if not _is_label(item)]
        if odd:
            raise DataError(
                f"{self.path}: found {self._label} {str(odd[0])[:40]}, allowed class numbers from "
                "0, or names (a test part often hides them)"
            )
        return [str(item) for item in found]

    def image(self, row: int, limit: Limit) -> bytes:
        """The bytes of an image file; FileError where the row has none."""
        group = next(g for g, end in enumerate(self._starts[1:]) if row < end)
        if group not in self._groups:
            with faults_of(self.path, "a parquet file"):
                column = self._file.read_row_group(group, columns=[self._image]).column(0)
                self._groups[group] = column.to_pylist()
            while len(self._groups) > _KEPT:
                self._groups.popitem(last=False)
        item = self._groups[group][row - self._starts[group]]
        data = item.get("bytes") if isinstance(item, dict) else item
        if not isinstance(data, bytes):
            why = "the row holds no image bytes"
            if isinstance(item, dict) and item.get("path"):
                why = f"the row holds the path {str(item['path'])[:60]!r} and no bytes"
            raise FileError(f"row {row} of {self.path}: {why}", path=str(self.path), why=why)
        check_size(f"row {row} of {self.path}", len(data), limit)
        return data

    def close(self) -> None:
        self._groups.clear()
        self._stream.close()


def _check_kind(path: Path, name: str, kind: Any) -> None:
    """Raise DataError for a column that holds no bytes: paths, pixels, numbers."""
    from pyarrow import types

    inner = kind
    if types.is_struct(kind):
        place = kind.get_field_index("bytes")
        inner = kind.field(place).type if place >= 0 else kind
    if types.is_dictionary(inner):
        inner = inner.value_type
    bytes_kinds = (types.is_binary, types.is_large_binary, types.is_fixed_size_binary)
    if not any(holds(inner) for holds in (*bytes_kinds, types.is_null)):
        text = types.is_string(kind) or types.is_large_string(kind)
        found = "texts (paths?)" if text else str(kind)[:60]
        raise DataError(
            f"{path}: the column {name} holds {found}, allowed: the bytes of image files, or "
            "{bytes, path} with the bytes in it; of paths, give the folder of the images and a "
            "label file",
            path=str(path),
        )


def _column(columns: Sequence[str], known: Sequence[str]) -> str | None:
    return next((name for wanted in known for name in columns if name.lower() == wanted), None)


class ParquetSet:
    """A store of the rows of parquet files below one folder (or one file)."""

    def __init__(self, where: Path, files: Sequence[Path]) -> None:
        self._where, self._lock = where, threading.Lock()
        self._tables: dict[str, _Table] = {}
        try:
            for path in files:
                name = path.name if path == where else path.relative_to(where).as_posix()
                self._tables[name] = _Table(path, name)
        except BaseException:
            self.close()
            raise
        self.kinds = tuple(dict.fromkeys(table.kind for table in self._tables.values()))

    @property
    def names(self) -> list[str]:
        return [row for name, table in self._tables.items() for row in row_names(name, table.rows)]

    def part(self, kind: str) -> Part:
        return joined_part(
            Part(row_names(name, table.rows), table.labels())
            for name, table in self._tables.items()
            if table.kind == kind
        )

    def read(self, name: str, limit: Limit = IMAGE) -> bytes:
        file, row = file_and_row(name)
        table = self._tables.get(file)
        if table is None or row >= table.rows:
            raise FileError(f"{self._where}: {name!r} is missing", path=str(self._where))
        with self._lock:
            return table.image(row, limit)

    def stamp(self, name: str) -> str:
        status = self._tables[file_and_row(name)[0]].path.stat()
        return f"{status.st_size} {status.st_mtime_ns}"

    def close(self) -> None:
        for table in self._tables.values():
            table.close()


def parquet_set(where: Path, names: Sequence[str]) -> ParquetSet | None:
    """The rows of a parquet file, or of those among the `names` of a folder; None without any."""
    if where.suffix.lower() == ".parquet":
        return ParquetSet(where, [where])
    files = sorted(name for name in names if name.lower().endswith(".parquet"))
    return ParquetSet(where, [where / name for name in files]) if files else None
