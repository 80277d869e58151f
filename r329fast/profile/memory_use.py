"""Which feature maps are alive while each layer runs: counted from the op list, for one image."""

from __future__ import annotations

from typing import Any

from r329fast.program.blocks import Stretch
from r329fast.program.planner import lifetimes, plan
from r329fast.program.program import Program


def memory_use(program: Program) -> dict[str, Any]:
    """{"alive", "peak", "arena", "tensors": [{layer, bytes, first, last, offset}]}.

    alive: bytes of the tensors that are needed while the layer runs, its output included, in the
    order of `program.layers`; first, last: indices of layers; offset, arena: where the simulator
    puts them, which is not where the vendor's builder does.
    """
    whole = [Stretch(0, len(program.ops), 1)]
    lives = lifetimes(program, (), 1, whole)
    places = plan(program, (), 1, whole)
    layer_of = {op: index for index, layer in enumerate(program.layers) for op in range(*layer.ops)}
    maker = {name: layer.name for layer in program.layers for name in layer.outputs}
    last_layer = len(program.layers) - 1
    tensors: list[dict[str, Any]] = []
    alive = [0] * len(program.layers)
    for name, life in lives.items():
        first = layer_of.get(life.first, 0)
        last = layer_of.get(life.last, last_layer)
        size = program.tensors[name].bytes
        for index in range(first, last + 1):
            alive[index] += size
        tensors.append(
            {
                "layer": maker.get(name, name),
                "bytes": size,
                "first": first,
                "last": last,
                "offset": places.offsets[name],
            }
        )
    peak = max(alive, default=0)
    return {"alive": alive, "peak": peak, "arena": places.size, "tensors": tensors}
