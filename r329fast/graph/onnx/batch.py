"""The batch followed by name through the file, and every tensor brought into a form with it first.

Exporters write attention with the batch at another place (L, N, C), joined with heads or windows
(N * heads, L, C), or behind other axes (3, N, heads, L, C). As long as images do not mix, such a
tensor is another form of one that has the batch first (`places.py`), and what reads it becomes the
same operator on other axes. Files that keep the batch first are left as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Any

import numpy as np

from r329fast.graph.issues import AXES, Issue
from r329fast.graph.onnx.model import Node, OnnxModel
from r329fast.graph.onnx.places import FIRST, WHOLE, Place, Shape, after_reshape

RULE = "Images must not mix, and the batch must be followed"
ADVICE = "export with a fixed batch of 1, or cut the graph in front of it (--output)"
# name of a tensor -> its shape with another batch, whose size comes first; None: not known
Probe = Callable[[], tuple[int, dict[str, Shape]] | None]


class Mixed(Exception):  # noqa: N818  (caught inside this package, never seen outside)
    """Raised where images would mix, or where the batch cannot be followed."""


class Lost(Exception):  # noqa: N818
    """Raised where a shape is unknown or an operator is not supported, which is found elsewhere."""


class Follower:
    """The walk over the nodes: where the batch lies in every tensor, and the nodes rewritten.

    strict: whether images could mix, which those of a file for one image cannot.
    """

    def __init__(self, model: OnnxModel, probe: Probe) -> None:
        self.model = model
        self.shapes: dict[str, Shape] = dict(model.shapes)  # of the file, and of tensors made here
        self.places = dict.fromkeys(model.inputs, FIRST)
        shape = model.shape(model.inputs[0]) if model.inputs else None
        self.batch = shape[0] if shape else 1
        self.nodes: list[Node] = []
        self.changed = False
        self._probe: Probe | None = probe if model.free_batch else None
        self._strict = self.batch > 1
        self._probed: tuple[int, dict[str, Shape]] | None = None
        self._count = 0

    # --- what is known ----------------------------------------------------------------------

    @property
    def strict(self) -> bool:
        self._look()
        return self._strict

    def hint(self, name: str) -> int | None:
        """The axis of a tensor that grows with the batch, -1 where another thing does, None where
        that is not known."""
        self._look()
        if self._probed is None or name not in self._probed[1]:
            return None
        batch, shapes = self._probed
        shape, other = self.shapes[name], shapes[name]
        if len(shape) != len(other):
            return -1
        grown = [
            axis for axis, sizes in enumerate(zip(shape, other, strict=True)) if len({*sizes}) > 1
        ]
        return grown[0] if len(grown) == 1 and other[grown[0]] == batch * shape[grown[0]] else -1

    def _look(self) -> None:
        """Read the file once more with another batch, the first time that it matters."""
        if self._probe is not None:
            self._probed, self._probe = self._probe(), None
            self._strict = self._strict or self._probed is not None

    def shape(self, name: str) -> Shape:
        """Shape in the file; raises Lost."""
        if name in self.model.consts:
            return tuple(self.model.consts[name].shape)
        if name not in self.shapes:
            raise Lost
        return self.shapes[name]

    def place(self, name: str) -> Place:
        """Where the batch lies; raises Lost."""
        if name not in self.places:
            raise Lost
        return self.places[name]

    def computed(self, node: Node) -> list[str]:
        return [name for name in node.inputs if name and name not in self.model.consts]

    # --- what is written --------------------------------------------------------------------

    def emit(self, node: Node, outputs: dict[str, Place]) -> None:
        """Append a node as it is, and say where the batch lies in its outputs."""
        self.nodes.append(node)
        self.places.update(outputs)

    def write(
        self,
        old: Node,
        inputs: Sequence[str],
        outputs: dict[str, Place],
        op: str = "",
        **attrs: Any,
    ) -> None:
        """Append what `old` becomes: other inputs, some other attributes; `op` without attributes
        of the old one."""
        kept = {} if op else dict(old.attrs)
        kept.update(attrs)
        made = Node(op or old.op, old.name, list(inputs), list(old.outputs), kept, old.domain)
        self.changed = True
        self.emit(made, outputs)

    def added(
        self, op: str, hint: str, inputs: Sequence[str], shape: Shape, form: Shape, **attrs: Any
    ) -> str:
        """Append a node of our own; returns its tensor. shape: as the file would have it."""
        self._count += 1
        name = f"{hint}__{op.lower()}{self._count}"
        self.nodes.append(Node(op, name, list(inputs), [name], attrs))
        self.shapes[name] = shape
        self.model.shapes[name] = form
        self.model.moved.add(name)
        self.changed = True
        return name

    def const(self, hint: str, values: Any) -> str:
        self._count += 1
        name = f"{hint}__const{self._count}"
        self.model.consts[name] = np.asarray(values)
        return name

    def reshaped(self, name: str, shape: Shape, form: Shape, place: Place) -> str:
        """The tensor as another with that form; its own name where it has it."""
        if self.place(name).form(self.shape(name), self.batch) == form:
            return name
        made = self.added("Reshape", name, [name, self.const(name, form)], shape, form)
        self.places[made] = place
        return made

    def whole(self, name: str) -> str:
        """The tensor of a file for one image with all its axes behind the batch."""
        shape = self.shape(name)
        made = self.reshaped(name, shape, WHOLE.form(shape, self.batch), WHOLE)
        if made == name:
            self.places[name] = WHOLE
        return made

    def apart(self, name: str, axes: Sequence[int]) -> tuple[str, Place]:
        """(tensor, place of its batch) with the batch in none of `axes`; raises Mixed."""
        place = self.place(name)
        if place.axis not in axes or (place.joined and not self.strict):
            return name, place
        if self.strict:
            raise Mixed(f"axis {place.axis} of {list(self.shape(name))} holds the batch")
        return self.whole(name), WHOLE

    def together(self, names: list[str], rank: int) -> tuple[list[str], Place]:
        """Tensors that meet element by element, each with `rank` axes, and where the batch of all
        lies; raises Mixed."""
        places = {name: self.place(name) for name in names}
        aligned = {p.moved(p.axis + rank - len(self.shape(n))) for n, p in places.items()}
        if len(aligned) == 1:
            (common,) = aligned
        elif self.strict:
            shapes = " and ".join(str(list(self.shape(name))) for name in names)
            raise Mixed(f"the batch lies in different axes of {shapes}")
        else:
            common = WHOLE
        made = []
        for name in names:
            full = (1,) * (rank - len(self.shape(name))) + self.shape(name)
            made.append(self.reshaped(name, full, common.form(full, self.batch), common))
        return made, common

    def constant(self, name: str, place: Place, shape: Shape) -> str:
        """A constant that meets tensors of `shape`, in their form with a batch of 1; raises
        Mixed."""
        value = self.model.consts[name]
        if value.size == 1:
            return name
        rank = len(shape)
        full = value.reshape((1,) * (rank - value.ndim) + value.shape)
        size = full.shape[place.axis]
        if size > 1 and (not place.joined or self.batch > 1):
            raise Mixed(f"a constant of shape {list(value.shape)} differs between images")
        if not place.joined:
            full = full.reshape(full.shape[: place.axis] + full.shape[place.axis + 1 :])
        return self.const(name, full[None])


Handler = Callable[[Follower, Node], None]


def follow_batch(
    model: OnnxModel, handlers: dict[str, Handler], supported: Container[str], probe: Probe
) -> dict[str, Issue]:
    """Bring all tensors of `model` into forms with the batch first.

    supported: operators that are read; others stay as they are. Returns name of a node -> why the
    batch cannot be followed there; it stays as it is, and so does what depends on it.
    """
    follower = Follower(model, probe)
    issues: dict[str, Issue] = {}
    for node in model.nodes:
        if node.domain or not follower.computed(node):
            follower.emit(node, dict.fromkeys(node.outputs, FIRST))
            continue
        kept = len(follower.nodes)
        try:
            if node.op not in supported:
                raise Lost
            handlers.get(node.op, take_first)(follower, node)
        except Lost:
            del follower.nodes[kept:]
            follower.nodes.append(node)  # its fault, or that of a node above, is found elsewhere
        except Mixed as error:
            del follower.nodes[kept:]
            follower.nodes.append(node)
            reason = f"{RULE} (found: {error})"
            found = Issue(node.op, node.name, reason, ADVICE, about=AXES, rule=RULE)
            issues[node.name] = found
    if follower.changed:
        model.replace_nodes(follower.nodes)
        for name, place in follower.places.items():
            if place != FIRST and name in follower.shapes:
                model.moved.add(name)
                model.shapes[name] = place.form(follower.shapes[name], follower.batch)
    return issues


def take_first(follower: Follower, node: Node) -> None:
    """An operator that needs the batch as the first axis, such as a convolution."""
    for name in follower.computed(node):
        if follower.place(name) != FIRST:
            raise Mixed(f"input {list(follower.shape(name))} without the batch as its first axis")
    outputs = {}
    for name in node.outputs:
        shape = follower.shapes.get(name, (follower.batch,))
        if name and shape[:1] == (follower.batch,):
            outputs[name] = FIRST
    follower.emit(node, outputs)


def reshape_place(follower: Follower, name: str, target: str) -> Place:
    """Where the batch of `name` lies once it is reshaped to the shape of `target`; raises Mixed."""
    place, shape = follower.place(name), follower.shape(name)
    wanted, batch = follower.shape(target), follower.batch
    plain = after_reshape(place, shape, wanted, batch, None)
    if place == FIRST == plain:
        return FIRST
    found = after_reshape(place, shape, wanted, batch, follower.hint(target))
    if found is not None:
        return found
    if follower.strict:
        raise Mixed(f"reshaping {list(shape)} to {list(wanted)}")
    return WHOLE
