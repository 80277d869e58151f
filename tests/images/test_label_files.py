"""Label files in the forms that people have: each gives the same images and classes."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
from support.image_forms import (
    CLASSES,
    COUNT,
    LABELS,
    NAMING,
    WANTED,
    WNIDS,
    make_files,
    name,
    rows,
)

from r329fast.errors import DataError, FileError
from r329fast.images.class_folders import Naming
from r329fast.images.sets import ImageSet

SHEETS = {
    "csv with a header": "split,filename,class_id\n{val,FILE,LABEL}",
    "csv, label first": "label,image\n{LABEL,FILE}",
    "csv without a header": "{FILE,LABEL}",
    "semicolons": "file;label\n{FILE;LABEL}",
    "tabs": "file\tother\tlabel\n{FILE\tx\tLABEL}",
    "words with a header": "filename label\n{FILE LABEL}",
    "wnid behind the name": "{FILE WNID}",
    "csv of wnids": "id,breed\n{STEM,WNID}",
    "solution with boxes": "ImageId,PredictionString\n{STEM,WNID 3 4 20 21 WNID 5 5 9 9}",
    "bare numbers": "{LABEL}",
}


def sheet(form: str) -> str:
    head, _, line = form.rpartition("{")
    lines = [head.rstrip("\n")] if head else []
    for index, label in enumerate(LABELS):
        words = {"FILE": name(index), "STEM": name(index)[:-4], "LABEL": str(label)}
        text = line.rstrip("}").replace("WNID", WNIDS[label])
        for word, value in words.items():
            text = text.replace(word, value)
        lines.append(text)
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("form", SHEETS)
def test_label_files(form: str, tmp_path: Path) -> None:
    folder = make_files(tmp_path / "set")
    (tmp_path / "answers.csv").write_text(sheet(SHEETS[form]), encoding="utf-8")
    with ImageSet(folder, tmp_path / "answers.csv", naming=NAMING) as images:
        assert rows(images) == WANTED
        assert ("no names" in images.note) == (form == "bare numbers")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\n", "found no image below its header"),
        ('""\n' + ",,\n" * 2, "found"),
        ("a.png,1,2\n", r"line 1: found 'a.png,1,2', allowed a file and its class, or columns"),
        ("file,label\na.png\n", "line 2: found 'a.png', allowed"),
        ("file,label\na.png,\n", "line 2: found no class"),
        ("file,label\n,3\n", "line 2: found no file"),
        ("file,label\na.png,n1\nb.png,2\n", "line 2: found label 'n1', allowed: a class number"),
        ("file,label\na.png,cat\n", "found class 'cat', which is not among the 4 classes"),
        ("3\n1\n", "found 2 numbers without names, .* has 200 images"),
        (f'file,label\n"{"x" * 200_000}",1\n', "line 2: not CSV"),
    ],
)
def test_label_files_with_mistakes(text: str, message: str, tmp_path: Path) -> None:
    folder = make_files(tmp_path / "set")
    (tmp_path / "answers.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        ImageSet(folder, tmp_path / "answers.csv", naming=NAMING)


def test_names_need_the_list_of_classes(tmp_path: Path) -> None:
    folder = make_files(tmp_path / "set")
    (tmp_path / "answers.txt").write_text(sheet(SHEETS["wnid behind the name"]), encoding="utf-8")
    with pytest.raises(DataError, match="--classes FILE"):
        ImageSet(folder, tmp_path / "answers.txt", naming=Naming(classes=1000))


def kit(folder: Path, count: int = COUNT) -> Path:
    """A development kit of our own: numbers 1 .. 4 in an order that is not the alphabet's."""
    from scipy.io import savemat

    data = folder / "data"
    data.mkdir(parents=True)
    numbers = [3, 1, 4, 2]  # of the classes 0 .. 3
    fields = [("ILSVRC2012_ID", "f8"), ("WNID", object)]
    synsets = np.zeros(CLASSES + 1, dtype=fields)
    by_alphabet = sorted(WNIDS)
    for place in range(CLASSES):
        synsets[place] = (numbers[place], by_alphabet[place])
    synsets[CLASSES] = (1700, "n00001740")  # one without images
    savemat(data / "meta.mat", {"synsets": synsets})
    truth = "".join(f"{numbers[label]}\n" for label in LABELS[:count])
    (data / "ILSVRC2012_validation_ground_truth.txt").write_text(truth, encoding="utf-8")
    return folder


@pytest.mark.parametrize("form", ["folder", "tar", "file"])
def test_development_kit(form: str, tmp_path: Path) -> None:
    folder = make_files(tmp_path / "set")
    tar = tmp_path / "ILSVRC2012_img_val.tar"
    with tarfile.open(tar, "w") as archive:
        for index in reversed(range(COUNT)):
            archive.add(folder / name(index), name(index))
    labels = kit(tmp_path / "ILSVRC2012_devkit_t12")
    if form == "tar":
        with tarfile.open(tmp_path / "ILSVRC2012_devkit_t12.tar.gz", "w:gz") as archive:
            archive.add(labels, "ILSVRC2012_devkit_t12")
        labels = tmp_path / "ILSVRC2012_devkit_t12.tar.gz"
    elif form == "file":
        labels = labels / "data" / "ILSVRC2012_validation_ground_truth.txt"
    with ImageSet(tar, labels, naming=Naming(classes=CLASSES)) as images:
        assert rows(images) == WANTED


def test_ground_truth_alone_is_refused(tmp_path: Path) -> None:
    folder = make_files(tmp_path / "set")
    labels = kit(tmp_path / "kit") / "data" / "ILSVRC2012_validation_ground_truth.txt"
    (labels.parent / "meta.mat").unlink()
    with pytest.raises(DataError, match=r"those of the development kit.*give the kit itself"):
        ImageSet(folder, labels, naming=Naming(classes=CLASSES))
    (labels.parent / "meta.mat").write_bytes(b"no mat file at all" * 20)
    with pytest.raises(FileError, match="not a development kit"):
        ImageSet(folder, labels, naming=Naming(classes=CLASSES))
