"""Values by layer that reach no layer: a name or a type that the network does not have."""

from __future__ import annotations

from r329fast.cfg.scoped import Scope, Scoped, parse_scoped
from r329fast.graph.ir import ActivationAttrs, Graph
from r329fast.quantization.options import WIDTHS, Options

_FIELDS = ("quantize_method_for_weight", "quantize_method_for_activation", *WIDTHS)


def idle_scopes(graph: Graph, options: Options) -> list[str]:
    """A line for each scope of an option that fits no layer of the graph."""
    return [
        f"[Optimizer] {name}: no layer fits {_words(scope)}, its {scope.value} is used nowhere; "
        "layers are named as `r329fast profile` lists them, numbers count from 0"
        for name in _FIELDS
        for scope in parse_scoped(getattr(options, name)).scopes
        if not _fits(graph, scope)
    ]


def _fits(graph: Graph, scope: Scope) -> bool:
    alone = Scoped("", (scope,))
    for index, layer in enumerate(graph):
        act = layer.act.kind if isinstance(layer.attrs, ActivationAttrs) else ""
        if alone.for_layer(index, layer.type, layer.name, act):
            return True
    return False


def _words(scope: Scope) -> str:
    if scope.pattern:
        return "{" + scope.pattern + "}"
    ranges = [f"({low}, {high})" for low, high in scope.ranges]
    return "[" + ", ".join([*ranges, *scope.types]) + "]"
