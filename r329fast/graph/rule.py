"""What a constraint on an ONNX node is, and what a user can do where it is not met.

A constraint takes a node and the model; its docstring is the sentence a user reads. It returns
(ok, why): whether the node meets it and, if not, what was found.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from r329fast.graph.issues import AXES
from r329fast.graph.onnx.model import Node, OnnxModel

Result = tuple[bool, str]
Constraint = Callable[[Node, OnnxModel], Result]
ConstraintT = TypeVar("ConstraintT", bound=Constraint)

ADVICE: dict[str, str] = {}
ABOUT: dict[str, str] = {}


def advise(advice: str, about: str = AXES) -> Callable[[ConstraintT], ConstraintT]:
    """Say what a user can do where a constraint is not met, and what the constraint looks at.

    The advice must leave the model the same function (tests/graph/test_advice.py tries it);
    about: FORM, AXES or VALUES of graph.issues.
    """

    def mark(constraint: ConstraintT) -> ConstraintT:
        ADVICE[constraint.__name__] = advice
        ABOUT[constraint.__name__] = about
        return constraint

    return mark


def message(constraint: Constraint) -> str:
    """The sentence a user reads."""
    return " ".join((constraint.__doc__ or "").split())


def show(shape: object) -> str:
    return str(list(shape)) if isinstance(shape, tuple) else str(shape)


def first_shape(node: Node, model: OnnxModel) -> tuple[int, ...]:
    """Shape of the first input; `constraint_fixed_shapes` has seen that it is known."""
    return model.shape(node.inputs[0]) or ()


def computed_inputs(node: Node, model: OnnxModel) -> list[str]:
    """Inputs that are activations."""
    return [name for name in node.inputs if name and name not in model.consts]
