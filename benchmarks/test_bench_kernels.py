"""Micro-benchmarks of kernels at the shapes of real networks, of 8 and of 16 bits.

    pytest benchmarks --benchmark-columns=min,median

Compute kernels report GMAC/s and the fraction of the bare tile's rate, measured just before and
after (Winograd layers pass 100 %: their products are fewer than a direct convolution's, by which
both are counted); others report output elements per second. R329FAST_WINOGRAD=0 measures the direct
kernels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from r329fast.bench.random_programs import NetworkBuilder
from r329fast.calibration.ranges import Ranges, mean_square_key, sum_square_key
from r329fast.graph import ir
from r329fast.kernels.bare import bare_rate
from r329fast.program.program import Program
from r329fast.quantization import quantize
from r329fast.simulator.binding import PreparedProgram

# name: (size, channels in, channels out, kernel, stride, act)
CONVOLUTIONS = {
    "first 7x7/2 3-64 of 224": (224, 3, 64, 7, 2, "RELU"),
    "3x3 64-64 of 56": (56, 64, 64, 3, 1, "RELU"),
    "3x3 128-128 of 28": (28, 128, 128, 3, 1, "RELU"),
    "3x3 256-256 of 14": (14, 256, 256, 3, 1, "RELU"),
    "3x3 512-512 of 7": (7, 512, 512, 3, 1, "RELU"),
    "1x1 64-256 of 56": (56, 64, 256, 1, 1, "RELU"),
    "1x1 256-64 of 56": (56, 256, 64, 1, 1, "RELU"),
    "1x1 1024-256 of 14": (14, 1024, 256, 1, 1, "RELU"),
    "1x1 24-144 of 56, clip": (56, 24, 144, 1, 1, "CLIP"),
    "1x1 144-24 of 56": (56, 144, 24, 1, 1, "NONE"),
    "1x1 384-64 of 14": (14, 384, 64, 1, 1, "NONE"),
    "3x3 64-64 of 224": (224, 64, 64, 3, 1, "RELU"),
    "3x3 128-128 of 112": (112, 128, 128, 3, 1, "RELU"),
    "3x3 256-256 of 56": (56, 256, 256, 3, 1, "RELU"),
    "3x3 512-512 of 14": (14, 512, 512, 3, 1, "RELU"),
    "3x3/2 64-128 of 56": (56, 64, 128, 3, 2, "RELU"),
    "3x3 16-16 of 32": (32, 16, 16, 3, 1, "RELU"),
    "3x3 64-64 of 8": (8, 64, 64, 3, 1, "RELU"),
}
DEPTHWISE = {
    "depthwise 32 of 112, clip": (112, 32, 1),
    "depthwise 144 of 56, clip": (56, 144, 1),
    "depthwise 384 of 14, clip": (14, 384, 1),
    "depthwise 96 of 112, stride 2": (112, 96, 2),
}

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
    "attention 6 x 196 x 64: scores": (
        "MatMul", ir.MatMulAttrs(), ((6, 196, 64), (6, 64, 196)), (6, 196, 196), (),
    ),
    "attention 6 x 196 x 64: values": (
        "MatMul", ir.MatMulAttrs(), ((6, 196, 196), (6, 196, 64)), (6, 196, 64), (),
    ),
    "softmax 6 x 196 of 196": (
        "Softmax", ir.SoftmaxAttrs(2), ((6, 196, 196),), (6, 196, 196), (),
    ),
    "transpose 6 x 196 x 64": (
        "Transpose", ir.TransposeAttrs((0, 2, 1)), ((6, 196, 64),), (6, 64, 196), (),
    ),
    "layer norm 768 of 197 tokens": (
        "LayerNorm", ir.NormAttrs(1), ((197, 768),), (197, 768), (768,),
    ),
    "local response 64 of 56": (
        "LRN", ir.LrnAttrs(5, 1e-4, 0.75, 1.0), ((56, 56, 64),), (56, 56, 64), (),
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


def _grouped(
    size: int, channels: int, groups: int
) -> tuple[str, ir.Attrs, tuple[Shape, ...], Shape, Shape]:
    attrs = ir.ConvAttrs((3, 3), pads=(1, 1, 1, 1), act=ir.Act("RELU"), group=groups)
    shape = (size, size, channels)
    return "Convolution", attrs, (shape,), shape, (channels, 3, 3, channels // groups)


_SEVEN = ir.ConvAttrs((1, 7), pads=(0, 3, 0, 3), act=ir.Act("RELU"))
# the same: groups of few channels, maps that are no multiple of a tile's runs
SHAPES = {
    "3x3 of 56, 32 groups of 4": _grouped(56, 128, 32),
    "3x3 of 28, 32 groups of 8": _grouped(28, 256, 32),
    "3x3 of 14, 32 groups of 16": _grouped(14, 512, 32),
    "1x7 192-192 of 17": (
        "Convolution", _SEVEN, ((17, 17, 192),), (17, 17, 192), (192, 1, 7, 192),
    ),
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


def measure(
    benchmark: Any,
    table: list[tuple[str, ...]],
    case: str,
    program: Program,
    macs: int,
    batch: int = 0,
) -> None:
    """Run the only op on `batch` images; by default so many (1..16) that a run takes some ms."""
    output = program.tensors[program.outputs[0]]
    work = macs or 40 * output.elements
    batch = batch or min(max(1, 1_000_000_000 // work), 16)
    prepared = PreparedProgram(program)  # in the form that a simulator runs
    binding = prepared.bind(batch, frozenset(program.inputs), 1 << 40)
    rng = np.random.default_rng(0)
    for name in program.inputs:
        view = binding.views[name]
        view[:] = rng.integers(0, 256, view.size, dtype=np.uint8)
    run, path = binding.calls.run, prepared.plans[0].path
    run()
    before = bare_rate()
    benchmark.pedantic(run, rounds=40, iterations=1, warmup_rounds=2)
    if benchmark.stats is None:  # --benchmark-disable: only whether it runs
        return
    limit = max(before, bare_rate())
    seconds = benchmark.stats.stats.min
    if macs:
        rate = macs * batch / seconds / 1e9
        benchmark.extra_info |= {"gmac_s": rate, "bare_gmac_s": limit, "fraction": rate / limit}
        table.append((case, path, f"{rate:.1f} GMAC/s", f"{rate / limit:.0%}"))
    else:
        rate = batch * output.elements / seconds / 1e9
        benchmark.extra_info |= {"gelements_s": rate}
        table.append((case, path, f"{rate:.2f} Gelement/s", ""))


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_convolution(benchmark: Any, table: list[tuple[str, ...]], case: str) -> None:
    size, channels, out, kernel, stride, act = CONVOLUTIONS[case]
    builder = NetworkBuilder((size, size, channels))
    name = builder.conv("input", out, kernel, stride, act)
    program = builder.done(name)
    program.ops[0].consts["weights"][...] //= 2  # trained layers rarely reach random ones' sums
    macs = program.tensors[name].elements * kernel * kernel * channels
    measure(benchmark, table, case, program, macs)


@pytest.mark.parametrize("case", DEPTHWISE)
def test_depthwise(benchmark: Any, table: list[tuple[str, ...]], case: str) -> None:
    size, channels, stride = DEPTHWISE[case]
    builder = NetworkBuilder((size, size, channels))
    name = builder.conv("input", channels, 3, stride, "CLIP", group=channels)
    program = builder.done(name)
    measure(benchmark, table, case, program, 9 * program.tensors[name].elements)


@pytest.mark.parametrize("batch", [1, 16])
def test_fully_connected(benchmark: Any, table: list[tuple[str, ...]], batch: int) -> None:
    builder = NetworkBuilder((512,))
    program = builder.done(builder.dense("input", 1000))
    case = f"fully connected 512-1000 x{batch}"
    measure(benchmark, table, case, program, 512 * 1000, batch)


def test_eltwise(benchmark: Any, table: list[tuple[str, ...]]) -> None:
    builder = NetworkBuilder((56, 56, 64))
    name = builder.eltwise("input", "input")
    measure(benchmark, table, "eltwise add 64 of 56", builder.done(name), 0)


def test_maxpool(benchmark: Any, table: list[tuple[str, ...]]) -> None:
    builder = NetworkBuilder((112, 112, 64))
    name = builder.maxpool("input", 3, 2, 1)
    measure(benchmark, table, "maxpool 3x3/2 64 of 112", builder.done(name), 0)


@pytest.mark.parametrize(
    ("size", "channels", "kernel", "stride", "pad"), [(35, 192, 3, 1, 1), (17, 768, 3, 1, 1)]
)
def test_avgpool(
    benchmark: Any,
    table: list[tuple[str, ...]],
    size: int,
    channels: int,
    kernel: int,
    stride: int,
    pad: int,
) -> None:
    builder = NetworkBuilder((size, size, channels))
    name = builder.avgpool("input", kernel, stride, pad)
    case = f"average pool {kernel}x{kernel}/{stride} {channels} of {size}"
    measure(benchmark, table, case, builder.done(name), 0)


def test_mean(benchmark: Any, table: list[tuple[str, ...]]) -> None:
    builder = NetworkBuilder((7, 7, 512))
    name = builder.mean("input")
    measure(benchmark, table, "mean 512 of 7", builder.done(name), 0)


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
    ranges.values[sum_square_key("y")] = ranges.values[mean_square_key("y")] = (0.0, 500.0)
    graph = ir.Graph("case", layers, sizes, ("y",))
    program = quantize(graph, ranges, "compass42", **bits)  # type: ignore[arg-type]
    macs = int(np.prod(out)) * int(np.prod(weights[1:])) if len(weights) > 1 else 0
    if kind == "MatMul":
        macs = int(np.prod(out)) * shapes[0][-1]
    if kind == "ConvTranspose":
        macs = int(np.prod(shapes[0])) * int(np.prod(weights[:3]))
    return program, macs


@pytest.mark.parametrize("case", FURTHER)
def test_further(benchmark: Any, table: list[tuple[str, ...]], case: str) -> None:
    program, macs = one_layer(*FURTHER[case])
    measure(benchmark, table, case, program, macs)


@pytest.mark.parametrize("case", SHAPES)
def test_shapes(benchmark: Any, table: list[tuple[str, ...]], case: str) -> None:
    program, macs = one_layer(*SHAPES[case])
    measure(benchmark, table, case, program, macs)


@pytest.mark.parametrize("case", WIDE)
def test_wide(benchmark: Any, table: list[tuple[str, ...]], case: str) -> None:
    *layer, bits = WIDE[case]
    program, macs = one_layer(*layer, **bits)  # type: ignore[arg-type]
    measure(benchmark, table, case, program, macs)
