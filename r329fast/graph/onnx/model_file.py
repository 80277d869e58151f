"""ONNX file -> ModelProto of bounded size: the file, its external data, functions written out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from r329fast.base.limits import MODEL, NODES
from r329fast.base.reading import check_size, faults_of, is_file, read_bytes, wrong_kind
from r329fast.errors import FileError
from r329fast.graph.onnx.foreign import foreign_model

_DEEPEST = 64  # functions that call functions, sub-graphs inside sub-graphs


def load_proto(path: Path | str, *, weights: bool = True) -> Any:
    """The onnx.ModelProto in a file; without `weights` data beside the file is left there.

    Raises FileError: missing, empty, damaged, larger than R329FAST_MAX_MODEL_MB.
    """
    data = read_bytes(path, MODEL)
    if not data:
        raise FileError(f"{path}: the file is empty", path=str(path))
    other = foreign_model(data)
    if other:
        raise FileError(f"{path}: {other}", path=str(path))
    import onnx  # here, not above: it takes a while

    with faults_of(path, "a readable ONNX model"):  # protobuf and onnx raise many kinds
        proto = onnx.load_model_from_string(data)
        _check_names(proto.graph, path)
        total = len(data)
        del data
        folder = Path(path).parent
        if weights:
            _check_external(proto, folder, path, total)
            onnx.external_data_helper.load_external_data_for_model(proto, str(folder))
    return proto


def _check_names(graph: Any, path: Path | str) -> None:
    """protobuf hands out names that are no UTF-8 as bytes, which nothing else could use."""
    ends = [item.name for item in (*graph.input, *graph.output, *graph.initializer)]
    for node in graph.node:
        ends += [node.name, node.op_type, node.domain, *node.input, *node.output]
    for name in ends:
        if not isinstance(name, str):
            raise FileError(f"{path}: a name is not in UTF-8: {name[:40]!r}", path=str(path))


def _check_external(proto: Any, folder: Path, path: Path | str, total: int) -> None:
    """Refuse external data that is no file, or more in all than a model may have."""
    files: set[Path] = set()
    for tensor in _tensors([proto.graph, *proto.functions]):
        if tensor.data_location != tensor.EXTERNAL:
            continue
        words = {entry.key: entry.value for entry in tensor.external_data}
        file = folder / words.get("location", "")
        if file not in files:
            files.add(file)
            wrong_kind(file)
        size = os.path.getsize(file) if is_file(file) else 0
        # without a length the whole rest of the file is the tensor
        length = int(words.get("length") or 0) or max(size - int(words.get("offset") or 0), 0)
        total += min(length, size)
        check_size(f"{path} with its external data", total, MODEL)


def _tensors(waiting: list[Any]) -> Iterator[Any]:
    """Every tensor of graphs and functions: initializers, attributes, those of sub-graphs."""
    while waiting:
        part = waiting.pop()
        yield from getattr(part, "initializer", ())
        for sparse in getattr(part, "sparse_initializer", ()):
            yield sparse.values
            yield sparse.indices
        for node in part.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors
                if attribute.HasField("g"):
                    waiting.append(attribute.g)
                waiting += attribute.graphs


def without_functions(proto: Any, path: Path | str) -> Any:
    """The model with its own functions written out; FileError where they would never end.

    A few functions that call each other twice each would fill any memory, so the nodes are
    counted before.
    """
    sizes = _FunctionSizes(proto, path)
    total = sizes.of_nodes(proto.graph.node)
    if total > NODES.get():
        raise FileError(f"{path}: found {total:,} nodes, {NODES.advice()}", path=str(path))
    if not proto.functions:
        return proto
    from onnx.inliner import inline_local_functions

    with faults_of(path, "a model whose functions can be written out"):
        return inline_local_functions(proto)


class _FunctionSizes:
    """How many nodes calls are once everything is written out."""

    def __init__(self, proto: Any, path: Path | str) -> None:
        self.path = path
        self.functions = {(item.domain, item.name): item for item in proto.functions}
        self.sizes: dict[tuple[str, str], int] = {}
        self.open: list[tuple[str, str]] = []

    def of_nodes(self, nodes: Any, depth: int = 0) -> int:
        if depth > _DEEPEST:
            raise FileError(
                f"{self.path}: sub-graphs or functions are nested more than {_DEEPEST} deep",
                path=str(self.path),
            )
        total = 0
        for node in nodes:
            key = (node.domain, node.op_type)
            total += self._of_function(key, depth) if key in self.functions else 1
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    total += self.of_nodes(attribute.g.node, depth + 1)
                for graph in attribute.graphs:
                    total += self.of_nodes(graph.node, depth + 1)
        return total

    def _of_function(self, key: tuple[str, str], depth: int) -> int:
        if key in self.sizes:
            return self.sizes[key]
        if key in self.open:
            raise FileError(f"{self.path}: function {key[1]!r} calls itself", path=str(self.path))
        self.open.append(key)
        self.sizes[key] = self.of_nodes(self.functions[key].node, depth + 1)
        self.open.pop()
        return self.sizes[key]
