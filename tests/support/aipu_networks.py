"""Small networks of the forms that an aipu.bin may hold, with seeded random weights."""

from __future__ import annotations

import numpy as np

from r329fast.calibration import Ranges
from r329fast.graph import ir
from r329fast.program.program import Program
from r329fast.quantization import quantize


def small_network(seed: int = 0) -> tuple[ir.Graph, Ranges]:
    """Two inputs, stem, inverted residual with a shifted part, means and a dense layer."""
    rng = np.random.default_rng(seed)
    layers: list[ir.Layer] = []
    shapes: dict[str, tuple[int, ...]] = {}
    size, width = int(rng.integers(9, 15)), 16 * int(rng.integers(1, 3))
    state, classes = int(rng.integers(1, width)), int(rng.integers(2, 33))

    def add(kind: str, name: str, attrs: ir.Attrs, inputs: tuple[str, ...], shape, **consts) -> str:  # type: ignore[no-untyped-def]
        layers.append(ir.Layer(name, kind, attrs, inputs, (name,), consts))
        shapes[name] = shape
        return name

    def conv(
        name: str, source: str, cout: int, kernel: int, stride: int, act: str, dw: bool = False
    ) -> str:
        height, wide, channels = shapes[source]
        pads = tuple(int(rng.integers(0, 2)) if kernel > 1 else 0 for _ in range(4))
        rows = (height + pads[0] + pads[2] - kernel) // stride + 1
        columns = (wide + pads[1] + pads[3] - kernel) // stride + 1
        # the form names a padded size: no rows may be left over
        over = (height + pads[0] + pads[2] - kernel) % stride
        pads = (pads[0] + (stride - over) % stride, *pads[1:])
        over = (wide + pads[1] + pads[3] - kernel) % stride
        pads = (pads[0], pads[1] + (stride - over) % stride, *pads[2:])
        rows = (height + pads[0] + pads[2] - kernel) // stride + 1
        columns = (wide + pads[1] + pads[3] - kernel) // stride + 1
        inner = 1 if dw else channels
        weights = rng.normal(size=(cout, kernel, kernel, inner)).astype(np.float32)
        bias = rng.normal(size=cout).astype(np.float32) * np.float32(10.0 ** rng.integers(0, 4))
        attrs = ir.ConvAttrs(
            (kernel, kernel), (stride, stride), (1, 1), pads, channels if dw else 1, ir.Act(act)
        )
        kind = "DepthwiseConv" if dw else "Convolution"
        return add(kind, name, attrs, (source,), (rows, columns, cout), weights=weights, bias=bias)

    add("Input", "image", ir.InputAttrs(), (), (size, size, 3))
    x = conv("stem", "image", width, 3, 2, "RELU")
    x = conv("spread", x, width, 3, 1, "RELU", dw=True)
    x = conv("narrow", x, width, 1, 1, "NONE")
    height, wide, _ = shapes[x]
    add("Input", "state", ir.InputAttrs(), (), (height, wide, state))
    cut = ir.SliceAttrs((0, 0, state), (height, wide, width), (1, 1, 1))
    kept = add("Slice", "kept", cut, (x,), (height, wide, width - state))
    joined = add("Concat", "joined", ir.ConcatAttrs(2), ("state", kept), (height, wide, width))
    y = conv("expand", joined, 2 * width, 1, 1, "RELU")
    y = conv("project", y, width, 1, 1, "NONE")
    total = add("Eltwise", "sum", ir.EltwiseAttrs("ADD"), (y, x), shapes[x])
    cut = ir.SliceAttrs((0, 0, 0), (height, wide, state), (1, 1, 1))
    add("Slice", "next", cut, (x,), (height, wide, state))
    wider = conv("wide", total, 40, 1, 1, "RELU")
    by_row = add("Reduce", "rows", ir.ReduceAttrs("MEAN", (1,)), (wider,), (height, 1, 40))
    pooled = add("Reduce", "pooled", ir.ReduceAttrs("MEAN", (0,)), (by_row,), (40,))
    weights = rng.normal(size=(classes, 40)).astype(np.float32)
    add(
        "FullyConnected",
        "logits",
        ir.FullyConnectedAttrs(),
        (pooled,),
        (classes,),
        weights=weights,
        bias=rng.normal(size=classes).astype(np.float32),
    )
    largest = {name: float(rng.uniform(1, 9)) for name in shapes}
    # a concat only ever attenuates in this format
    largest["joined"] = max(largest["joined"], largest["state"], largest["narrow"])
    ranges = Ranges({
        layer.name: (0.0 if layer.act.kind == "RELU" else -largest[layer.name], largest[layer.name])
        for layer in layers
    })  # fmt: skip
    return ir.Graph("small", layers, shapes, ("logits", "next")), ranges


def small_program(seed: int = 0) -> Program:
    return quantize(*small_network(seed))


def image_network(classes: int = 10, size: int = 64) -> tuple[ir.Graph, ir.Graph]:
    """(graph of the forms that a binary has, the same one as an ONNX export has it).

    One image input, a convolution, a depthwise one, an addition, a mean over W, then H (one pooling
    in the second), and a dense layer.
    """
    rng = np.random.default_rng(5)

    def weighted(*shape: int) -> dict[str, np.ndarray]:
        fan = np.prod(shape[1:])
        return {
            "weights": (rng.normal(size=shape) / np.sqrt(fan)).astype(np.float32),
            "bias": rng.normal(size=shape[0]).astype(np.float32),
        }

    half, width = size // 2, 16
    pads = (1, 1, 0, 0)  # the last row and column are not reached
    relu = ir.Act("RELU")
    stem = ir.ConvAttrs((3, 3), (2, 2), (1, 1), pads, act=relu)
    spread = ir.ConvAttrs((3, 3), (1, 1), (1, 1), (1, 1, 1, 1), width, relu)
    shape = (half, half, width)
    shapes: dict[str, tuple[int, ...]] = {"image": (size, size, 3)}
    shapes |= dict.fromkeys(("stem", "spread", "narrow", "sum", "other"), shape)
    shapes |= {"rows": (half, 1, width), "mean": (1, 1, width), "flat": (width,)}
    shapes |= {"logits": (classes,)}
    front = [
        ir.Layer("image", "Input", ir.InputAttrs(), (), ("image",)),
        ir.Layer("stem", "Convolution", stem, ("image",), ("stem",), weighted(width, 3, 3, 3)),
        ir.Layer("spread", "DepthwiseConv", spread, ("stem",), ("spread",),
                 weighted(width, 3, 3, 1)),
        ir.Layer("other", "Convolution", ir.ConvAttrs((1, 1)), ("stem",), ("other",),
                 weighted(width, 1, 1, width)),
        ir.Layer("narrow", "Convolution", ir.ConvAttrs((1, 1)), ("spread",), ("narrow",),
                 weighted(width, 1, 1, width)),
        ir.Layer("sum", "Eltwise", ir.EltwiseAttrs("ADD"), ("narrow", "other"), ("sum",)),
    ]  # fmt: skip
    dense = weighted(classes, width)
    rows = ir.Layer("rows", "Reduce", ir.ReduceAttrs("MEAN", (1,)), ("sum",), ("rows",))
    flat = ir.Layer("flat", "Reduce", ir.ReduceAttrs("MEAN", (0,)), ("rows",), ("flat",))
    pool = ir.Layer("mean", "Pooling", ir.PoolingAttrs("AVG", (half, half)), ("sum",), ("mean",))
    plain = ir.Layer("flat", "Reshape", ir.ReshapeAttrs((width,)), ("mean",), ("flat",))
    graphs = []
    for middle in ([rows, flat], [pool, plain]):
        last = ir.Layer("logits", "FullyConnected", ir.FullyConnectedAttrs(), ("flat",),
                        ("logits",), dict(dense))  # fmt: skip
        used = {name for layer in (*front, *middle, last) for name in layer.outputs}
        kept = {name: shape for name, shape in shapes.items() if name in used}
        graphs.append(ir.Graph("image", [*front, *middle, last], kept, ("logits",)))
    return graphs[0], graphs[1]
