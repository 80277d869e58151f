"""The built wheel works away from the repository, and writes only where it is told."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]


def _call(*command: object, **options: object) -> str:
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_demo_from_the_wheel_alone(tmp_path: Path) -> None:
    # A copy of what git knows: a build in place would leave its folders in the checkout.
    source = tmp_path / "source"
    listed = _call("git", "ls-files", "-co", "--exclude-standard", cwd=ROOT).splitlines()
    for name in listed:
        if (ROOT / name).is_file():
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    _call(sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path / "dist", source)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    _call(sys.executable, "-m", "venv", tmp_path / "fresh")
    python = tmp_path / "fresh" / "bin" / "python"
    _call(python, "-m", "pip", "install", "-q", "--no-deps", wheel)
    work = tmp_path / "work"
    work.mkdir()
    # The dependencies come from this environment's folder, the package from the wheel only: a
    # path entry, unlike site-packages itself, runs no .pth file of an editable install.
    environment = {
        **os.environ,
        "PYTHONPATH": sysconfig.get_paths()["purelib"],
        "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
    }
    where = "import r329fast; print(r329fast.__file__)"
    assert str(tmp_path / "fresh") in _call(python, "-P", "-c", where, cwd=work, env=environment)
    script = tmp_path / "fresh" / "bin" / "r329fast"
    text = _call(python, "-P", script, "demo", "--out", "there", cwd=work, env=environment)
    assert "top-1" in text
    assert [path.name for path in work.iterdir()] == ["there"]
