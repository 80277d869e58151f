"""Commands as a user gives them, in this process; what is no exit code of theirs is a fault."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence

from r329fast.errors import R329Error


def command(*words: object) -> int:
    """Run `r329fast WORDS`; AssertionError for an exit code that says a defect."""
    from r329fast.cli.main import main

    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()) as said,
    ):
        code = main([str(word) for word in words])
    if code not in (0, 1, 2, 3):
        raise AssertionError(f"exit {code}: {said.getvalue()}")
    return code


def commands(*each: Sequence[object]) -> None:
    """Run all of them; R329Error where one of them refused what it was given."""
    codes = [command(*words) for words in each]
    if max(codes) > 1:
        raise R329Error("refused")
