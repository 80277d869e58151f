"""`load_model`: ONNX file -> `Graph`, and `check_model`: what stands in the way of that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from r329fast.base.reading import faults_of
from r329fast.errors import FileError, UnsupportedModelError
from r329fast.graph.activations import BY_OPERATOR
from r329fast.graph.check.causes import Causes
from r329fast.graph.check.constraints import check_inputs, check_node
from r329fast.graph.check.head import head_cut
from r329fast.graph.fusion import Draft, fuse
from r329fast.graph.ir import Given, Graph
from r329fast.graph.issues import Issue, Unknown, Unsupported
from r329fast.graph.lower.builder import Builder
from r329fast.graph.lower.families import OPERATORS
from r329fast.graph.lower.unary import TYPES as UNARY
from r329fast.graph.onnx.batch import follow_batch
from r329fast.graph.onnx.batch_ops import HANDLERS, alike
from r329fast.graph.onnx.einsum import write_out_einsums
from r329fast.graph.onnx.model import Node, OnnxModel
from r329fast.graph.onnx.norm_patterns import find_norms
from r329fast.graph.onnx.patterns import find_patterns
from r329fast.graph.onnx.reader import InputShapes, read_onnx

# how the batch is followed through an operator; the tables know those of one element each
_HANDLERS = {**dict.fromkeys((*BY_OPERATOR, *UNARY), alike), **HANDLERS}


def load_model(
    path: str | PathLike[str],
    inputs: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    input_shapes: InputShapes | None = None,
    name: str | None = None,
) -> Graph:
    """Read an ONNX model (opset 7 and later) as a `Graph`.

    inputs, outputs: names of tensors or nodes where the graph is cut; by default the file's own
    ends. A node stands for its first output. input_shapes: ONNX shapes with the batch axis (which
    is ignored), by input name or in order; needed where the file leaves an axis free.
    name: the graph's name, by default the file's stem.

    Raises FileError (no readable ONNX file), UsageError (unknown name, shape that does not fit)
    and UnsupportedModelError, whose `issues` list everything that is not supported, and whose
    `cut` names the tensors up to which it is, where only a head is not.
    """
    found = _load(path, inputs, outputs, input_shapes, name)
    if not isinstance(found, Graph):
        issues, cut = found
        more = f" ({len(issues)} findings in all)" if len(issues) > 1 else ""
        front = f"; --output {','.join(cut)} takes what is in front of it" if cut else ""
        text = f"{path}: {issues[0]}{more}{front}"
        raise UnsupportedModelError(text, issues, path=str(path), cut=cut)
    return found


@dataclass(frozen=True)
class ModelPart:
    """Which part of a file is the network: three arguments of `load_model`."""

    inputs: Sequence[str] | None = None
    outputs: Sequence[str] | None = None
    input_shapes: InputShapes | None = None

    def load(self, path: str | PathLike[str]) -> Graph:
        """`load_model` of this part of a file, with its errors."""
        return load_model(path, self.inputs, self.outputs, self.input_shapes)


def check_model(
    path: str | PathLike[str],
    inputs: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    input_shapes: InputShapes | None = None,
) -> list[Issue]:
    """Everything in the model that is not supported, one finding per cause; an empty list if
    nothing.

    An `Issue` has the op, the layer, the reason and what to do. inputs, outputs, input_shapes: as
    in `load_model`. Raises FileError and UsageError as `load_model` does.
    """
    try:
        found = _load(path, inputs, outputs, input_shapes, None)
        return [] if isinstance(found, Graph) else found[0]
    except UnsupportedModelError as error:
        return [issue for issue in error.issues if isinstance(issue, Issue)]


def _load(
    path: str | PathLike[str],
    inputs: Sequence[str] | None,
    outputs: Sequence[str] | None,
    input_shapes: InputShapes | None,
    name: str | None,
) -> Graph | tuple[list[Issue], list[str]]:
    """The graph, or what stands in its way and the tensors at which a head could be cut off."""
    # onnx and NumPy raise many kinds about the content of a file
    with faults_of(path, "a consistent ONNX model"):
        model = read_onnx(path, inputs, outputs, input_shapes)
        write_out_einsums(model)
        find_patterns(model)
        find_norms(model)

        def probe() -> tuple[int, dict[str, tuple[int, ...]]] | None:
            return _with_batch(model, path, inputs, outputs, input_shapes)

        mixed = follow_batch(model, _HANDLERS, OPERATORS, probe)
        causes = Causes()
        for issue in check_inputs(model):
            causes.add_input(issue)
        builder = Builder(model)
        for tensor in model.inputs:
            if tensor in model.shapes:
                _add_input(builder, tensor)
        for node in model.nodes:
            found = mixed.get(node.name)
            if found:
                _stand_in(builder, node)
            issues = [found] if found else _import_node(builder, node, str(path))
            causes.add(node, issues)
        issues = causes.issues()
    for tensor in model.outputs if not issues else ():
        if tensor in model.consts:
            issues.append(
                Issue("model", tensor, "an output that is a constant", "cut the graph elsewhere")
            )
        elif tensor in builder.values and builder.values[tensor].tensor in builder.input_layouts:
            issues.append(
                Issue("model", tensor, "an output that is an input", "leave it out (outputs)")
            )
    if issues:
        return issues, head_cut(model, causes)
    with faults_of(path, "a consistent ONNX model"):
        return _finish(builder, name or Path(path).stem)


_OTHER_BATCH = 3


def _with_batch(
    model: OnnxModel,
    path: str | PathLike[str],
    inputs: Sequence[str] | None,
    outputs: Sequence[str] | None,
    input_shapes: InputShapes | None,
) -> tuple[int, dict[str, tuple[int, ...]]] | None:
    """Shapes with another batch, None where the file can only be of one image."""
    try:
        other = read_onnx(path, inputs, outputs, input_shapes, _OTHER_BATCH)
    except (FileError, UnsupportedModelError):
        return None
    known = all(name in other.shapes or name in other.consts for name in model.outputs)
    return (_OTHER_BATCH, other.shapes) if known else None


def _import_node(builder: Builder, node: Node, where: str) -> list[Issue]:
    """Check one node and lower it; issues come back instead of being raised."""
    try:
        issues = check_node(node, builder.model)
        if issues:
            _stand_in(builder, node)
            return issues
        first = len(builder.layers)
        OPERATORS[node.op].load(builder, node)
        steps = builder.model.weight_steps.get(node.input(1))
        if steps is not None:
            for layer in builder.layers[first:]:
                layer.weight_steps = tuple(float(step) for step in steps)
    except Unknown:
        # its input came from an unsupported node, which is listed already
        _stand_in(builder, node)
    except Unsupported as error:
        _stand_in(builder, node)
        return [Issue(node.op, node.name, error.reason, error.advice, about=error.about)]
    except (ValueError, LookupError, TypeError, ArithmeticError, AssertionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FileError(
            f"{where}: node {node.name!r} ({node.op}) is inconsistent: {reason}",
            path=where,
            layer=node.name,
        ) from error
    return []


def _stand_in(builder: Builder, node: Node) -> None:
    """Put something of the right shape in place of what a node would have made, so that the
    nodes behind it can be checked too."""
    for tensor in node.outputs:
        shape = builder.model.shape(tensor)
        if tensor and shape and tensor not in builder.values:
            builder.add_input(tensor, shape[1:], "NCHW")


# --- ends -----------------------------------------------------------------------------------


def _add_input(builder: Builder, tensor: str) -> None:
    shape = builder.model.shapes[tensor][1:]
    layout = "plain"
    if len(shape) == 3:
        layout = "NHWC" if _is_nhwc(builder.model, tensor) else "NCHW"
    builder.add_input(tensor, shape, layout)


_PASS_THROUGH = {"Identity", "Cast", "Add", "Sub", "Mul", "Div", "Pad"}


def _is_nhwc(model: OnnxModel, tensor: str) -> bool:
    """Whether a rank-4 input is only read by Transposes to NCHW (as TensorFlow exports have it),
    perhaps after arithmetic with constants."""
    waiting, seen = [tensor], {tensor}
    while waiting:
        name = waiting.pop()
        readers = model.consumers(name)
        if not readers or name in model.outputs:
            return False
        for node in readers:
            if node.op == "Transpose" and list(node.attr("perm", [])) == [0, 3, 1, 2]:
                continue
            computed = [name for name in node.inputs if name and name not in model.consts]
            if node.op not in _PASS_THROUGH or len(computed) != 1:
                return False
            if node.outputs[0] not in seen:
                seen.add(node.outputs[0])
                waiting.append(node.outputs[0])
    return True


def _finish(builder: Builder, name: str) -> Graph:
    """Bring the outputs into their layout, fuse, and collect the names."""
    model = builder.model
    outputs: list[str] = []
    for tensor in model.outputs:
        value = builder.value(tensor)
        rank = len(value.perm)
        if rank != 3 or value.perm != (0, 1, 2):
            value = builder.canonical(value)
        builder.values[tensor] = value
        outputs.append(value.tensor)
    draft = Draft(builder.layers, builder.shapes, outputs)
    fuse(draft)
    tensors = {tensor for layer in draft.layers for tensor in layer.outputs}
    onnx_names: dict[str, str] = {}
    onnx_axes: dict[str, tuple[int, ...]] = {}
    before: dict[str, str] = {}
    given: dict[str, Given] = {}
    for onnx_tensor, value in builder.values.items():
        # of tensors that fusions joined the last counts; of those that are the same a graph
        # output, else the first
        held = value.tensor
        if held in draft.changed:
            continue
        while held in draft.renamed:
            held = draft.renamed[held]
        if held not in tensors or value.scrambled or onnx_tensor in model.moved:
            continue
        if onnx_tensor in model.given and (held not in given or before.get(held) != value.tensor):
            given[held] = model.given[onnx_tensor]
        if len(value.perm) != len(builder.shapes[value.tensor]):
            continue  # a row that lies in a map
        if before.get(held) == value.tensor and onnx_tensor not in model.outputs:
            continue
        before[held] = value.tensor
        onnx_names[held] = onnx_tensor
        onnx_axes[held] = tuple(value.perm.index(axis) for axis in range(len(value.perm)))
    return Graph(
        name=name,
        layers=draft.layers,
        shapes={tensor: draft.shapes[tensor] for tensor in draft.shapes if tensor in tensors},
        outputs=tuple(dict.fromkeys(draft.outputs)),
        onnx_names=onnx_names,
        input_layouts=builder.input_layouts,
        onnx_axes=onnx_axes,
        given=given,
        given_again=tuple(model.given_again),
    )
