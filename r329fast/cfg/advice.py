"""What a message tells users to write into a cfg: the keys of either scheme."""

from __future__ import annotations

import re
from collections.abc import Iterable

_EXTREMES = {
    "aqt2021": "[AutoQuantizationTool] calibration_method = EXTREME",
    "compass42": "[Optimizer] calibration_strategy_for_activation = extrema",
}
_OPTIMIZER = "[Optimizer] "
_ASSIGNMENT = re.compile(r"(\w+) = (.*?)(?=, \w+ = |$)")
_SCOPE = re.compile(r"<.*?\]:\w+>|<\{.*?\}:\w+>")


def extremes_setting(scheme: str) -> str:
    """The line of a cfg with which ranges reach all that calibration sees."""
    return _EXTREMES.get(scheme, _EXTREMES["aqt2021"])


def merged_settings(settings: Iterable[str]) -> str:
    """Settings that hold together, in words: each key of [Optimizer] stands once, as in a cfg.

    A value for some layers (`8 & <[(3, 3)]:16>`) joins the others of its key; a value for the
    whole network replaces the value in front of the `&`.
    """
    keys: dict[str, list[str]] = {}
    others: list[str] = []
    for text in dict.fromkeys(settings):
        if not text.startswith(_OPTIMIZER):
            others.append(text)
            continue
        for key, value in _ASSIGNMENT.findall(text.removeprefix(_OPTIMIZER)):
            keys.setdefault(key, []).append(value)
    joined = [f"{_OPTIMIZER}{key} = {_joined(values)}" for key, values in keys.items()]
    return "; ".join([*joined, *others])


def _joined(values: list[str]) -> str:
    """Values of one key as one. What all of them name by layer was there before: it goes last,
    since the first scope that fits a layer counts."""
    parts = [value.partition(" & ") for value in values]
    whole = next((base for base, mark, _ in parts if not mark), parts[0][0])
    named = [_SCOPE.findall(scopes) for _, mark, scopes in parts if mark]
    many = len(named) > 1
    before = [scope for scope in named[0] if all(scope in one for one in named)] if many else []
    fresh = [scope for one in named for scope in one if scope not in before]
    if not before:  # a layer that has the network's value need not be named
        fresh = [scope for scope in fresh if not scope.endswith(f":{whole}>")]
    scopes = dict.fromkeys([*fresh, *before])
    return " & ".join([whole, " ".join(scopes)]) if scopes else whole
