"""A program on a batch: kernels bound to an arena, blocks of images, threads."""

from r329fast.base.lazy import moved
from r329fast.simulator.simulator import Pending, Simulator

__all__ = ["Pending", "Simulator"]

__getattr__ = moved(
    __name__,
    {
        **dict.fromkeys(("BACKENDS", "layer_tensors"), "r329fast.simulator.simulator"),
        "Feeds": "r329fast.simulator.simulator:Tensors",
    },
)
