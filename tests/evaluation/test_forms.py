"""Every form of image set, and images that a program holds, evaluate as the folder does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.evaluation_sets import RECIPE, small_program
from support.image_forms import COUNT, FORMS, LABELS, PIXELS, Maker, make_files, name, shards

from r329fast.errors import UsageError
from r329fast.evaluation import evaluate


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory):
    return small_program(tmp_path_factory.mktemp("net"))


@pytest.fixture(scope="module")
def wanted(program, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """Scores of the folder of PNG files with a plain label file."""
    folder = make_files(tmp_path_factory.mktemp("images") / "set")
    lines = [f"{name(index)} {LABELS[index]}\n" for index in range(COUNT)]
    (folder / "label.txt").write_text("".join(lines), encoding="utf-8")
    return evaluate(program, folder, preprocess=RECIPE, chunk=64).scores[0]


@pytest.mark.parametrize("make", FORMS, ids=lambda make: make.__name__)
def test_forms(make: Maker, program, wanted: np.ndarray, tmp_path: Path) -> None:
    found = evaluate(program, make(tmp_path), preprocess=RECIPE, chunk=64)
    assert np.array_equal(found.scores[0], wanted)


def test_cache_and_resume(program, wanted: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    images, out, cache = shards(tmp_path / "set"), tmp_path / "out", tmp_path / "cache"
    options = {"preprocess": RECIPE, "chunk": 64, "out": out, "cache": cache}
    first = evaluate(program, images, **options)
    again = evaluate(program, images, resume=True, **options)
    assert again.timing.images == 0
    third = evaluate(program, images, overwrite=True, **options)
    assert third.timing.cached_chunks == 4
    for found in (first, again, third):
        assert np.array_equal(found.scores[0], wanted)


def test_held_images(program, wanted: np.ndarray, tmp_path: Path) -> None:
    pairs = [(PIXELS[index], int(LABELS[index])) for index in range(COUNT)]
    found = evaluate(program, pairs, preprocess=RECIPE, chunk=64, out=tmp_path / "out")
    assert np.array_equal(found.scores[0], wanted)
    assert (tmp_path / "out" / "run.json").is_file()
    with pytest.raises(UsageError, match="images in memory"):
        evaluate(program, pairs, preprocess=RECIPE, cache=tmp_path / "cache")


def test_a_held_image_that_is_none(program) -> None:
    pairs = [(PIXELS[0], 1), (PIXELS[1].astype(np.float32), 2)]
    found = evaluate(program, pairs, preprocess=RECIPE, skip_bad=True)
    assert [file for file, _ in found.skipped] == ["[1]"]
