"""One finding per cause: what follows from a refused node is counted, equal findings are joined."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

from r329fast.graph.issues import FORM, VALUES, Issue
from r329fast.graph.onnx.model import Node

# Findings whose followers are counted; those of further ones share the last place.
_COUNTED = 200


class Causes:
    """Findings as the nodes are gone through in execution order.

    A node that reads, through any number of nodes, what a refused node should have made may be
    at fault only because of that one. `add` keeps its own findings: those about its form always,
    those about axes unless axes or sizes were at fault further up already, those about values
    that should be known never.
    """

    def __init__(self) -> None:
        self._groups: list[list[Issue]] = []
        self._places: dict[tuple[str, str, str], int] = {}
        self._above: dict[str, int] = {}  # tensor -> bits of the groups that it hangs on
        self._sizes = 0  # bits of the groups about axes and values
        self._followers: Counter[int] = Counter()

    def add_input(self, issue: Issue) -> None:
        """A finding on an input of the model."""
        self._above[issue.layer] = self._above.get(issue.layer, 0) | self._bit(issue)

    def add(self, node: Node, issues: Sequence[Issue]) -> None:
        """What was found on the next node (perhaps nothing)."""
        above = 0
        for name in node.inputs:
            above |= self._above.get(name, 0)
        own = [issue for issue in issues if not self._follows(issue, above)]
        if above and not own:
            self._followers[above] += 1
        for issue in own:
            above |= self._bit(issue)
        if above:
            self._above.update(dict.fromkeys((name for name in node.outputs if name), above))

    def touches(self, tensor: str) -> bool:
        """Whether a tensor hangs on something that was refused."""
        return tensor in self._above

    def issues(self) -> list[Issue]:
        """One per cause, in the order they were met."""
        result = []
        for place, (first, *others) in enumerate(self._groups):
            bit = 1 << min(place, _COUNTED)
            behind = sum(count for bits, count in self._followers.items() if bits & bit)
            if place >= _COUNTED:
                behind = 0
            names = tuple(dict.fromkeys(item.layer for item in others if item.layer != first.layer))
            result.append(dataclasses.replace(first, others=names, behind=behind))
        return result

    def _follows(self, issue: Issue, above: int) -> bool:
        if not above or issue.about == FORM:
            return False
        return issue.about == VALUES or bool(above & self._sizes)

    def _bit(self, issue: Issue) -> int:
        key = (issue.op, issue.rule or issue.reason, issue.advice)
        place = self._places.setdefault(key, len(self._groups))
        if place == len(self._groups):
            self._groups.append([])
        self._groups[place].append(issue)
        bit = 1 << min(place, _COUNTED)
        if issue.about != FORM:
            self._sizes |= bit
        return bit
