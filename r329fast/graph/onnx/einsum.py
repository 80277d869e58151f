"""Einsum written out: sums over letters of one side, Transposes, Reshapes and one MatMul."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from r329fast.graph.onnx.model import Node, OnnxModel

Shape = tuple[int, ...]


def write_out_einsums(model: OnnxModel) -> None:
    """Replace every Einsum of one or two tensors that names no letter twice in one of them."""
    if not any(node.op == "Einsum" for node in model.nodes):
        return
    nodes: list[Node] = []
    for node in model.nodes:
        made = _Einsum(node, model).nodes() if node.op == "Einsum" and not node.domain else None
        nodes += made if made else [node]
    model.replace_nodes(nodes)


def _letters(equation: str, shapes: Sequence[Shape]) -> tuple[list[str], str] | None:
    """Letters of each input and of the output, an ellipsis as capital Greek letters; None where
    they do not fit."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    words = left.split(",")
    if len(words) != len(shapes):
        return None
    if not arrow:
        every = "".join(words).replace("...", "")
        right = "..." + "".join(sorted(c for c in set(every) if every.count(c) == 1))
    more = "ΓΔΘΛΞΠΣΦΨΩ"
    wide = [len(s) - len(w.replace("...", "")) if "..." in w else 0
            for w, s in zip(words, shapes, strict=True)]  # fmt: skip
    longest = max(wide)
    if longest > len(more) or min(wide) < 0:
        return None
    full = [
        word.replace("...", more[longest - count : longest]) if "..." in word else word
        for word, count in zip(words, wide, strict=True)
    ]
    target = right.replace("...", more[:longest])
    plain = all(len(w) == len(set(w)) == len(s) for w, s in zip(full, shapes, strict=True))
    known = set(target) <= set("".join(full)) and len(target) == len(set(target))
    return (full, target) if plain and known else None


class _Einsum:
    def __init__(self, node: Node, model: OnnxModel) -> None:
        self.node, self.model = node, model
        self.made: list[Node] = []

    def nodes(self) -> list[Node] | None:
        """What the node becomes; None if it stays."""
        model, node = self.model, self.node
        names = [name for name in node.inputs if name]
        shapes = [model.shape(name) for name in names]
        known = [shape for shape in shapes if shape is not None]
        if len(known) != len(names) or not 1 <= len(names) <= 2 or not model.shape(node.outputs[0]):
            return None
        found = _letters(str(node.attr("equation", "")), known)
        if found is None:
            return None
        words, target = found
        sizes: dict[str, int] = {}
        for word, shape in zip(words, known, strict=True):
            for letter, size in zip(word, shape, strict=True):
                if sizes.setdefault(letter, size) != size:
                    return None  # broadcast
        sides = []
        for index, (name, word) in enumerate(zip(names, words, strict=True)):
            others = target + "".join(words[:index] + words[index + 1 :])
            sides.append(self.summed(name, word, others))
        if len(sides) == 1:
            ((name, word),) = sides
            self.finish(name, word, target, sizes)
        else:
            self.product(sides, target, sizes)
        return self.made

    def add(self, op: str, inputs: list[str], shape: Shape, **attrs: Any) -> str:
        name = f"{self.node.name}__{op.lower()}{len(self.made)}"
        self.made.append(Node(op, name, inputs, [name], attrs))
        self.model.shapes[name] = shape
        self.model.moved.add(name)
        return name

    def const(self, values: Any) -> str:
        name = f"{self.node.name}__const{len(self.made)}"
        while name in self.model.consts:
            name += "_"
        self.model.consts[name] = np.asarray(values)
        return name

    def summed(self, name: str, word: str, wanted: str) -> tuple[str, str]:
        """The tensor without the letters that nothing else has."""
        axes = [axis for axis, letter in enumerate(word) if letter not in wanted]
        if not axes:
            return name, word
        left = "".join(letter for letter in word if letter in wanted)
        if name in self.model.consts:
            return self.const(self.model.floats(name).sum(axis=tuple(axes))), left
        shape = self.model.shape(name) or ()
        kept = tuple(size for axis, size in enumerate(shape) if axis not in axes)
        return self.add("ReduceSum", [name], kept, axes=axes, keepdims=0), left

    def turned(self, name: str, word: str, wanted: str, shape: Shape, sizes: dict[str, int]) -> str:
        """The tensor with its letters in another order, and then of another shape."""
        perm = [word.index(letter) for letter in wanted]
        between = tuple(sizes[letter] for letter in wanted)
        if name in self.model.consts:
            return self.const(self.model.floats(name).transpose(perm).reshape(shape))
        if perm != sorted(perm):
            name = self.add("Transpose", [name], between, perm=perm)
        if shape != between:
            name = self.add("Reshape", [name, self.const(shape)], shape)
        return name

    def product(self, sides: list[tuple[str, str]], target: str, sizes: dict[str, int]) -> None:
        (first, a), (second, b) = sides
        both = "".join(c for c in target if c in a and c in b)
        inner = "".join(c for c in a if c in b and c not in target)
        rows = "".join(c for c in target if c in a and c not in b)
        columns = "".join(c for c in target if c in b and c not in a)

        def size(word: str) -> int:
            return prod(sizes[letter] for letter in word)

        lead = tuple(sizes[letter] for letter in both)
        left, right = (*lead, size(rows), size(inner)), (*lead, size(inner), size(columns))
        # a constant matrix takes the other side with its axes apart
        if not both and second in self.model.consts and len(inner) == 1:
            left = (*(sizes[letter] for letter in rows), size(inner))
        whole = (*left[:-1], right[-1])
        inputs = [
            self.turned(first, a, both + rows + inner, left, sizes),
            self.turned(second, b, both + inner + columns, right, sizes),
        ]
        name = self.add("MatMul", inputs, whole)
        word = both + rows + columns
        apart = tuple(sizes[letter] for letter in word)
        if apart != whole:
            name = self.add("Reshape", [name, self.const(apart)], apart)
        self.finish(name, word, target, sizes)

    def finish(self, name: str, word: str, target: str, sizes: dict[str, int]) -> None:
        """The last node has the Einsum's name and output."""
        perm = [word.index(letter) for letter in target]
        op, attrs = ("Identity", {}) if perm == sorted(perm) else ("Transpose", {"perm": perm})
        if op == "Identity" and self.made:
            last = self.made[-1]
            last.name, last.outputs = self.node.name, list(self.node.outputs)
            return
        made = Node(op, self.node.name, [name], list(self.node.outputs), attrs)
        self.made.append(made)
