"""What a layer is made of, as plain data: attributes, tensors, multipliers, ranges of weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from r329fast.program.counters import layer_constants
from r329fast.program.program import LayerRecord, Program, TensorSpec

MOST_CHANNELS = 2048  # of which ranges are listed; beyond, neighbours are put together


def layer_details(program: Program) -> dict[str, dict[str, Any]]:
    """Layer name -> {"attributes", "inputs", "outputs", "multipliers", "weights"}.

    attributes: kernel, stride, .. as the graph had them; inputs, outputs: name, layer, shape,
    dtype, scale, zero_point of each tensor; multipliers: smallest and largest M and shift of every
    op that requantises, with how many there are; weights: dtype, shape, smallest and largest
    integer, and [lowest, highest] of every output channel.
    """
    maker = {name: layer.name for layer in program.layers for name in layer.outputs}
    found = {}
    for layer in program.layers:
        entry: dict[str, Any] = {
            "attributes": {key: _plain(value) for key, value in layer.detail.items()},
            "inputs": [_tensor(program.tensors[name], maker) for name in layer.inputs],
            "outputs": [_tensor(program.tensors[name], maker) for name in layer.outputs],
            "multipliers": _multipliers(program, layer),
        }
        weights, _ = layer_constants(program, layer)
        if weights is not None and weights.ndim and weights.size:
            entry["weights"] = _weights(weights)
        found[layer.name] = entry
    return found


def _plain(value: int | str | tuple[int, ...]) -> int | str | list[int]:
    return list(value) if isinstance(value, tuple) else value


def _tensor(spec: TensorSpec, maker: dict[str, str]) -> dict[str, Any]:
    return {
        "name": spec.name,
        "layer": maker.get(spec.name, ""),
        "shape": list(spec.shape),
        "dtype": spec.dtype,
        "scale": spec.scale,
        "zero_point": spec.zero_point,
    }


def _multipliers(program: Program, layer: LayerRecord) -> list[dict[str, Any]]:
    found = []
    for op in program.ops[slice(*layer.ops)]:
        if "mult" not in op.consts or "shift" not in op.consts:
            continue
        mult, shift = np.atleast_1d(op.consts["mult"]), np.atleast_1d(op.consts["shift"])
        if mult.size and shift.size:
            found.append(
                {
                    "op": op.kind,
                    "count": int(mult.size),
                    "m": [int(mult.min()), int(mult.max())],
                    "shift": [int(shift.min()), int(shift.max())],
                }
            )
    return found


def _weights(weights: np.ndarray) -> dict[str, Any]:
    """Output channels are the first axis."""
    flat = weights.reshape(len(weights), -1)
    low, high = flat.min(axis=1), flat.max(axis=1)
    step = -(-len(low) // MOST_CHANNELS)
    starts = np.arange(0, len(low), step)
    return {
        "dtype": str(weights.dtype),
        "shape": list(weights.shape),
        "least": int(low.min()),
        "most": int(high.max()),
        "channels_per_entry": step,
        "low": np.minimum.reduceat(low, starts).astype(np.int64).tolist(),
        "high": np.maximum.reduceat(high, starts).astype(np.int64).tolist(),
    }
