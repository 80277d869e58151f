"""What headers declare is what OpenCV decodes; a program that imported cv2 first is bounded too."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from r329fast.images.declared_size import declared_pixels

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("form", [".png", ".jpg", ".bmp", ".gif", ".webp"])
@pytest.mark.parametrize("size", [(1, 1), (17, 40), (300, 7)])
def test_headers_tell_the_size(form: str, size: tuple[int, int]) -> None:
    if not cv2.haveImageWriter(f"a{form}"):
        pytest.skip(f"no {form} here")
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    for options in ([], [cv2.IMWRITE_WEBP_QUALITY, 101], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]):
        data = cv2.imencode(form, image, options)[1].tobytes()
        assert declared_pixels(data) == size[0] * size[1]
        for end in range(len(data)):
            assert declared_pixels(data[:end]) in (0, size[0] * size[1])
    assert declared_pixels(b"no image") == declared_pixels(b"") == 0


def _large_png(path: Path) -> None:
    """12,000 x 12,000 pixels of one colour, in some kB."""

    def part(kind: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    head = struct.pack(">IIBBBBB", 12000, 12000, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(1501) * 12000, 9)
    parts = part(b"IHDR", head) + part(b"IDAT", rows) + part(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)


def test_opencv_that_somebody_imported_first(tmp_path: Path) -> None:
    _large_png(tmp_path / "a.png")
    program = (
        "import cv2\nfrom r329fast.errors import DataError\nfrom r329fast.images import decode\n"
        "try:\n    decode('a.png')\nexcept DataError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "a.png: too many pixels, allowed 64 megapixels" in done.stdout


def test_libraries_do_not_speak(tmp_path: Path) -> None:
    """libpng and libjpeg write their own lines; a command says one."""
    image = np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    damaged = bytearray(cv2.imencode(".png", image)[1].tobytes())
    damaged[len(damaged) // 2] ^= 0xFF
    (tmp_path / "a.png").write_bytes(damaged[: len(damaged) - 40])
    done = subprocess.run(
        [sys.executable, "-m", "r329fast", "input", "a.png", "--size", "8", "--out", "i.bin"],
        cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr.count("\n") <= 1, done.stderr
    assert "libpng" not in done.stderr
