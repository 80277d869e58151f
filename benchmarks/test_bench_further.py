"""Micro-benchmarks of the further operators and of 16 bits, at shapes of real networks.

pytest benchmarks/test_bench_further.py --benchmark-columns=min,median
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_bench_kernels import measure

from r329fast.calibration.ranges import Ranges, sum_square_key
from r329fast.graph import ir
from r329fast.program.program import Program
from r329fast.quantization import quantize

Shape = tuple[int, ...]
UNARY = ir.UnaryAttrs()
_THREE = ir.ConvAttrs((3, 3), pads=(1, 1, 1, 1), act=ir.Act("RELU"))
# name: (layer type, attributes, input shapes, output shape, shape of the weights)
FURTHER: dict[str, tuple[str, ir.Attrs, tuple[Shape, ...], Shape, Shape]] = {
    "transposed 2x2/2 64-32 of 28": (
        "ConvTranspose", ir.ConvTransposeAttrs((2, 2), (2, 2)), ((28, 28, 64),), (56, 56, 32),
        (32, 2, 2, 64),
    ),
    "transposed 4x4/2 64-32 of 28": (
        "ConvTranspose", ir.ConvTransposeAttrs((4, 4), (2, 2), pads=(1, 1, 1, 1)),
        ((28, 28, 64),), (56, 56, 32), (32, 4, 4, 64),
    ),
    "layer norm 768 of 197 tokens": (
        "LayerNorm", ir.NormAttrs(1), ((197, 768),), (197, 768), (768,),
    ),
    "layer norm 96 of 56": ("LayerNorm", ir.NormAttrs(2), ((56, 56, 96),), (56, 56, 96), (96,)),
    "instance norm 64 of 56": (
        "InstanceNorm", ir.NormAttrs(0, 64), ((56, 56, 64),), (56, 56, 64), (64,),
    ),
    "group norm 8 of 64 of 56": (
        "GroupNorm", ir.NormAttrs(0, 8, one_shift=True), ((56, 56, 64),), (56, 56, 64), (64,),
    ),
    "mean over channels 64 of 56": (
        "Reduce", ir.ReduceAttrs("MEAN", (2,)), ((56, 56, 64),), (56, 56, 1), (),
    ),
    "max over H, W 512 of 14": (
        "Reduce", ir.ReduceAttrs("MAX", (0, 1)), ((14, 14, 512),), (1, 1, 512), (),
    ),
    "L1 over channels 64 of 56": (
        "Reduce", ir.ReduceAttrs("L1", (2,)), ((56, 56, 64),), (56, 56, 1), (),
    ),
    "L2 over channels 64 of 56": (
        "Reduce", ir.ReduceAttrs("L2", (2,)), ((56, 56, 64),), (56, 56, 1), (),
    ),
    "L2 normalise 64 of 56": (
        "Normalization", ir.L2NormAttrs((2,)), ((56, 56, 64),), (56, 56, 64), (),
    ),
    "div 64 of 56": ("Div", ir.DivAttrs(), ((56, 56, 64),) * 2, (56, 56, 64), ()),
    "pow 64 of 56": ("Pow", ir.PowAttrs(2.0), ((56, 56, 64),), (56, 56, 64), ()),
    "sqrt 64 of 56": ("Sqrt", UNARY, ((56, 56, 64),), (56, 56, 64), ()),
    "abs 64 of 56": ("Abs", UNARY, ((56, 56, 64),), (56, 56, 64), ()),
    "argmax 19 classes of 128": (
        "ArgMinMax", ir.ArgAttrs(2, "MAX", False), ((128, 128, 19),), (128, 128, 1), (),
    ),
    "top 5 of 1000": ("TopK", ir.TopKAttrs(0, 5, True), ((1000,),), (5,), ()),
    "depth to space 2 64 of 56": (
        "DepthToSpace", ir.DepthToSpaceAttrs(2, "CRD", 0), ((56, 56, 64),), (112, 112, 16), (),
    ),
    "tile 64 of 28": ("Tile", ir.TileAttrs((2, 2, 1)), ((28, 28, 64),), (56, 56, 64), ()),
}  # fmt: skip
# name: (layer type, attributes, input shapes, output shape, shape of the weights, widths)
_WORDS = {"activation_bits": "16"}
_BOTH = {"activation_bits": "16", "weight_bits": "16", "bias_bits": "48"}
WIDE: dict[str, tuple[str, ir.Attrs, tuple[Shape, ...], Shape, Shape, dict[str, str]]] = {
    "3x3 64-64 of 56, 8 bits": (
        "Convolution", _THREE, ((56, 56, 64),), (56, 56, 64), (64, 3, 3, 64), {},
    ),
    "3x3 64-64 of 56, 16 x 8 bits": (
        "Convolution", _THREE, ((56, 56, 64),), (56, 56, 64), (64, 3, 3, 64), _WORDS,
    ),
    "3x3 64-64 of 56, 16 x 16 bits": (
        "Convolution", _THREE, ((56, 56, 64),), (56, 56, 64), (64, 3, 3, 64), _BOTH,
    ),
    "1x1 256-64 of 56, 16 x 8 bits": (
        "Convolution", ir.ConvAttrs((1, 1)), ((56, 56, 256),), (56, 56, 64), (64, 1, 1, 256),
        _WORDS,
    ),
    "depthwise 144 of 56, 16 x 8 bits": (
        "DepthwiseConv", ir.ConvAttrs((3, 3), pads=(1, 1, 1, 1), group=144), ((56, 56, 144),),
        (56, 56, 144), (144, 3, 3, 1), _WORDS,
    ),
    "eltwise add 64 of 56, 16 bits": (
        "Eltwise", ir.EltwiseAttrs("ADD"), ((56, 56, 64),) * 2, (56, 56, 64), (), _WORDS,
    ),
    "layer norm 96 of 56, 16 bits": (
        "LayerNorm", ir.NormAttrs(2), ((56, 56, 96),), (56, 56, 96), (96,), _WORDS,
    ),
    "sigmoid 64 of 56, 16 bits": (
        "Activation", ir.ActivationAttrs(ir.Act("SIGMOID")), ((56, 56, 64),), (56, 56, 64), (),
        _WORDS,
    ),
}  # fmt: skip


def one_layer(
    kind: str, attrs: ir.Attrs, shapes: tuple[Shape, ...], out: Shape, weights: Shape, **bits: str
) -> tuple[Program, int]:
    """(program of one layer with random weights, its multiply-accumulates)."""
    rng = np.random.default_rng(0)
    consts = {}
    if weights:
        fan = float(np.sqrt(np.prod(weights[1:])))
        consts["weights"] = (rng.standard_normal(weights) / fan).astype(np.float32)
        outs = weights if len(weights) == 1 else weights[:1]
        consts["bias"] = rng.standard_normal(outs).astype(np.float32)
    names = tuple(f"x{index}" for index in range(len(shapes)))
    layers = [ir.Layer(name, "Input", ir.InputAttrs(), (), (name,), {}) for name in names]
    made = ("y",) if kind != "TopK" else ("y", "places")
    layers.append(ir.Layer("y", kind, attrs, names, made, consts))
    sizes = dict(zip(names, shapes, strict=True)) | dict.fromkeys(made, out)
    ranges = Ranges({**dict.fromkeys((*names, *made), (-4.0, 4.0))}, dict.fromkeys(names, (-4, 4)))
    ranges.values[sum_square_key("y")] = (0.0, 500.0)
    graph = ir.Graph("case", layers, sizes, ("y",))
    program = quantize(graph, ranges, "compass42", None, **bits)
    macs = int(np.prod(out)) * int(np.prod(weights[1:])) if len(weights) > 1 else 0
    if kind == "ConvTranspose":
        macs = int(np.prod(shapes[0])) * int(np.prod(weights[:3]))
    return program, macs


@pytest.mark.parametrize("case", FURTHER)
def test_further(benchmark: Any, table: list[tuple[str, ...]], case: str) -> None:
    program, macs = one_layer(*FURTHER[case])
    measure(benchmark, table, case, program, macs)


@pytest.mark.parametrize("case", WIDE)
def test_wide(benchmark: Any, table: list[tuple[str, ...]], case: str) -> None:
    *layer, bits = WIDE[case]
    program, macs = one_layer(*layer, **bits)  # type: ignore[arg-type]
    measure(benchmark, table, case, program, macs)
