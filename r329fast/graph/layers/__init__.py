"""The vendor's layer types: attributes and facts, one file per family."""

from __future__ import annotations

from r329fast.graph.layers import elementwise, linear, movement, normalise, windows
from r329fast.graph.layers.facts import LayerType

# Vendor layer type -> its facts.
LAYER_TYPES: dict[str, LayerType] = {
    **movement.TYPES,
    **linear.TYPES,
    **elementwise.TYPES,
    **windows.TYPES,
    **normalise.TYPES,
}

# Types whose outputs are sums over inputs times weights.
LINEAR_TYPES = tuple(name for name, facts in LAYER_TYPES.items() if facts.linear)

__all__ = ["LAYER_TYPES", "LINEAR_TYPES", "LayerType"]
