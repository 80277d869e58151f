"""A model as ONNX again, cut at its ends, constants folded, shapes fixed; nothing else changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from r329fast.base.files import write_bytes
from r329fast.errors import FileError
from r329fast.graph.onnx.model import OnnxModel
from r329fast.graph.onnx.model_file import load_proto, without_functions
from r329fast.graph.onnx.reader import InputShapes, read_onnx

_MOST = 2**31 - 1  # bytes of one protobuf


@dataclass(frozen=True)
class Cleaned:
    """What was written: its ends, the nodes before and after, and how it compares.

    difference: largest difference of an output from the original's float output in onnxruntime,
    as a share of the largest value there; None where the original could not be run.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes_before: int
    nodes: int
    difference: float | None


def write_cleaned(
    path: str | PathLike[str],
    target: str | PathLike[str],
    inputs: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    input_shapes: InputShapes | None = None,
) -> Cleaned:
    """Write the ONNX model in `path` to `target` as the front end reads it.

    The graph is cut at inputs and outputs (names of tensors or nodes), what does not depend on an
    input is folded to constants, every size is fixed (a free batch is 1), functions are written
    out. Both are then run in onnxruntime on the same random numbers.
    Raises FileError, UsageError and UnsupportedModelError as `load_model` does.
    """
    proto = without_functions(load_proto(Path(path)), Path(path))
    model = read_onnx(path, inputs, outputs, input_shapes, quantised=False)
    data = _as_onnx(model, proto)
    if len(data) > _MOST:
        raise FileError(
            f"{target}: {len(data):,} bytes, one ONNX file holds at most {_MOST:,}",
            path=str(target),
        )
    difference = _difference(model, proto, data)
    write_bytes(Path(target), data)
    return Cleaned(
        tuple(model.inputs),
        tuple(model.outputs),
        len(proto.graph.node),
        len(model.nodes),
        difference,
    )


def _as_onnx(model: OnnxModel, proto: Any) -> bytes:
    from onnx import helper, numpy_helper, shape_inference

    nodes = [node.proto for node in model.nodes]
    constants = dict(model.consts)
    for number, name in enumerate(name for name in model.outputs if name in model.consts):
        held = f"{name}__value{number}"
        constants[held] = constants.pop(name)
        nodes.append(helper.make_node("Identity", [held], [name]))
    graph = helper.make_graph(
        nodes,
        model.name,
        [
            helper.make_tensor_value_info(name, _element(model, name), model.shapes.get(name))
            for name in model.inputs
        ],
        [helper.make_empty_tensor_value_info(name) for name in model.outputs],
        [numpy_helper.from_array(np.asarray(a, order="C"), name) for name, a in constants.items()],
    )
    opsets = [item for item in proto.opset_import if item.domain not in ("", "ai.onnx")]
    opsets.append(helper.make_opsetid("", model.opset))
    whole = helper.make_model(
        graph, opset_imports=opsets, producer_name="r329fast", ir_version=proto.ir_version
    )
    whole = shape_inference.infer_shapes(whole, data_prop=True)
    declared = {value.name: value for value in proto.graph.output}
    for value in whole.graph.output:
        kind = value.type.tensor_type
        if not kind.elem_type:
            told = declared[value.name].type.tensor_type.elem_type if value.name in declared else 0
            kind.elem_type = told or 1
    return bytes(whole.SerializeToString())


def _element(model: OnnxModel, name: str) -> int:
    from onnx import helper

    return int(helper.np_dtype_to_tensor_dtype(np.dtype(model.input_types.get(name, "float32"))))


def _difference(model: OnnxModel, proto: Any, data: bytes) -> float | None:
    """Largest relative difference of the outputs on seeded random inputs; None if not run."""
    from onnx import helper

    random = np.random.default_rng(0)
    feeds: dict[str, np.ndarray] = {}
    for name in model.inputs:
        dtype = np.dtype(model.input_types.get(name, "float32"))
        shape = model.shapes.get(name, ())
        whole = dtype.kind in "iub"
        values = random.integers(0, 100, shape) if whole else random.standard_normal(shape)
        feeds[name] = values.astype(dtype)
    known = {value.name for value in proto.graph.input}
    if not set(model.inputs) <= known:
        return None  # cut at an inner tensor: nothing can be fed there
    del proto.graph.output[:]
    proto.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in model.outputs)
    try:
        before = _run(proto.SerializeToString(), feeds, model.outputs)
        after = _run(data, feeds, model.outputs)
    except Exception:  # onnxruntime raises many kinds, and may not know an operator
        return None
    worst = 0.0
    for old, new in zip(before, after, strict=True):
        size = float(np.abs(old).max(initial=0)) or 1.0
        worst = max(worst, float(np.abs(old - new).max(initial=0)) / size)
    return worst


def _run(data: bytes, feeds: dict[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    needed = {item.name for item in session.get_inputs()}
    given = {name: value for name, value in feeds.items() if name in needed}
    results = session.run(list(outputs), given)
    return [np.asarray(result, np.float64) for result in results]
