"""Columns of a parquet file that hold no class or no image: one line that names what is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.evaluation_sets import RECIPE, pictures_of
from support.pictures import png

from r329fast.errors import DataError
from r329fast.evaluation.sources import BadImageError, open_source
from r329fast.images import ImageSet
from r329fast.images.class_folders import Naming


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


@pytest.mark.parametrize(
    ("images", "found"),
    [
        (["a.jpg", "b.jpg"], r"texts \(paths\?\)"),
        ([1, 2], "int64"),
        ([[1, 2], [3]], "list"),
        ([{"path": "a"}, {"path": "b"}], "struct"),
    ],
)
def test_images_that_are_no_bytes(tmp_path: Path, images: list[Any], found: str) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pa.table({"image": images, "label": [0, 1]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=f"column image holds {found}.*allowed: the bytes of image"):
        ImageSet(tmp_path / "a.parquet")


def test_a_row_with_a_path_and_no_bytes(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    images = [{"bytes": png(pictures_of(1)[0]), "path": "a"}, {"bytes": None, "path": "b.jpg"}]
    parquet.write_table(pa.table({"image": images, "label": [0, 1]}), tmp_path / "a.parquet")
    source = open_source(tmp_path / "a.parquet", None, RECIPE, naming=Naming(classes=2))
    assert source.reader.load(source.keys[0]).shape == (6, 8, 3)
    with pytest.raises(BadImageError, match=r"the path 'b\.jpg' and no bytes"):
        source.reader.load(source.keys[1])
    source.reader.close()
