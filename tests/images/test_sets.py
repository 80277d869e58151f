"""Decoding, and image sets in folders, zips and tars."""

from __future__ import annotations

import tarfile
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from support.pictures import make_folder, picture, png

from r329fast.errors import DataError, FileError
from r329fast.images.sets import ImageSet, decode


def make_zip(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.mkdir("img")
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder))
        archive.writestr("__MACOSX/img/._a.png", b"junk")
    return path


def make_tar(folder: Path, path: Path, mode: str) -> Path:
    with tarfile.open(path, mode) as archive:
        archive.add(folder, ".")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "set")


@pytest.mark.parametrize("form", ["folder", "zip", "tar", "tar.gz", "tar.xz"])
def test_every_form_gives_the_same_images(folder: Path, tmp_path: Path, form: str) -> None:
    path = folder
    if form == "zip":
        path = make_zip(folder, tmp_path / "set.zip")
    elif form != "folder":
        mode = "w:" + form.partition(".")[2]
        path = make_tar(folder, tmp_path / f"set.{form}", mode)
    with ImageSet(path) as images:
        assert images.names == ("a.png", "b c.png", "d.png")
        assert images.labels.tolist() == [4, 7, 0]
        assert images.labels.dtype == np.int64
        for (name, image), seed in zip(images, (1, 2, 3), strict=True):
            assert np.array_equal(image, picture(seed)), name


def test_label_file_elsewhere_and_inside(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_bytes("\ufeffimg/b c.png 3\n".encode())
    with ImageSet(folder, other) as images:
        assert images.names == ("img/b c.png",)
    (folder / "calib.txt").write_text("d.png 1\n")
    with ImageSet(make_zip(folder, tmp_path / "s.zip"), "calib.txt") as images:
        assert images.labels.tolist() == [1]
    with ImageSet(folder, folder / "label.txt", limit=2) as images:
        assert len(images) == len(list(images)) == len(images.labels) == 2


def test_images_below_their_label_file(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "x" / "deep")
    with ImageSet(root.parent) as images:
        assert len(images) == 3


def test_labels_beside_the_image_folder(folder: Path) -> None:
    (folder / "some.txt").write_text("img/a.png 4\nb c.png 7\n")
    with ImageSet(folder / "img", folder / "some.txt") as images:
        assert np.array_equal(images.image(1), picture(2))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("a.png 4\nx.png 2\n", r"line 2: found 'x\.png', which is not in"),
        ("\n\nb_c.png 4\n", r"line 3: found 'b_c\.png', .*did you mean 'b c\.png'"),
        ("a.png 4\na.png 4\n", r"line 2: 'a\.png' is there already, line 1"),
        ("a.png 4\nimg/a.png 5\n", r"line 2: 'img/a\.png' is there already, line 1"),
        ("a.png four\n", "line 1: found label 'four', allowed: a class number"),
        ("a.png -1\n", "line 1: found label '-1'"),
        ("a.png 1.0\n", r"line 1: found label '1\.0'"),
        ("a.png ²\n", "line 1: found label"),
        ("a.png\n", r"line 1: found 'a\.png', allowed 'filename label'"),
        ("\n \n", "found no image"),
        ("", "found no image"),
    ],
)
def test_label_files_with_mistakes(tmp_path: Path, labels: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ImageSet(make_folder(tmp_path / "set", labels))


def test_same_name_in_two_folders(folder: Path) -> None:
    (folder / "more").mkdir()
    (folder / "more" / "a.png").write_bytes(png(picture(9)))
    with pytest.raises(DataError, match=r"'a\.png' is there 2 times \(img/a\.png, more/a\.png\)"):
        ImageSet(folder)
    (folder / "label.txt").write_text("more/a.png 1\nimg/a.png 2\n")
    with ImageSet(folder) as images:
        assert np.array_equal(images.image(0), picture(9))


def test_sets_that_are_none(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileError, match="image set not found"):
        ImageSet(tmp_path / "nowhere")
    with pytest.raises(FileError, match="found no folder, zip or tar"):
        ImageSet(folder / "d.png")
    with pytest.raises(FileError, match=r"label file not found: none\.txt"):
        ImageSet(folder, "none.txt")
    (folder / "label.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(FileError, match="UTF-8"):
        ImageSet(folder)
    (folder / "label.txt").unlink()
    with pytest.raises(FileError, match=r"no label\.txt in"):
        ImageSet(folder)


def test_damaged_archive_member(folder: Path, tmp_path: Path) -> None:
    path = make_zip(folder, tmp_path / "set.zip")
    data = path.read_bytes()
    start = data.index(b"IHDR")
    path.write_bytes(data[:start] + b"XXXX" + data[start + 4 :])
    with ImageSet(path) as images, pytest.raises(FileError, match=r"cannot read d\.png in .*zip"):
        images.image(2)


def test_unreadable_image_is_named(folder: Path) -> None:
    (folder / "img" / "a.png").write_bytes(b"no image")
    with ImageSet(folder) as images, pytest.raises(DataError, match=r"decode img/a\.png in .*set"):
        list(images)
    with pytest.raises(DataError, match="not an image that OpenCV reads"):
        decode(folder / "img" / "a.png")
    with pytest.raises(DataError, match="cannot decode x: not an image"):
        decode(b"", "x")
    with pytest.raises(FileError, match="No such file"):
        decode(folder / "none.png")


def test_decode_makes_three_channels(tmp_path: Path) -> None:
    grey = picture(1)[..., 0]
    assert np.array_equal(decode(png(grey)), np.stack([grey] * 3, axis=-1))
    alpha = np.concatenate([picture(1), picture(2)[..., :1]], axis=-1)
    assert decode(png(alpha)).shape == (6, 8, 3)


def test_reading_from_several_threads(folder: Path, tmp_path: Path) -> None:
    wrong = []
    with ImageSet(make_tar(folder, tmp_path / "s.tar.gz", "w:gz")) as images:

        def work() -> None:
            for _ in range(20):
                for index, seed in enumerate((1, 2, 3)):
                    if not np.array_equal(images.image(index), picture(seed)):
                        wrong.append(index)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []
    with pytest.raises(DataError, match="closed"):
        images.image(0)
