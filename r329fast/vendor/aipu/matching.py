"""Which layer of one program is which of another, where names do not tell: by the integers.

Layers with weights are matched by their weights (the same float network gives the same ones under
any calibration), all others by what they stand between.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from r329fast.program.program import Op, Program

WEIGHTED = ("conv2d", "depthwise_conv2d", "fully_connected")
_COMPUTING = (*WEIGHTED, "eltwise", "concat", "reduce_sum", "avgpool", "maxpool")


@dataclass(frozen=True)
class Matched:
    """Two ops that stand for each other; likeness: share of equal weights (1 without any)."""

    ours: Op
    theirs: Op
    likeness: float = 1.0


@dataclass(frozen=True)
class Matching:
    """Pairs in the order of our ops, and the computing ops of either side that have no partner."""

    pairs: tuple[Matched, ...]
    only_ours: tuple[Op, ...]
    only_theirs: tuple[Op, ...]


def match(ours: Program, theirs: Program) -> Matching:
    """Pair the computing ops of two programs."""
    found: dict[int, tuple[int, float]] = {}
    for kind in WEIGHTED:
        _match_weights(ours, theirs, kind, found)
    labels = (
        {a: number for number, a in enumerate(found)},
        {b: number for number, (b, _) in enumerate(found.values())},
    )
    for kind in _COMPUTING[len(WEIGHTED) :]:
        _match_places(ours, theirs, kind, labels, found)
    taken = {b for b, _ in found.values()}
    pairs = [Matched(ours.ops[a], theirs.ops[b], share) for a, (b, share) in sorted(found.items())]
    return Matching(
        tuple(pairs),
        tuple(op for i, op in enumerate(ours.ops) if op.kind in _COMPUTING and i not in found),
        tuple(op for i, op in enumerate(theirs.ops) if op.kind in _COMPUTING and i not in taken),
    )


def _places(program: Program, kind: str) -> list[int]:
    return [index for index, op in enumerate(program.ops) if op.kind == kind]


def _match_weights(
    ours: Program, theirs: Program, kind: str, found: dict[int, tuple[int, float]]
) -> None:
    """Within each shape, the pairing with the most equal weights; order decides between equals."""
    groups: dict[tuple[int, ...], tuple[list[int], list[int]]] = {}
    for side, program in enumerate((ours, theirs)):
        for index in _places(program, kind):
            shape = program.ops[index].consts["weights"].shape
            groups.setdefault(shape, ([], []))[side].append(index)
    for first, second in groups.values():
        alike = np.zeros((len(first), len(second)))
        for i, a in enumerate(first):
            for j, b in enumerate(second):
                equal = ours.ops[a].consts["weights"] == theirs.ops[b].consts["weights"]
                alike[i, j] = equal.mean()
        nearness = np.abs(np.subtract.outer(np.arange(len(first)), np.arange(len(second))))
        from scipy.optimize import linear_sum_assignment  # takes a third of a second

        rows, columns = linear_sum_assignment(alike - 1e-6 * nearness, maximize=True)
        for i, j in zip(rows, columns, strict=True):
            found[first[i]] = second[j], float(alike[i, j])


def _match_places(
    ours: Program,
    theirs: Program,
    kind: str,
    labels: tuple[dict[int, int], dict[int, int]],
    found: dict[int, tuple[int, float]],
) -> None:
    """Ops between the same weighted layers, in order; then whatever is left, in order."""
    sides = []
    for program, known in zip((ours, theirs), labels, strict=True):
        table: dict[tuple[object, ...], list[int]] = {}
        for index in _places(program, kind):
            size = program.tensors[program.ops[index].outputs[0]].elements
            if kind == "reduce_sum":  # means of two axes may take either first
                size = 0
            key = (size, *_around(program, index, known))
            table.setdefault(key, []).append(index)
        sides.append(table)
    left: tuple[list[int], list[int]] = ([], [])
    for around in dict.fromkeys([*sides[0], *sides[1]]):
        first, second = sides[0].get(around, []), sides[1].get(around, [])
        for a, b in zip(first, second, strict=False):
            found[a] = b, 1.0
        left[0].extend(first[len(second) :])
        left[1].extend(second[len(first) :])
    sizes = [
        [program.tensors[program.ops[i].outputs[0]].elements for i in sorted(indices)]
        for program, indices in zip((ours, theirs), left, strict=True)
    ]
    if sizes[0] == sizes[1]:
        for a, b in zip(sorted(left[0]), sorted(left[1]), strict=True):
            found[a] = b, 1.0


def _around(
    program: Program, index: int, known: dict[int, int]
) -> tuple[frozenset[int], frozenset[int]]:
    """Labels of the nearest weighted ops before and behind an op."""
    maker = {name: i for i, op in enumerate(program.ops) for name in op.outputs}
    readers: dict[str, list[int]] = {}
    for i, op in enumerate(program.ops):
        for name in op.inputs:
            readers.setdefault(name, []).append(i)

    def walk(start: int, before: bool) -> frozenset[int]:
        result, seen, todo = set(), {start}, [start]
        while todo:
            op = program.ops[todo.pop()]
            names = op.inputs if before else op.outputs
            for name in names:
                near = [maker[name]] if before and name in maker else []
                near = near if before else readers.get(name, [])
                for other in near:
                    if other in known:
                        result.add(known[other])
                    elif other not in seen:
                        seen.add(other)
                        todo.append(other)
        return frozenset(result)

    return walk(index, True), walk(index, False)


def is_swapped(ours: Program, theirs: Program, pair: Matched) -> bool:
    """Whether our addition has second what theirs has first, the convolution that carries it."""
    makers = {name: op for op in ours.ops for name in op.outputs}
    carrier = next((op for op in theirs.ops if op.outputs[0] == pair.theirs.inputs[0]), None)
    if carrier is None or "weights" not in carrier.consts:
        return False

    def likeness(name: str) -> float:
        op = makers.get(name)
        if op is None or "weights" not in op.consts:
            return 0.0
        if op.consts["weights"].shape != carrier.consts["weights"].shape:
            return 0.0
        return float((op.consts["weights"] == carrier.consts["weights"]).mean())

    first, second = (likeness(name) for name in pair.ours.inputs)
    return second > first
