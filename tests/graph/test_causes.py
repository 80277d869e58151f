"""One finding per cause: what follows is counted, the same is joined."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.graph_nets import F, Step, ints, net, random, save

from r329fast.errors import UnsupportedModelError
from r329fast.graph import check_model, load_model


def test_free_axes_are_one_cause(tmp_path: Path) -> None:
    steps: list[Step] = [
        ("Conv", "x w", "c", {}),
        ("Shape", "c", "s", {}),
        ("Gather", "s i", "n", {}),
        ("Concat", "n k", "t", {"axis": 0}),
        ("Reshape", "c t", "f", {}),
        ("Relu", "f", "y", {}),
    ]
    consts = {"w": random(4, 4, 1, 1), "i": ints(0), "k": ints(-1)}
    path = save(net(steps, ("N", 4, "H", "W"), consts), tmp_path)
    (issue,) = check_model(path)
    assert (issue.op, issue.layer, issue.behind) == ("Input", "x", 6)
    assert "--input-shape" in issue.advice
    assert check_model(path, input_shapes=[[1, 4, 6, 7]]) == []


def test_the_same_is_joined(tmp_path: Path) -> None:
    """Two branches with one fault each, and what joins them."""
    steps: list[Step] = [
        ("Round", "x", "a", {}),
        ("Relu", "x", "b", {}),
        ("Round", "b", "c", {}),
        ("Add", "a c", "d", {}),
        ("Relu", "d", "y", {}),
    ]
    (issue,) = check_model(save(net(steps), tmp_path))
    assert (issue.layer, issue.others, issue.behind) == ("n0", ("n2",), 2)
    assert "n0 (Round) and 1 more, and 2 ops behind it" in str(issue)


def test_own_faults_behind_another_stay(tmp_path: Path) -> None:
    """A form that no mend further up would change is a cause of its own."""
    steps: list[Step] = [
        ("Round", "x", "a", {}),
        ("Resize", "a - k", "b", {"mode": "cubic"}),
        ("Conv", "b w", "c", {"group": 2}),
        ("Tile", "c r", "y", {}),
    ]
    consts = {"k": np.array([1, 1, 2, 2], F), "w": random(4, 4, 1, 1), "r": ints(1, 1, 1, 2)}
    issues = check_model(save(net(steps, consts=consts), tmp_path))
    assert [issue.op for issue in issues] == ["Round", "Resize", "Conv"]
    assert [issue.behind for issue in issues] == [1, 1, 1]


def test_a_cause_reaches_only_what_reads_it(tmp_path: Path) -> None:
    steps: list[Step] = [
        ("Conv", "x w", "c", {}),
        ("Round", "c", "a", {}),
        ("Relu", "c", "b", {}),
        ("Flatten", "b", "z", {}),
        ("Flatten", "a", "y", {}),
    ]
    path = save(net(steps, consts={"w": random(4, 4, 1, 1)}, output="y z"), tmp_path)
    (issue,) = check_model(path)
    assert issue.behind == 1
    with pytest.raises(UnsupportedModelError) as caught:
        load_model(path)
    assert caught.value.cut == ("c", "z")
    assert load_model(path, outputs=["c", "z"]).outputs
