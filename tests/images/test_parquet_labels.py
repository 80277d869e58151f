"""Labels of a parquet file that are no class: one line that names the first of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from r329fast.errors import DataError
from r329fast.images import ImageSet


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ([0, None], "label None"),
        ([-1, 3], "label -1"),
        ([1.5, 0.0], "label 1.5"),
        ([[1], [2, 3]], r"label \[1\]"),
        ([{"a": 1}, {"a": 2}], "label {'a': 1}"),
        ([b"x", b"y"], "label b'x'"),
    ],
)
def test_labels_that_are_none(tmp_path: Path, labels: list[Any], found: str) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    images = [{"bytes": b"i", "path": "a"}, {"bytes": b"j", "path": "b"}]
    parquet.write_table(pa.table({"image": images, "label": labels}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=f"found {found}, allowed class numbers from 0"):
        ImageSet(tmp_path / "a.parquet")
