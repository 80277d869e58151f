"""A program on a batch: kernels bound to an arena, blocks of images, threads."""

from r329fast.simulator.simulator import Pending, Simulator

__all__ = ["Pending", "Simulator"]
