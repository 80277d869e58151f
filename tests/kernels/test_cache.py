"""The kernel cache holds machine code: nobody else's, whole, or compiled anew."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

# a kernel that is small enough to compile at once
_CODE = """
import sys, warnings
warnings.showwarning = lambda message, *_: print("warning:", message)
import numpy as np
from r329fast.kernels.runtime.cache import CACHE_DIR
from r329fast.profile.error_kernels import float_histogram
counts = np.zeros(4, np.int64)
float_histogram(np.array([0.5, 1.5, 9], np.float32), 1.0, 0.0, 1.0, counts)
print(CACHE_DIR)
print(counts.tolist(), sum(float_histogram.stats.cache_hits.values()))
"""


def run(folder: Path, **changes: str) -> list[str]:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder), **changes}
    done = subprocess.run(
        [sys.executable, "-c", _CODE], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*float_histogram*") if path.is_file())


RIGHT = "[1, 1, 0, 1]"


def test_a_damaged_entry_is_dropped_and_compiled_anew(tmp_path: Path) -> None:
    assert run(tmp_path)[-1] == f"{RIGHT} 0"
    assert run(tmp_path)[-1] == f"{RIGHT} 1"
    kinds = {path.suffix for path in files(tmp_path)}
    assert kinds == {".nbi", ".nbc"}
    for suffix in sorted(kinds):
        for harm in ("cut", "flipped", "garbage", "empty"):
            for path in files(tmp_path):
                if path.suffix == suffix:
                    data = path.read_bytes()
                    middle = len(data) // 2
                    path.write_bytes(
                        {
                            "cut": data[:middle],
                            "flipped": data[:middle]
                            + bytes([data[middle] ^ 1])
                            + data[middle + 1 :],
                            "garbage": b"no pickle at all" * 9,
                            "empty": b"",
                        }[harm]
                    )
            lines = run(tmp_path)
            assert [line for line in lines if line.startswith("warning: kernel cache")] == lines[:1]
            assert lines[-1] == f"{RIGHT} 0", (suffix, harm)
    assert run(tmp_path)[-1] == f"{RIGHT} 1"


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="owners as POSIX has them")
def test_the_folder_is_private(tmp_path: Path) -> None:
    folder = Path(run(tmp_path)[0])
    assert stat.S_IMODE(folder.stat().st_mode) & 0o077 == 0
    folder.chmod(0o777)
    lines = run(tmp_path, TMPDIR=str(tmp_path))
    assert "can be written by others" in lines[0]
    assert lines[1] != str(folder)
    folder.chmod(0o700)
    folder.rename(tmp_path / "moved")
    folder.symlink_to(tmp_path / "moved")
    assert "is no folder" in run(tmp_path, TMPDIR=str(tmp_path))[0]


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can chown")
def test_a_folder_that_another_user_made_is_not_used(tmp_path: Path) -> None:
    folder = Path(run(tmp_path)[0])
    os.chown(folder, 12345, 12345)
    lines = run(tmp_path, TMPDIR=str(tmp_path))
    assert "belongs to another user" in lines[0]
    assert lines[-1] == f"{RIGHT} 0"


def test_files_in_the_making_of_the_dead_are_removed(tmp_path: Path) -> None:
    from r329fast.base.temporary import temporary_path

    target = tmp_path / "x.npy"
    mine = temporary_path(target)
    mine.write_bytes(b"")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path; from r329fast.base.temporary import "
            "temporary_path as t; p = t(Path(sys.argv[1])); p.touch(); print(p)",
            str(target),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    dead = Path(done.stdout.strip())
    assert dead.exists()
    temporary_path(target)
    assert mine.exists()
    assert not dead.exists()
