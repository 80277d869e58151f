"""Advice is tried: the model that follows it loads, and is the same function of its input."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator
from support.advice_cases import CASES, SHAPE
from support.graph_nets import random, save, session

from r329fast.graph import check_model, load_model
from r329fast.graph.lower.families import OPERATORS
from r329fast.graph.lower.rules import GENERIC
from r329fast.graph.onnx.reader import read_onnx
from r329fast.graph.rule import ADVICE


def test_every_constraint_has_a_case() -> None:
    used = {item.__name__ for row in OPERATORS.values() for item in row.needs}
    used |= {item.__name__ for item in GENERIC}
    assert used <= set(ADVICE)
    assert used - set(CASES) == set()


def _outputs(model: onnx.ModelProto) -> np.ndarray:
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    feed = {"x": random(*shape)}
    try:
        return np.asarray(session(model).run(["y"], feed)[0])
    except Exception:  # an operator that the installed onnxruntime does not know
        return np.asarray(ReferenceEvaluator(model).run(["y"], feed)[0])


@pytest.mark.parametrize("name", CASES)
def test_advice(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    path = save(case.broken, tmp_path)
    assert check_model(path)
    model = read_onnx(path)
    (constraint,) = {
        item
        for needs in (GENERIC, *(row.needs for row in OPERATORS.values()))
        for item in needs
        if item.__name__ == name
    }
    nodes = [
        node
        for node in model.nodes
        if constraint in GENERIC or constraint in getattr(OPERATORS.get(node.op), "needs", ())
    ]
    assert any(not constraint(node, model)[0] for node in nodes)
    if case.nowhere:
        with pytest.raises(Exception, match=r"\S"):
            session(case.broken).run(["y"], {"x": random(*SHAPE)})
        assert "no runtime" in ADVICE[name] or "export the model again" in ADVICE[name]
        return
    if case.mended is not None:
        path = save(case.mended, tmp_path)
    load_model(path, outputs=case.outputs, input_shapes=case.shapes)
    if case.mended is not None and case.after is not None:
        found, expected = case.after(_outputs(case.mended)), _outputs(case.broken)
        if name == "constraint_known_k":
            expected = case.after(expected)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_onnxslim_folds_what_loading_leaves(tmp_path: Path) -> None:
    """The advice on constants that are too large to fold while loading."""
    path, slim = save(CASES["constraint_has_activation"].broken, tmp_path), tmp_path / "slim.onnx"
    command = [sys.executable, "-m", "onnxslim", str(path), str(slim)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    assert check_model(slim) == []
    feed = {"x": random(*SHAPE)}
    found, expected = (session(onnx.load(file)).run(["y"], feed)[0] for file in (slim, path))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
