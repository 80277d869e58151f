"""Class folders: what number a folder's images have, and which part of a set is used."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from support.evaluation_sets import pictures_of
from support.pictures import png

from r329fast.errors import DataError
from r329fast.images.class_folders import Naming
from r329fast.images.sets import ImageSet


def tree(root: Path, *places: str) -> Path:
    """Images at the given places below `root`."""
    for number, place in enumerate(places):
        file = root / f"{place}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(pictures_of(1, number)[0]))
    return root


def labels(path: Path, **naming: object) -> list[int]:
    with ImageSet(path, naming=Naming(**naming)) as images:  # type: ignore[arg-type]
        return images.labels.tolist()


def test_numeric_names_are_class_numbers(tmp_path: Path) -> None:
    root = tree(tmp_path, "207/a", "3/b", "11/c", "11/d")
    assert labels(root, classes=1000) == [11, 11, 207, 3]
    # names of a class list that are numbers themselves
    assert labels(root, classes=4, numbers={"3": 0, "11": 1, "207": 2, "9": 3}) == [1, 1, 2, 0]
    # a class list that does not name them leaves them what they are
    assert labels(root, classes=1000, numbers={"cat": 0}) == [11, 11, 207, 3]
    assert labels(tree(tmp_path / "more", "007/a", "12/b"), classes=13) == [7, 12]


def test_fewer_folders_than_classes_are_refused(tmp_path: Path) -> None:
    root = tree(tmp_path, "bus/a", "car/b")
    with pytest.raises(DataError, match=r"found 2 class folders, the network has 10 .*--classes"):
        labels(root, classes=10)
    assert labels(root, classes=2) == [0, 1]
    # a network with a class before the first: label_id_offset = 1
    assert labels(root, classes=3, offset=1) == [0, 1]
    assert labels(root, classes=10, numbers={"car": 4, "bus": 9, "tram": 1}) == [9, 4]
    assert labels(root, classes=10, needed=False) == [0, 1]


def test_wordnet_names_ask_for_the_class_list(tmp_path: Path) -> None:
    root = tree(tmp_path, "n01440764/a", "n02123045/b")
    for classes in (1000, None):
        with pytest.raises(DataError, match=r"n01440764 \(WordNet\).*--classes FILE"):
            labels(root, classes=classes)
    assert labels(root, classes=1000, numbers={"n02123045": 281, "n01440764": 0}) == [0, 281]
    # all of the network's classes in the order of their names, as torchvision numbers them
    assert labels(root, classes=2) == [0, 1]


def test_parts_of_a_set(tmp_path: Path) -> None:
    root = tree(tmp_path / "set", "Train/1/a", "Train/2/b", "val/2/c", "val/x/deep/d")
    tree(root, "val/1/e", "Train/0/f")
    (root / "val" / "x" / "deep" / "d.png").unlink()
    with ImageSet(root) as images:
        assert images.names == ("val/1/e.png", "val/2/c.png")
        assert images.labels.tolist() == [1, 2]
        assert images.note == f"{root} has the parts Train, val: val is used (--split chooses)"
    assert labels(root, split="train") == [0, 1, 2]
    with pytest.raises(DataError, match=r"the parts Train, val, none of them is for test"):
        labels(root, split="test")
    with ImageSet(root, naming=Naming(needed=False)) as images:
        assert len(images) == 5  # whoever looks for a picture by its name sees all
        assert not images.note
    with pytest.raises(DataError, match=r"split: found 'vall', allowed .*'val'"):
        Naming(split="vall")


def test_test_stands_in_for_val(tmp_path: Path) -> None:
    root = tree(tmp_path / "set", "data/train/0/a", "data/test/1/b", "data/test/0/c")
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(root.rglob("*.png")):
            file.write(path, path.relative_to(root))
    for place in (root, archive):
        assert labels(place) == [0, 1]
        assert labels(place, split="train") == [0]


def test_classes_that_only_sound_like_parts(tmp_path: Path) -> None:
    # images directly inside, and other names beside them: classes
    assert labels(tree(tmp_path / "a", "train/a", "test/b"), classes=2) == [0, 1]
    assert labels(tree(tmp_path / "b", "train/x/a", "car/y/b"), classes=2) == [0, 1]


def test_the_alphabet_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        (folder / name / "a.png").write_bytes(png(pictures_of(1, 1)[0]))
    with ImageSet(folder, naming=Naming(classes=2)) as images:
        assert "in the order of the alphabet (cat 0, dog 1, ..): give --classes FILE" in images.note
    with ImageSet(folder, naming=Naming({"cat": 1, "dog": 0})) as images:
        assert images.note == ""
        assert images.labels.tolist() == [1, 0]
    labels = tmp_path / "names.csv"
    labels.write_text("cat/a.png,cat\ndog/a.png,dog\n", encoding="utf-8")
    with ImageSet(folder, labels, naming=Naming(classes=2)) as images:
        assert "in the order of the alphabet" in images.note
