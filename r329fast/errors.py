"""Typed errors: each carries what was found, where, and what is allowed.

`cli.main` turns them into one line and an exit code; library users catch them by type.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_BEGUN = 4  # letters that tell which word was begun


class R329Error(Exception):
    """Base of every error that r329fast raises on purpose.

    `exit_code` is what the command ends with; `kind` is the word in the JSON form; `details`
    holds machine-readable extras (layer, key, path, ...).
    """

    exit_code = 2
    kind = "error"

    def __init__(self, message: str, **details: object) -> None:
        # names from a file may hold line ends
        message = message if message.isprintable() else " ".join(message.split())
        super().__init__(message)
        self.message = message
        self.details = details

    def as_json(self) -> dict[str, object]:
        return {"error": {"kind": self.kind, "message": self.message, **self.details}}


class R329Warning(UserWarning):
    """Something that slows down or may mislead, and what to do about it."""


class UsageError(R329Error):
    """A wrong command line or a call with arguments that do not go together."""

    kind = "usage"


class FileError(R329Error):
    """A file that is missing, unreadable, damaged or of the wrong form."""

    kind = "file"


class CfgError(R329Error):
    """A vendor cfg with a missing section, unknown value or wrong shape."""

    kind = "cfg"


class DataError(R329Error):
    """An array or image set of the wrong rank, layout, dtype, size or content."""

    kind = "data"


class MachineError(R329Error):
    """Something that the machine lacks: memory, room on a disk, a right."""

    kind = "machine"


class ProgramError(R329Error):
    """A program (op list) that breaks its spec: `Program.verify` names op and rule."""

    kind = "program"
    exit_code = 4


class UnsupportedModelError(R329Error):
    """A model with ops or forms that are not supported.

    `issues` lists them all, each with op, layer, reason and what to do; `cut` names the tensors
    up to which the model is supported, where only its head is not.
    """

    kind = "unsupported"
    exit_code = 3

    def __init__(
        self,
        message: str,
        issues: Iterable[object] = (),
        cut: Iterable[str] = (),
        **details: object,
    ) -> None:
        super().__init__(message, **details)
        self.issues = tuple(issues)
        self.cut = tuple(cut)


def nearest(word: str, allowed: Iterable[str]) -> str:
    """Return ", did you mean 'x'?" for the closest allowed word, or an empty string.

    The closest: the shortest one that begins with the word, else the one with most letters alike.
    """
    words = list(allowed)
    begun = [item for item in words if len(word) >= _BEGUN and item.startswith(word)]
    match = sorted(begun, key=len) or get_close_matches(word, words, n=1, cutoff=0.6)
    if not match:  # EXTREME for extreme
        by_case = {item.lower(): item for item in words}
        close = get_close_matches(word.lower(), by_case, n=1, cutoff=0.6)
        match = [by_case[item] for item in close]
    return f", did you mean {match[0]!r}?" if match else ""
