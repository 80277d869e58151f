"""Images of every odd kind: used as cv2.imread would, or reported and skipped."""

from __future__ import annotations

import base64
import os
import struct
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.evaluation_sets import RECIPE, pictures_of, small_program
from support.pictures import png

from r329fast.errors import DataError
from r329fast.evaluation import evaluate
from r329fast.program.program import Program
from r329fast.simulator.simulator import Simulator

OPTIONS = {"preprocess": RECIPE, "backend": "reference", "threads": 2, "chunk": 4}
# a ramp of 8x6 pixels in four inks, drawn for this test
CMYK = base64.b64decode(
    "/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwANCQoLCggNCwoLDg4NDxMgFRMSEhMnHB4XIC4pMTAuKS0sMzpKPjM2Rjcs"
    "LUBXQUZMTlJTUjI+WmFaUGBKUVJP/8AAFAgABgAIBEMRAE0RAFkRAEsRAP/EABcAAAMBAAAAAAAAAAAAAAAAAAEC"
    "BAb/xAAjEAAABAMJAAAAAAAAAAAAAAAAAQIRAwYSBBYhMUJDUYGR/9oADgRDAE0AWQBLAAA/ALp93Owb82vhfoWV"
    "tA37qKlZ4xIjUmeSXH//2Q=="
)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    return small_program(tmp_path_factory.mktemp("net"))


def jpeg(image: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", image)[1].tobytes()


def rotated_jpeg() -> bytes:
    """A JPEG whose EXIF says that it was taken with the camera on its side."""
    tiff = b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0) + b"\0\0\0\0"
    exif = b"Exif\0\0" + tiff
    data = jpeg(pictures_of(1, 4)[0].transpose(1, 0, 2))
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]


ODD = {
    "grey.png": png(pictures_of(1)[0][..., 0]),
    "grey.jpg": jpeg(pictures_of(1)[0][..., 0]),
    "cmyk.jpg": CMYK,
    "16bit.png": png(pictures_of(1)[0].astype(np.uint16) * 250 + 77),
    "alpha.png": png(np.dstack([pictures_of(1)[0], pictures_of(1, 2)[0][..., :1]])),
    "exif.jpg": rotated_jpeg(),
    "cut.jpg": jpeg(np.kron(pictures_of(1)[0], np.ones((20, 20, 1), np.uint8)))[:-700],
}
BAD = {
    "empty.jpg": b"",
    "text.jpg": b"this is no image at all",
    "half.png": png(pictures_of(1)[0])[:20],
}


@pytest.mark.parametrize("name", ODD)
def test_odd_images_are_read_as_imread_does(program: Program, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(ODD[name])
    (tmp_path / "label.txt").write_text(f"{name} 3\n")
    image = cv2.imread(str(tmp_path / name))
    assert image is not None
    assert image.dtype == np.uint8
    assert image.shape[2] == 3
    codes = program.quantize_input(RECIPE.apply(image)[None])
    (logits,) = Simulator(program, "reference").run(codes).values()
    evaluate(
        program, tmp_path, out=tmp_path / "out", logits=True, file_format="csv", **OPTIONS
    )  # fmt: skip
    row = (tmp_path / "out" / "results.csv").read_text().splitlines()[1]
    assert row.endswith("," + " ".join(map(str, logits[0].tolist())))


def test_what_imread_makes_of_them() -> None:
    exif = cv2.imdecode(np.frombuffer(ODD["exif.jpg"], np.uint8), cv2.IMREAD_COLOR)
    assert exif.shape == (6, 8, 3)  # turned upright
    deep = cv2.imdecode(np.frombuffer(ODD["16bit.png"], np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(deep, (pictures_of(1)[0].astype(np.uint16) * 250 + 77) >> 8)
    alpha = cv2.imdecode(np.frombuffer(ODD["alpha.png"], np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(alpha, pictures_of(1)[0])


def mixed_set(folder: Path) -> Path:
    """Six good images among bad ones of every kind."""
    folder.mkdir()
    for index, image in enumerate(pictures_of(6)):
        (folder / f"good{index}.png").write_bytes(png(image))
    for name, data in BAD.items():
        (folder / name).write_bytes(data)
    os.symlink("nowhere", folder / "link.png")
    names = ["good0.png", "empty.jpg", "good1.png", "text.jpg", "good2.png", "half.png",
             "good3.png", "link.png", "good4.png", "good5.png"]  # fmt: skip
    (folder / "label.txt").write_text("".join(f"{name} 1\n" for name in names))
    return folder


@pytest.mark.parametrize("name", [*BAD, "link.png"])
def test_bad_images_stop_the_run_by_name(program: Program, tmp_path: Path, name: str) -> None:
    folder = mixed_set(tmp_path / "set")
    (folder / "label.txt").write_text(f"good0.png 1\n{name} 1\n")
    with pytest.raises(DataError, match=rf"cannot use image {name} in .*--skip-bad"):
        evaluate(program, folder, **OPTIONS)


def test_bad_images_are_skipped_and_counted(program: Program, tmp_path: Path) -> None:
    folder = mixed_set(tmp_path / "set")
    result = evaluate(
        program, folder, skip_bad=True, out=tmp_path / "out", file_format="csv", **OPTIONS
    )
    reasons = dict(result.skipped)
    assert list(reasons) == ["empty.jpg", "text.jpg", "half.png", "link.png"]
    assert reasons["empty.jpg"] == reasons["link.png"] == "the file is empty or cannot be read"
    assert reasons["text.jpg"] == "not an image that OpenCV reads"
    assert result.best.accuracy.images == 6
    (folder / "label.txt").write_text("".join(f"good{index}.png 1\n" for index in range(6)))
    alone = evaluate(program, folder, **OPTIONS)
    assert alone.best.accuracy == result.best.accuracy
    used = [name.startswith("good") for name in result.names]
    assert np.array_equal(result.scores[0][used], alone.scores[0])
    rows = (tmp_path / "out" / "results.csv").read_text().splitlines()
    assert len(rows) == 11
    assert ",text.jpg,1,not an image that OpenCV reads,0," in rows[4]


def test_a_finished_run_with_bad_images_is_none_without_skip_bad(
    program: Program, tmp_path: Path
) -> None:
    folder = mixed_set(tmp_path / "set")
    evaluate(program, folder, skip_bad=True, out=tmp_path / "out", **OPTIONS)
    with pytest.raises(DataError, match=r"cannot use image empty\.jpg"):
        evaluate(program, folder, out=tmp_path / "out", resume=True, **OPTIONS)


def test_nothing_usable(program: Program, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    (tmp_path / "label.txt").write_text("a.jpg 1\n")
    with pytest.raises(DataError, match="none of the 1 images"):
        evaluate(program, tmp_path, skip_bad=True, **OPTIONS)


def test_damaged_members_of_a_zip(program: Program, tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for index, image in enumerate(pictures_of(2)):
            archive.writestr(f"i{index}.png", png(image))
        archive.writestr("label.txt", "i0.png 1\ni1.png 2\n")
    data = bytearray(path.read_bytes())
    data[data.index(b"IHDR")] ^= 255
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match=r"cannot use image i0\.png"):
        evaluate(program, path, **OPTIONS)
    assert len(evaluate(program, path, skip_bad=True, **OPTIONS).skipped) == 1
