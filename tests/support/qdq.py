"""Float graphs written as QDQ files: what onnxruntime makes of them."""

from __future__ import annotations

import onnx

from r329fast.bench import compare_engines as compare
from r329fast.bench.cases import Case
from r329fast.bench.qdq import to_qdq
from r329fast.graph import FloatSession


def follows_the_float_network(case: Case, variant: str) -> None:
    """The file is whole, and its outputs go with the float network's."""
    import onnxruntime as ort

    model, how = to_qdq(case.graph, case.ranges, variant)
    onnx.checker.check_model(model, full_check=True)
    x = case.images(2)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    # unoptimised, onnxruntime computes just what the file says, on every CPU
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options)
    feeds = {case.graph.inputs[0]: how.integers(x.transpose(0, 3, 1, 2))}
    expected = FloatSession(case.graph).run(x)[case.graph.outputs[0]]
    assert compare.correlation(expected, session.run(None, feeds)[0]) > 0.9
