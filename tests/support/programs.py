"""Small graphs and programs for tests, built by hand."""

from __future__ import annotations

import numpy as np

from r329fast.calibration import Ranges
from r329fast.graph import ir
from r329fast.program import Program
from r329fast.quantization import quantize


def small_graph(seed: int = 0) -> ir.Graph:
    """Conv + ReLU, depthwise, add, global average, fully connected, softmax: input (8, 8, 3)."""
    rng = np.random.default_rng(seed)

    def weights(*shape: int) -> dict[str, np.ndarray]:
        return {
            "weights": rng.normal(size=shape).astype(np.float32),
            "bias": rng.normal(size=shape[:1]).astype(np.float32),
        }

    window = {"kernel": (3, 3), "pads": (1, 1, 1, 1)}
    relu = ir.Act("RELU")
    layers = [
        ir.Layer("x", "Input", ir.InputAttrs(), (), ("x",)),
        ir.Layer(
            "conv", "Convolution", ir.ConvAttrs(**window, act=relu), ("x",), ("conv",),
            weights(8, 3, 3, 3),
        ),
        ir.Layer(
            "dw", "DepthwiseConv", ir.ConvAttrs(**window, group=8), ("conv",), ("dw",),
            weights(8, 3, 3, 1),
        ),
        ir.Layer("add", "Eltwise", ir.EltwiseAttrs("ADD", relu), ("dw", "conv"), ("add",)),
        ir.Layer("pool", "Pooling", ir.PoolingAttrs("AVG", (8, 8)), ("add",), ("pool",)),
        ir.Layer("flat", "Reshape", ir.ReshapeAttrs((8,)), ("pool",), ("flat",)),
        ir.Layer(
            "fc", "FullyConnected", ir.FullyConnectedAttrs(), ("flat",), ("fc",), weights(5, 8)
        ),
        ir.Layer("prob", "Softmax", ir.SoftmaxAttrs(0), ("fc",), ("prob",)),
    ]  # fmt: skip
    shapes = {
        "x": (8, 8, 3), "conv": (8, 8, 8), "dw": (8, 8, 8), "add": (8, 8, 8),
        "pool": (1, 1, 8), "flat": (8,), "fc": (5,), "prob": (5,),
    }  # fmt: skip
    return ir.Graph("small", layers, shapes, ("prob",))


def small_ranges() -> Ranges:
    values = {
        "x": (-2.0, 2.5), "conv": (0.0, 9.0), "dw": (-11.0, 8.0), "add": (0.0, 14.0),
        "pool": (0.0, 3.0), "flat": (0.0, 3.0), "fc": (-6.0, 7.0), "prob": (0.0, 0.9),
    }  # fmt: skip
    return Ranges(values)


def small_program(scheme: str = "aqt2021", **options: object) -> Program:
    return quantize(small_graph(), small_ranges(), scheme, **options)


def small_input(program: Program, images: int = 3, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return program.quantize_input(rng.normal(size=(images, 8, 8, 3)).astype(np.float32))
