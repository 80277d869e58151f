"""Which member of an image set a line of a label file means."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from r329fast.errors import DataError, nearest
from r329fast.images.forms import is_clean, is_image
from r329fast.images.label_files import Labels


class Members:
    """Looks names up: whole paths first, then last parts, then those without their ending.

    Accents may be in whichever form.
    """

    def __init__(self, names: list[str]) -> None:
        self.whole = {str(PurePosixPath(name)): name for name in names if is_clean(name)}
        self.last: dict[str, list[str]] = {}
        self.stems: dict[str, list[str]] = {}
        for path, name in self.whole.items():
            parts = PurePosixPath(path)
            self.last.setdefault(_composed(parts.name), []).append(name)
            if is_image(parts):
                self.stems.setdefault(_composed(parts.stem), []).append(name)

    def find(self, name: str, folder: PurePosixPath) -> list[str]:
        wanted = PurePosixPath(name.replace("\\", "/"))
        for path in (str(wanted), str(folder / wanted)):
            if path in self.whole:
                return [self.whole[path]]
        last = _composed(wanted.name)
        return self.last.get(last) or self.stems.get(last, [])


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def resolve(
    where: str,
    entries: Sequence[Labels],
    members: Members,
    folder: PurePosixPath,
    path: Path,
) -> list[str]:
    """The member of the set that each line means; every one only once."""
    seen: dict[str, int] = {}
    for number, name, _ in entries:
        found = members.find(name, folder)
        if not found:
            hint = nearest(PurePosixPath(name).name, members.last)
            raise DataError(
                f"{where}, line {number}: found {name!r}, which is not in {path}{hint}",
                line=number,
            )
        if len(found) > 1:
            raise DataError(
                f"{where}, line {number}: {name!r} is there {len(found)} times "
                f"({', '.join(sorted(found)[:3])}), allowed: a path that names one",
                line=number,
            )
        if found[0] in seen:
            raise DataError(
                f"{where}, line {number}: {name!r} is there already, line {seen[found[0]]}",
                line=number,
            )
        seen[found[0]] = number
    return list(seen)
