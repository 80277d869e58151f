"""OpenCV that is missing or broken by a second package: one line that says what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from r329fast.deploy import bundled

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "has no content: only its folder is there"),
        ("raise ImportError('libGL.so.1: cannot open')", "cannot be loaded: libGL.so.1"),
    ],
)
def test_broken_opencv_says_what_to_do(tmp_path: Path, content: str | None, words: str) -> None:
    folder = tmp_path / "cv2"
    folder.mkdir()
    if content is not None:
        (folder / "__init__.py").write_text(content)
    # a folder without __init__ counts only where no real package is found: it is found first here
    command = (
        "import sys, importlib.util, importlib.machinery\n"
        "spec = importlib.machinery.PathFinder.find_spec('cv2', [sys.argv[1]])\n"
        "sys.modules.pop('cv2', None)\n"
        "class First:\n"
        "    @staticmethod\n"
        "    def find_spec(name, path=None, target=None):\n"
        "        return spec if name == 'cv2' else None\n"
        "sys.meta_path.insert(0, First)\n"
        "from r329fast.cli.main import main\n"
        "sys.exit(main(['dataset', sys.argv[2], '--out', sys.argv[3]]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", command, tmp_path, bundled.path("val.zip"), tmp_path / "out"],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line]
    assert words in line
    assert line.endswith("then pip install opencv-python-headless")
    assert not (tmp_path / "out").exists()
