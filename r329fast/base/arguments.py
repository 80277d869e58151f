"""Options as frozen dataclasses that are called by keyword: `run(cfg, scheme="aqt2021")`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from operator import index
from typing import TypeVar

from r329fast.errors import UsageError, nearest

Progress = Callable[[int, int], None]  # called with (done, total)
Options = TypeVar("Options")


def with_arguments(
    options: Options, arguments: Mapping[str, object], call: str, own: Iterable[str] = ()
) -> Options:
    """A copy of a dataclass with the fields that `arguments` names.

    A field whose default is a dataclass is a group: its own fields are names of the call too.
    call: the function that got them, own: its further arguments, for the message. Raises
    UsageError for a name that is no field, with the nearest one that is.
    """
    if not dataclasses.is_dataclass(options):
        raise UsageError(
            f"{call}: found {type(options).__name__}, allowed its options as an object"
        )
    groups = _groups(options)
    for name in arguments:
        if name not in groups:
            known = [*own, *groups]
            hint = nearest(name, known) or f", allowed {', '.join(known)}"
            raise UsageError(f"{call}: found argument {name!r}{hint}", option=name)
    changes = {name: value for name, value in arguments.items() if not groups[name]}
    for home in dict.fromkeys(groups[name] for name in arguments if groups[name]):
        inside = {name: value for name, value in arguments.items() if groups[name] == home}
        base = changes.get(home, getattr(options, home))
        changes[home] = dataclasses.replace(base, **inside)  # type: ignore[type-var]
    return dataclasses.replace(options, **changes)  # type: ignore[type-var]


def at_least_one(**numbers: int | None) -> None:
    """Raise UsageError for what is no whole number from 1 on; None is left to the program."""
    for name, value in numbers.items():
        if value is not None and _whole(name, value) < 1:
            raise UsageError(f"{name}: found {value}, allowed at least 1", option=name)


def at_least_zero(**numbers: int) -> None:
    """Raise UsageError for what is no whole number from 0 on."""
    for name, value in numbers.items():
        if _whole(name, value) < 0:
            raise UsageError(f"{name}: found {value}, allowed 0 and more", option=name)


def _whole(name: str, value: object) -> int:
    try:
        return index(value)  # type: ignore[arg-type]
    except TypeError:
        raise UsageError(f"{name}: found {value!r}, allowed a whole number", option=name) from None


def _groups(options: object) -> dict[str, str]:
    """Keyword -> the group that holds it, or '' for a field of `options` itself."""
    found: dict[str, str] = {}
    for item in dataclasses.fields(options):  # type: ignore[arg-type]
        found[item.name] = ""
        if dataclasses.is_dataclass(item.default):
            inner = dataclasses.fields(item.default)
            found.update({field.name: item.name for field in inner})
    return found
