"""Which setting of a sweep a page shows, and the figures of all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from r329fast.errors import UsageError, nearest

_COLUMNS = (
    ("top1", "top-1", "share"),
    ("top5", "top-5", "share"),
    ("agreement", "agrees", "share"),
    ("mean_rank", "mean rank", "real"),
    ("lost", "lost", "count"),
    ("gained", "gained", "count"),
    ("tied_images", "tied", "count"),
    ("saturated_images", "saturated", "count"),
)


def all_settings(run: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The figures of every setting of an evaluation; empty for a run that has none."""
    return [row for row in run.get("settings") or [] if isinstance(row, Mapping)]


def setting_names(run: Mapping[str, Any]) -> list[str]:
    return [str(row.get("name") or "") for row in all_settings(run)]


def with_setting(
    run: Mapping[str, Any], name: str | None = None, program_hash: str | None = None
) -> dict[str, Any]:
    """The run.json of an evaluation as that of one setting; its name stands under "name".

    name: by default the setting whose program has this hash, else the best one, which the record
    describes itself. Raises UsageError for a name that the run does not have.
    """
    rows, names = all_settings(run), setting_names(run)
    if name is not None and name not in names:
        known = ", ".join(repr(item) for item in names if item) or "none"
        raise UsageError(
            f"found setting {name!r}, the evaluation has {known}{nearest(name, names)}",
            option="setting",
        )
    if name is None and program_hash:
        name = _of_program(run, program_hash)
    if name is None:
        name = str(run.get("name") or (names[0] if len(names) == 1 else ""))
    chosen = rows[names.index(name)] if name in names else {}
    return {**run, **chosen, "name": name}


def _of_program(run: Mapping[str, Any], program_hash: str) -> str | None:
    identity = run.get("identity")
    pairs = identity.get("model") if isinstance(identity, Mapping) else None
    for pair in pairs if isinstance(pairs, Sequence) else []:
        if pair[1] == program_hash and pair[0] in setting_names(run):
            return str(pair[0])
    return None


def settings_table(run: Mapping[str, Any]) -> dict[str, list[Any]]:
    """{"columns": titles, "rows": texts} of all settings, in the order of the run."""
    rows = all_settings(run)
    columns = [item for item in _COLUMNS if any(row.get(item[0]) is not None for row in rows)]
    texts = [
        [str(row.get("name") or ""), *(_text(row.get(key), form) for key, _, form in columns)]
        for row in rows
    ]
    return {"columns": ["setting", *(title for _, title, _ in columns)], "rows": texts}


def _text(value: Any, form: str) -> str:
    if value is None:
        return ""
    if form == "share":
        return f"{value:.2%}"
    return f"{value:.2f}" if form == "real" else f"{value:,}"
