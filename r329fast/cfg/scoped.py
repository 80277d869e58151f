"""Values by layer: `global & <[(first,last)]:v> <[OpType]:v> <{name regex}:v>`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from r329fast.cfg.values import BadValueError

_SCOPE = re.compile(r"<\s*(\[[^\[\]<>]*\]|\{[^<>]*\})\s*:\s*([^<>\s:][^<>:]*?)\s*>")
_RANGE = re.compile(r"\(\s*(\d{1,18})\s*,\s*(\d{1,18})\s*\)")
_RANGES = re.compile(rf"\[\s*{_RANGE.pattern}(?:\s*,\s*{_RANGE.pattern})*\s*\]")
_TYPES = re.compile(r"\[\s*\w+\s*(?:,\s*\w+\s*)*\]")
USAGE = "value & <[(first,last)]:value> <[OpType]:value> <{name regex}:value>"


@dataclass(frozen=True)
class Scope:
    """One `<...:value>`; exactly one of `ranges`, `types` and `pattern` is set."""

    value: str
    ranges: tuple[tuple[int, int], ...] = ()
    types: tuple[str, ...] = ()
    pattern: str = ""


@dataclass(frozen=True)
class Scoped:
    """A value for all layers, and the scopes in which another one holds, in file order."""

    value: str
    scopes: tuple[Scope, ...] = ()

    def for_layer(self, layer_id: int, op_type: str, name: str, method: str = "") -> str:
        """The value for one layer, by the vendor's precedence.

        A range of layer numbers (bounds included, the first that fits) beats an operator type
        (case-insensitive, the last that fits), which beats the method of an Activation layer,
        which beats a name regex (matched from the start of the name, the first that fits).
        """
        for scope in self.scopes:
            if any(low <= layer_id <= high for low, high in scope.ranges):
                return scope.value
        for word in (op_type.lower(), method.lower()):
            for scope in reversed(self.scopes):
                if word and word in scope.types:
                    return scope.value
        for scope in self.scopes:
            if scope.pattern and re.match(scope.pattern, name):
                return scope.value
        return self.value


def parse_scoped(text: str) -> Scoped:
    """Read a value with or without scopes; raises BadValueError that shows the syntax.

    Values come out in lower case, as the vendor's tool compares them.
    """
    value, ampersand, rest = text.partition("&")
    value = value.strip().lower()
    if not ampersand:
        if "<" in value or ">" in value:
            raise BadValueError(f"found {text!r}, allowed: {USAGE}")
        return Scoped(value)
    if not value or not rest.strip() or _SCOPE.sub("", rest).strip():
        raise BadValueError(f"found {text!r}, allowed: {USAGE}")
    return Scoped(value, tuple(_scope(key, val) for key, val in _SCOPE.findall(rest)))


def _may_take_for_ever(pattern: str) -> bool:
    """Whether a repeated group holds a repeat or a choice, which can take exponential time."""
    groups = [False]  # of each open group: whether there is a repeat or a choice in it
    closed = False  # whether the part just read is a group with one
    plain = re.sub(r"\\.|\[\^?\]?[^\]]*\]", "x", pattern)
    for place, sign in enumerate(plain):
        if sign in "*+{" or (sign == "?" and plain[place - 1 : place] not in "(*+?}"):
            if closed and sign != "?":
                return True
            groups[-1] = True
        if sign == "|":
            groups[-1] = True
        closed = False
        if sign == "(":
            groups.append(False)
        elif sign == ")" and len(groups) > 1:
            closed = groups.pop()
            groups[-1] = groups[-1] or closed
    return False


def _scope(key: str, value: str) -> Scope:
    value = value.lower()
    if key.startswith("{"):
        pattern = key[1:-1]
        try:
            re.compile(pattern)
        except (re.error, OverflowError, RecursionError) as error:
            raise BadValueError(
                f"found {key!r}, allowed: a regular expression ({error})"
            ) from error
        if _may_take_for_ever(pattern):
            raise BadValueError(
                f"found {key!r}, allowed: a regular expression without repeats, or choices, inside "
                "a group that is repeated"
            )
        if not pattern:
            raise BadValueError(f"found {key!r}, allowed: {USAGE}")
        return Scope(value, pattern=pattern)
    if _RANGES.fullmatch(key):
        ranges = tuple((int(low), int(high)) for low, high in _RANGE.findall(key))
        return Scope(value, ranges=ranges)
    if _TYPES.fullmatch(key):
        return Scope(value, types=tuple(word.lower() for word in re.findall(r"\w+", key)))
    raise BadValueError(f"found {key!r}, allowed: {USAGE}")
