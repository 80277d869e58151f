"""Activations that a file spells out in simple operators, recognised by what they compute.

x * sigmoid(x), x * tanh(softplus(x)), the erf and tanh forms of GELU, x * clip(x + 3, 0, 6) / 6
and the like come in many spellings. Each candidate - element-wise nodes between one tensor x and
one product - is evaluated at sample points and compared with the functions that are known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import erf
from typing import Any

import numpy as np

from r329fast.graph.onnx.folding import evaluate
from r329fast.graph.onnx.model import Node, OnnxModel

# Nodes that a spelled-out activation is made of, those that end one, and those without which
# there is nothing to recognise.
_PARTS = {
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Neg",
    "Pow",
    "Exp",
    "Log",
    "Erf",
    "Tanh",
    "Sigmoid",
    "HardSigmoid",
    "Softplus",
    "Clip",
    "Relu",
    "Min",
    "Max",
    "Reciprocal",
    "Sqrt",
}
_ENDS = {"Mul", "Div", "Log"}
_SIGNS = {"Erf", "Tanh", "Sigmoid", "HardSigmoid", "Softplus", "Exp", "Clip", "Min"}
_LONGEST = 12
_POINTS = np.linspace(-9, 9, 145)  # a step of 1/8 meets the corners at -3 and 3


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.array([erf(v) for v in x / np.sqrt(2)]))


def _tanh_gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


_Known = tuple[str, dict[str, Any], Callable[[np.ndarray], np.ndarray]]
# op, attributes, function
_KNOWN: tuple[_Known, ...] = (
    ("Swish", {}, lambda x: x * _sigmoid(x)),
    ("Mish", {}, lambda x: x * np.tanh(np.log1p(np.exp(x)))),
    ("HardSwish", {}, lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
    ("Gelu", {"approximate": "none"}, _gelu),
    ("Gelu", {"approximate": "tanh"}, _tanh_gelu),
    ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}, lambda x: np.clip(x / 6 + 0.5, 0, 1)),
    ("Sigmoid", {}, _sigmoid),
    ("Softplus", {}, lambda x: np.log1p(np.exp(x))),
)


def find_patterns(model: OnnxModel) -> None:
    """Replace spelled-out activations in `model` by one node each, named as the last of theirs."""
    producers = model.producers()
    order = {name: index for index, node in enumerate(model.nodes) for name in node.outputs if name}
    known: dict[object, _Known | None] = {}
    changed = False
    for index, node in enumerate(list(model.nodes)):
        if node.op not in _ENDS or node.domain:
            continue
        found = _recognise(node, model, producers, order, known)
        if found is not None:
            producers.update(dict.fromkeys(found.outputs, found))
            model.nodes[index] = found
            changed = True
    if changed:
        drop_dead(model)


def _recognise(
    top: Node,
    model: OnnxModel,
    producers: dict[str, Node],
    order: dict[str, int],
    known: dict[object, _Known | None],
) -> Node | None:
    """The one node that does what the nodes up from `top` do, None if they are nothing known.

    known: what spellings have been found to compute, for the next place that has the same.
    """
    from onnx import helper

    for source, parts in _candidates(top, model, producers, order):
        if not any(part.op in _SIGNS for part in parts):
            continue
        spelling = _spelling(parts, source, model)
        if spelling not in known:
            values = _run(parts, source, top.outputs[0], model)
            known[spelling] = None if values is None else _computed(values)
        found = known[spelling]
        if found is not None:
            op, attrs, _ = found
            proto = helper.make_node(op, [source], list(top.outputs), top.name, **attrs)
            return Node(op, top.name, [source], list(top.outputs), dict(attrs), "", proto)
    return None


def _computed(values: np.ndarray) -> _Known | None:
    """The known function that has these values at the sample points."""
    for known in _KNOWN:
        if np.allclose(values, known[2](_POINTS), rtol=1e-4, atol=2e-5):
            return known
    return None


def _spelling(parts: list[Node], source: str, model: OnnxModel) -> object:
    """Operators, attributes, single constants and wiring of `parts`, without their names."""
    numbers = {source: 0}

    def word(name: str) -> object:
        const = model.consts.get(name)
        if const is None:
            return numbers.setdefault(name, len(numbers))
        return (const.dtype.str, const.shape, const.tobytes() if const.size == 1 else b"")

    return tuple(
        (part.op, repr(part.attrs), tuple(map(word, part.inputs)), tuple(map(word, part.outputs)))
        for part in parts
    )


def _candidates(
    top: Node, model: OnnxModel, producers: dict[str, Node], order: dict[str, int]
) -> Iterator[tuple[str, list[Node]]]:
    """(x, nodes in order) for every tensor x that alone, with constants, determines top's output.

    The nodes are taken upwards from `top`, latest first, so the smallest candidate comes first.
    """
    parts = [top]
    shape = model.shape(top.outputs[0])
    while len(parts) <= _LONGEST:
        made = {name for part in parts for name in part.outputs}
        leaves = {
            name
            for part in parts
            for name in part.inputs
            if name and name not in made and name not in model.consts
        }
        if len(leaves) == 1:
            (source,) = leaves
            if model.shape(source) == shape:
                yield source, sorted(parts, key=lambda part: order[part.outputs[0]])
        makers = [producers[name] for name in leaves if name in producers]
        makers = [node for node in makers if node.op in _PARTS and not node.domain]
        if not makers:
            return
        parts.append(max(makers, key=lambda node: order[node.outputs[0]]))


def _run(parts: list[Node], source: str, result: str, model: OnnxModel) -> np.ndarray | None:
    """Values of `result` with the sample points in `source`; None if a node cannot be run."""
    values: dict[str, np.ndarray] = {source: _POINTS.astype(np.float32)}
    for part in parts:
        for name in part.inputs:
            if name in model.consts:
                const = model.consts[name]
                if const.size != 1:
                    return None
                values[name] = const.reshape(())
        outputs = evaluate(part, values, model.opset)
        if outputs is None:
            return None
        values.update(zip(part.outputs, outputs, strict=False))
    found = np.asarray(values[result])
    return found if found.shape == _POINTS.shape else None


def drop_dead(model: OnnxModel) -> None:
    """Remove nodes that nothing reads any more."""
    wanted = set(model.outputs)
    kept: list[Node] = []
    for node in reversed(model.nodes):
        if any(name in wanted for name in node.outputs):
            wanted.update(node.inputs)
            kept.append(node)
    model.replace_nodes(kept[::-1])
