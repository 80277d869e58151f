"""A lock on an open file: one process at a time, on every system."""

from __future__ import annotations

import os
import sys
from typing import BinaryIO

_FAR = 1 << 40  # Windows' locks keep others from reading what they cover: a byte that nobody reads


def lock_file(file: BinaryIO) -> None:
    """Lock a file that was just opened, until it is closed; OSError where another has it."""
    if sys.platform == "win32":
        import msvcrt

        os.lseek(file.fileno(), _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        finally:
            os.lseek(file.fileno(), 0, os.SEEK_SET)
        return
    import fcntl

    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
