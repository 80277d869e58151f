"""The recipe beside a calibration set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.evaluation_sets import image_zip

from r329fast.errors import DataError
from r329fast.images.dataset import write_dataset
from r329fast.images.preprocess import Preprocess
from r329fast.images.recipe import (
    differences,
    pixel_table,
    recipe_beside,
    recipe_of_text,
    recipe_text,
)
from r329fast.images.sets import ImageSet

MINUS = Preprocess(size=(8, 6), sub=(127.5,) * 3, div=(127.5,) * 3, scale=1.0)
CROP = Preprocess(size=(8, 6), resize="crop", shorter=9, order="BGR")


def test_a_set_keeps_its_recipe(tmp_path: Path) -> None:
    with ImageSet(image_zip(tmp_path / "s.zip", 3)) as images:
        for recipe in (MINUS, CROP):
            write_dataset(tmp_path / "d", images, recipe)
            for place in (tmp_path / "d", tmp_path / "d" / "dataset.npy"):
                found = recipe_beside(place)
                assert found is not None
                assert not differences(found.recipe, recipe)
                assert found.recipe.as_json() == recipe.as_json()
    assert recipe_beside(tmp_path / "s.zip") is None
    several = f"{tmp_path}/d/dataset.npy, {tmp_path}/none.npy"
    assert recipe_beside(several) is not None


def test_a_recipe_of_somebody_else_is_not_overwritten(tmp_path: Path) -> None:
    own = tmp_path / "preprocess.json"
    own.write_text(json.dumps({"net": {"size": 8, "sub": [0, 0, 0], "div": [1, 1, 1]}}))
    before = own.read_bytes()
    with ImageSet(image_zip(tmp_path / "s.zip", 3)) as images:
        with pytest.raises(DataError, match="another recipe, which would be lost"):
            write_dataset(tmp_path, images, MINUS)
        assert own.read_bytes() == before
        assert not (tmp_path / "dataset.npy").exists()
        # the same recipe in the user's own words stays as it is
        words = {"size": [8, 6], "sub": [127.5] * 3, "div": [127.5] * 3, "interpolation": "linear"}
        own.write_text(json.dumps(words))
        write_dataset(tmp_path, images, MINUS)
        assert json.loads(own.read_text()) == words


def test_differences() -> None:
    same = Preprocess(size=(8, 6), sub=(0.5,) * 3, div=(0.5,) * 3)  # in units of 255
    assert not differences(same, MINUS)
    assert not differences(MINUS.with_size(16, 12), MINUS)
    assert differences(Preprocess(), MINUS) == [
        "values -2.118 to 2.249 / -2.036 to 2.429 / -1.804 to 2.64 instead of -1 to 1"
    ]
    other = Preprocess(size=(8, 6), sub=MINUS.sub, div=MINUS.div, scale=1.0, order="BGR")
    assert differences(other, MINUS) == ["BGR instead of RGB"]
    grown = CROP.with_size(16, 12)
    assert grown.shorter == 18
    assert not differences(grown, CROP)
    plain = Preprocess(size=(8, 6), order="BGR")
    found = differences(CROP, plain)
    assert found == ["crop from shorter side 9 (area) instead of stretch (linear)"]
    # the same numbers in the other order are the same normalisation of each colour
    turned = Preprocess(sub=Preprocess().sub[::-1], div=Preprocess().div[::-1], order="BGR")
    assert differences(turned, Preprocess()) == ["BGR instead of RGB"]


def test_text() -> None:
    for recipe in (MINUS, CROP, Preprocess()):
        text = recipe_text(recipe)
        assert "\n" not in text
        assert recipe_of_text(text, "x").recipe.as_json() == recipe.as_json()
    for text in ("{", "[]", '{"size": 3}', '{"size": 3, "sub": [1], "div": [1, 1, 1]}'):
        with pytest.raises(DataError, match=r"^x: "):
            recipe_of_text(text, "x")


def test_pixel_table_is_the_recipe() -> None:
    image = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    for recipe in (MINUS.with_size(16, 16), CROP.with_size(16, 16)):
        assert np.array_equal(recipe.apply(image).reshape(256, 3), pixel_table(recipe))
