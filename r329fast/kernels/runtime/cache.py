"""Where compiled kernels are kept: a folder named by a hash of everything that made them.

Numba's own index knows only the file of each kernel, so an edit of a leaf in another file would
leave stale code behind. A folder per hash of all kernel sources and Numba's version cannot.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path
from typing import Any

import numba

from r329fast.kernels.runtime.cache_files import keep_checked, say_once

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

    Must run before any kernel is decorated: Numba reads the setting there. What the folder holds
    runs as machine code, so nobody else may be able to write to it. Where there is no such folder
    (no home, a read-only home, one of another user), a new one that ends with the process serves,
    which costs the compilation every time.
    """
    named = os.environ.get("NUMBA_CACHE_DIR")
    folder = (Path(named) if named else user_cache_dir()).absolute() / f"kernels-{sources_hash()}"
    why = _make_private(folder)
    if why:
        say_once(
            f"kernels cannot be kept: {why}; they are compiled in every process, which takes a "
            "minute (NUMBA_CACHE_DIR names a folder of your own)"
        )
        folder = Path(tempfile.mkdtemp(prefix="r329fast-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    keep_checked(str(folder))
    _CONFIG.CACHE_DIR = str(folder)
    return str(_CONFIG.CACHE_DIR)


def _make_private(folder: Path) -> str:
    """Make `folder` if it is not there; '' or why it is not this user's alone."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        own, above = folder.lstat(), folder.parent.stat()
    except OSError as error:
        return f"{error.filename or folder}: {error.strerror}"
    if not stat.S_ISDIR(own.st_mode):
        return f"{folder} is no folder"
    if hasattr(os, "getuid"):
        if own.st_uid != os.geteuid():
            return f"{folder} belongs to another user"
        if own.st_mode & 0o022:
            return f"{folder} can be written by others (chmod go-w)"
        if above.st_mode & 0o002 and not above.st_mode & stat.S_ISVTX:
            return f"{folder.parent} can be written by everybody (chmod o-w)"
    try:
        with tempfile.TemporaryFile(dir=folder):  # os.access says yes to everything on Windows
            return ""
    except OSError:
        return f"{folder} cannot be written"


CACHE_DIR = use_cache_dir()
