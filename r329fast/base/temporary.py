"""Names of files in the making: they tell whose they are, so that those of the dead are removed."""

from __future__ import annotations

import os
import re
import socket
import uuid
from contextlib import suppress
from pathlib import Path

_MARK = "r329part"
_HOST = re.sub(r"[^A-Za-z0-9]", "", socket.gethostname())[:32] or "host"


def file_stem(name: str) -> str:
    """A tensor's name as a part of a file's name: what some system refuses there becomes '_'."""
    stem = re.sub(r'[\x00-\x1f<>:"/\\|?*]', "_", name)
    return stem.encode("utf-8", "replace")[:150].decode("utf-8", "ignore")


def temporary_path(target: Path) -> Path:
    """A new hidden name beside `target`, with this machine and process in it.

    What processes of this machine that are gone left for the same target is removed.
    """
    remove_leftovers(target)
    # a name has room for 255 bytes; the start of a long one is enough
    stem = os.fsdecode(os.fsencode(target.name)[:120])
    return target.with_name(f".{stem}.{_MARK}-{_HOST}-{os.getpid()}-{uuid.uuid4().hex[:8]}")


def remove_leftovers(target: Path) -> None:
    """Remove files in the making of `target` whose process has ended without finishing them."""
    stem = re.escape(os.fsdecode(os.fsencode(target.name)[:120]))
    pattern = re.compile(rf"\.{stem}\.{_MARK}-{_HOST}-(\d{{1,9}})-[0-9a-f]{{8}}")
    with suppress(OSError):
        for entry in os.scandir(target.parent):
            found = pattern.fullmatch(entry.name)
            if found and not _alive(int(found[1])):
                with suppress(OSError):
                    os.unlink(entry.path)


def _alive(process: int) -> bool:
    if os.name == "nt":  # where signal 0 would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
