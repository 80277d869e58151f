"""ONNX file -> `OnnxModel`: parsed, cut, sorted, constants folded, shapes inferred."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np

from r329fast.base.limits import CONSTANTS
from r329fast.base.reading import check_size, faults_of
from r329fast.errors import FileError, UnsupportedModelError, UsageError
from r329fast.graph.issues import Issue
from r329fast.graph.onnx.cut import cut_model
from r329fast.graph.onnx.decode import attribute_value, read_inside
from r329fast.graph.onnx.folding import fold_and_infer
from r329fast.graph.onnx.model import Node, OnnxModel
from r329fast.graph.onnx.model_file import load_proto, without_functions
from r329fast.graph.onnx.quantized import take_quantised

OLDEST_OPSET = 7

InputShapes = Mapping[str, Sequence[int]] | Sequence[Sequence[int]]


def read_onnx(
    path: str | PathLike[str],
    inputs: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    input_shapes: InputShapes | None = None,
    batch: int = 1,
    quantised: bool = True,
) -> OnnxModel:
    """Read an ONNX file as far as the front end needs it.

    inputs, outputs: tensor or node names where the graph is cut. input_shapes: ONNX shapes, batch
    axis included, by input name or in the order of the inputs; they fill in free axes. batch: the
    size of batches that the file leaves free. quantised: take a quantised file apart.

    Raises FileError (missing, damaged, inconsistent file), UsageError (unknown name, shape that
    does not fit) and UnsupportedModelError (operator set outside the supported range).
    """
    file = Path(fspath(path))
    proto = _parse(file)
    opset = _opset(proto, file)
    model = _collect(proto, opset, file)
    shapes = _declared_shapes(proto)
    cut_model(model, shapes, inputs, outputs, proto)
    _sort(model, file)
    _settle_inputs(model, shapes, input_shapes, batch)
    _check_sources(model, file)
    if quantised:
        take_quantised(model)
    fold_and_infer(model, str(file))
    return model


def _parse(file: Path) -> Any:
    """The ModelProto; FileError if the file is no such thing."""
    proto = load_proto(file)
    if not proto.graph.node or not proto.graph.output:
        raise FileError(
            f"{file}: not a complete ONNX model (it holds {len(proto.graph.node)} nodes "
            f"and {len(proto.graph.output)} outputs)",
            path=str(file),
        )
    return without_functions(proto, file)


def _opset(proto: Any, file: Path) -> int:
    """Version of the default operator set; UnsupportedModelError outside the known range."""
    from onnx.defs import onnx_opset_version

    newest = int(onnx_opset_version())
    versions = [
        int(entry.version) for entry in proto.opset_import if entry.domain in ("", "ai.onnx")
    ]
    version = max(versions, default=1)
    if OLDEST_OPSET <= version <= newest:
        return version
    issue = Issue(
        op="model",
        layer=str(file),
        reason=f"operator set {version}, supported are {OLDEST_OPSET} to {newest}",
        advice="convert it with onnx.version_converter"
        if version < OLDEST_OPSET
        else "export it at an older opset or install a newer onnx package",
    )
    raise UnsupportedModelError(f"{file}: {issue.reason}", [issue])


def _collect(proto: Any, opset: int, file: Path) -> OnnxModel:
    """Nodes and initializers as plain Python and NumPy."""
    from onnx import numpy_helper

    consts: dict[str, np.ndarray] = {}
    for tensor in proto.graph.initializer:
        try:
            consts[tensor.name] = numpy_helper.to_array(tensor)
        except Exception as error:
            raise FileError(
                f"{file}: initializer {tensor.name!r} is damaged ({_first_line(error)})",
                path=str(file),
            ) from error
    for sparse in proto.graph.sparse_initializer:
        with faults_of(file, f"a model whose sparse {sparse.values.name!r} can be used"):
            consts[sparse.values.name] = _dense(sparse, file)
    nodes: list[Node] = []
    names = Names()
    made = {value.name for value in proto.graph.input} | set(consts)
    for node in proto.graph.node:
        outputs = list(node.output)
        base = node.name or next((name for name in outputs if name), node.op_type)
        try:
            attrs = {item.name: attribute_value(item) for item in node.attribute}
        except Exception as error:
            raise FileError(
                f"{file}: node {base!r} has a damaged attribute ({_first_line(error)})",
                path=str(file),
            ) from error
        for name in outputs:
            if name and name in made:
                raise FileError(
                    f"{file}: {name!r}, which node {base!r} ({node.op_type}) makes, exists already",
                    path=str(file),
                    layer=base,
                )
        made.update(outputs)
        domain = "" if node.domain == "ai.onnx" else node.domain
        inputs = [*node.input, *read_inside(node)]
        nodes.append(Node(node.op_type, names.unique(base), inputs, outputs, attrs, domain, node))
    inputs = [value.name for value in proto.graph.input if value.name not in consts]
    types = {value.name: _type_name(value) for value in proto.graph.input}
    return OnnxModel(
        name=proto.graph.name or file.stem,
        opset=opset,
        nodes=nodes,
        consts=consts,
        inputs=inputs,
        outputs=[value.name for value in proto.graph.output],
        input_types=types,
    )


class Names:
    """Names that are taken, and the number that the next of a name gets."""

    def __init__(self) -> None:
        self.taken: set[str] = set()
        self.numbers: dict[str, int] = {}

    def unique(self, name: str) -> str:
        """`name`, or the first of name_1, name_2, ... that is free; it is then taken."""
        candidate, number = name, self.numbers.get(name, 0)
        while candidate in self.taken:
            number += 1
            candidate = f"{name}_{number}"
        self.numbers[name] = number
        self.taken.add(candidate)
        return candidate


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _dense(sparse: Any, file: Path) -> np.ndarray:
    from onnx import numpy_helper

    size = prod(int(size) for size in sparse.dims)
    check_size(f"{file}, {sparse.values.name!r} written out", 8 * size, CONSTANTS)
    values = numpy_helper.to_array(sparse.values)
    indices = numpy_helper.to_array(sparse.indices)
    dense = np.zeros(tuple(sparse.dims), values.dtype)
    if indices.ndim == 1:
        dense.reshape(-1)[indices] = values
    else:
        dense[tuple(indices.T)] = values
    return dense


def _type_name(value: Any) -> str:
    from onnx import helper

    code = value.type.tensor_type.elem_type
    try:
        return str(np.dtype(helper.tensor_dtype_to_np_dtype(code)).name)
    except Exception:  # undefined or a sequence
        return "unknown"


def _declared_shapes(proto: Any) -> dict[str, list[int | None]]:
    """Shapes that the file states for its inputs; None for a free axis."""
    shapes: dict[str, list[int | None]] = {}
    for value in proto.graph.input:
        kind = value.type.tensor_type
        if kind.HasField("shape"):
            shapes[value.name] = [
                dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None
                for dim in kind.shape.dim
            ]
    return shapes


def _sort(model: OnnxModel, file: Path) -> None:
    """Keep the stored order where it is an execution order, else sort topologically."""
    known = set(model.consts) | set(model.inputs) | {""}
    # a tensor that nobody makes is reported later, by name; it must not look like a loop
    maker = {
        name: place
        for place, node in enumerate(model.nodes)
        for name in node.outputs
        if name not in known
    }
    before = [{maker[name] for name in node.inputs if name in maker} for node in model.nodes]
    readers: list[list[int]] = [[] for _ in model.nodes]
    for place, makers in enumerate(before):
        for other in makers:
            readers[other].append(place)
    # rank: which pass over the stored order reaches a node when each pass takes what is ready
    rank = [0] * len(model.nodes)
    missing = [len(makers) for makers in before]
    ready = [place for place, count in enumerate(missing) if not count]
    for place in ready:  # grows while it is walked
        for reader in readers[place]:
            rank[reader] = max(rank[reader], rank[place] + (place > reader))
            missing[reader] -= 1
            if not missing[reader]:
                ready.append(reader)
    if len(ready) < len(model.nodes):
        stuck = next(node for node, count in zip(model.nodes, missing, strict=True) if count)
        raise FileError(f"{file}: the graph has a loop through node {stuck.name!r}", path=str(file))
    order = sorted(range(len(rank)), key=lambda place: (rank[place], place))
    model.replace_nodes([model.nodes[place] for place in order])


def _settle_inputs(
    model: OnnxModel,
    declared: dict[str, list[int | None]],
    given: InputShapes | None,
    batch: int,
) -> None:
    """Fix every input's shape: `batch` where it is free, other free axes from `given`."""
    wanted = _given_shapes(model, given)
    for name in model.inputs:
        shape = list(declared[name]) if name in declared else None
        if name in wanted:
            shape = _merge_shape(name, shape, wanted[name])
        if shape is None:
            model.free_axes[name] = []
            continue
        if shape and shape[0] is None:
            shape[0] = batch
            model.free_batch = True
        free = [axis for axis, size in enumerate(shape) if size is None]
        if free:
            model.free_axes[name] = free
        else:
            model.shapes[name] = tuple(int(size or 0) for size in shape)


def _given_shapes(model: OnnxModel, given: InputShapes | None) -> dict[str, list[int]]:
    if given is None:
        return {}
    if isinstance(given, Mapping):
        from r329fast.errors import nearest

        for name in given:
            if name not in model.inputs:
                raise UsageError(
                    f"input shape for {name!r}, which is no input of the model"
                    f"{nearest(name, model.inputs)} (inputs: {', '.join(model.inputs)})",
                    name=name,
                )
        return {name: [int(size) for size in shape] for name, shape in given.items()}
    shapes = [[int(size) for size in shape] for shape in given]
    if len(shapes) > len(model.inputs):
        raise UsageError(
            f"{len(shapes)} input shapes for {len(model.inputs)} inputs ({', '.join(model.inputs)})"
        )
    return dict(zip(model.inputs, shapes, strict=False))


def _merge_shape(
    name: str, declared: list[int | None] | None, given: list[int]
) -> list[int | None]:
    """The given shape where it fits the file's; the batch axis is the caller's own affair."""
    if declared is None:
        return [size if size > 0 else None for size in given]
    clash = len(declared) != len(given) or any(
        have is not None and want > 0 and have != want
        for have, want in zip(declared[1:], given[1:], strict=False)
    )
    if clash:
        stated = [size if size is not None else "?" for size in declared]
        raise UsageError(
            f"input {name!r}: shape {given} does not fit the file's {stated}",
            name=name,
            found=given,
            allowed=stated,
        )
    merged: list[int | None] = []
    for axis, (have, want) in enumerate(zip(declared, given, strict=True)):
        # a batch that the file fixes stays, since constants in it may have been made for it
        merged.append(have if have is not None else (want if want > 0 and axis > 0 else None))
    return merged


def _check_sources(model: OnnxModel, file: Path) -> None:
    """FileError for a tensor that is read and that nothing provides."""
    known = set(model.consts) | set(model.inputs) | {""}
    for node in model.nodes:
        for name in node.inputs:
            if name not in known:
                raise FileError(
                    f"{file}: node {node.name!r} ({node.op}) reads {name!r}, which is neither an "
                    "input, an initializer nor made by a node",
                    path=str(file),
                    layer=node.name,
                )
        known.update(node.outputs)
    for name in model.outputs:
        if name not in known:
            raise FileError(f"{file}: nothing makes the output {name!r}", path=str(file))
