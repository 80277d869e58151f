"""Where compiled kernels are kept: a folder named by a hash of everything that made them.

Numba's own index knows only the file of each kernel, so an edit of a leaf in another file would
leave stale code behind. A folder per hash of all kernel sources and Numba's version cannot.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numba

_CONFIG: Any = numba.config


def user_cache_dir() -> Path:
    """The user's cache folder of this platform, for r329fast."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = str(Path.home() / "Library" / "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "r329fast"


def sources_hash(folder: Path = Path(__file__).parent.parent) -> str:
    """Hash of all kernel sources, Numba's version and the forced kernel path, if any.

    folder: the package of the kernels; all files below it count, in whichever folder they lie.
    """
    digest = hashlib.sha256(numba.__version__.encode())
    digest.update(os.environ.get("R329FAST_ISA", "").encode())
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def use_cache_dir() -> str:
    """Point Numba at a folder of that name, below NUMBA_CACHE_DIR if the user set it.

    Must run before any kernel is decorated: Numba reads the setting there. Where the folder
    cannot be made (no home, read-only home), one below the temporary folder serves.
    """
    named = os.environ.get("NUMBA_CACHE_DIR")
    spare = (
        Path(tempfile.gettempdir()) / f"r329fast-{os.getuid() if hasattr(os, 'getuid') else 'user'}"
    )
    leaf = f"kernels-{sources_hash()}"
    for base in (Path(named) if named else user_cache_dir(), spare):
        folder = base / leaf
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            break
    _CONFIG.CACHE_DIR = str(folder)
    return str(_CONFIG.CACHE_DIR)


CACHE_DIR = use_cache_dir()
