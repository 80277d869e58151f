"""Norms by the image's own mean and variance: as operators and in the spellings of exporters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.graph_nets import F, Step, agree, ints, net, random, types

CONSTS = {
    "two": np.array(2, F),
    "half": np.array(0.5, F),
    "e": np.array(1e-5, F),
    "g": random(7),
    "b": random(7, seed=1),
    "cg": random(4, 1, 1),
    "cb": random(4, 1, 1, seed=1),
    "one2": np.ones(2, F),
    "zero2": np.zeros(2, F),
    "apart": ints(0, 2, -1),
    "back": ints(0, 4, 6, 7),
}


def spelled(axes: list[int], square: str = "pow", root: str = "sqrt", subs: int = 1) -> list[Step]:
    """(x - mean) / sqrt(variance + e) as t."""
    mean = {"axes": axes}
    steps: list[Step] = [("ReduceMean", "x", "m", mean), ("Sub", "x m", "d", {})]
    second = "d"
    if subs == 2:
        steps.append(("Sub", "x m", "d2", {}))
        second = "d2"
    if square == "pow":
        steps.append(("Pow", f"{second} two", "s", {}))
    else:
        steps.append(("Mul", f"{second} {second}", "s", {}))
    steps += [("ReduceMean", "s", "v", mean), ("Add", "v e", "w", {})]
    if root == "half":
        steps.append(("Pow", "w half", "r", {}))
    else:
        steps.append(("Sqrt", "w", "r", {}))
    if root == "reciprocal":
        return [*steps, ("Reciprocal", "r", "i", {}), ("Mul", "d i", "t", {})]
    return [*steps, ("Div", "d r", "t", {})]


@pytest.mark.parametrize("square", ["pow", "mul"])
@pytest.mark.parametrize("root", ["sqrt", "half", "reciprocal"])
@pytest.mark.parametrize("subs", [1, 2])
def test_spellings(square: str, root: str, subs: int, tmp_path: Path) -> None:
    steps = spelled([-1], square, root, subs)
    steps += [("Mul", "t g", "u", {}), ("Add", "u b", "y", {})]
    graph = agree(net(steps, shape=("N", 5, 7), consts=CONSTS, opset=13), tmp_path)
    assert types(graph) == ["LayerNorm"]


@pytest.mark.parametrize(
    ("axes", "kind"), [([1], "LayerNorm"), ([1, 2, 3], "LayerNorm"), ([2, 3], "InstanceNorm")]
)
def test_axes_of_a_map(axes: list[int], kind: str, tmp_path: Path) -> None:
    steps = [*spelled(axes), ("Mul", "t cg", "u", {}), ("Add", "u cb", "y", {})]
    graph = agree(net(steps, consts=CONSTS, opset=13), tmp_path)
    assert types(graph) == [kind]


def test_groups(tmp_path: Path) -> None:
    steps: list[Step] = [
        ("Reshape", "x apart", "a", {}),
        ("InstanceNormalization", "a one2 zero2", "n", {}),
        ("Reshape", "n back", "t", {}),
        ("Mul", "t cg", "u", {}),
        ("Add", "cb u", "y", {}),
    ]
    graph = agree(net(steps, shape=("N", 4, 6, 7), consts=CONSTS, opset=13), tmp_path)
    assert types(graph) == ["GroupNorm"]


def test_what_is_no_norm_stays(tmp_path: Path) -> None:
    """A quotient by the variance itself."""
    steps = [*spelled([-1])[:-2], ("Div", "d w", "y", {})]
    graph = agree(net(steps, shape=("N", 5, 7), consts=CONSTS, opset=13), tmp_path)
    assert "LayerNorm" not in types(graph)
