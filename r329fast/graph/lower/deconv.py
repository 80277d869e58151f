"""Transposed convolution."""

from __future__ import annotations

import numpy as np

from r329fast.graph.activations import activate
from r329fast.graph.ir import ConvTransposeAttrs, Layer, PadAttrs, SliceAttrs
from r329fast.graph.issues import Unsupported
from r329fast.graph.lower.builder import Builder
from r329fast.graph.lower.operator import LayerWriter, Operator
from r329fast.graph.lower.rules import (
    constraint_constant_weights,
    constraint_map_or_row,
    constraint_padding,
)
from r329fast.graph.lower.windows import pair
from r329fast.graph.onnx.model import Node, OnnxModel
from r329fast.graph.onnx.writer import Writer
from r329fast.graph.rule import Result, advise, first_shape, show


@advise("no runtime takes such weights: export the model again")
def constraint_transposed_weights(node: Node, model: OnnxModel) -> Result:
    """Weights must be (C, O/group, kh, kw) for an input with C channels, (C, O/group, k) for a
    row, C a multiple of group."""
    weights = model.shape(node.inputs[1]) or ()
    shape = first_shape(node, model)
    group = int(node.attr("group", 1))
    if len(shape) not in (3, 4):
        return True, ""  # `constraint_map_or_row` says it
    ok = len(weights) == len(shape) and group > 0
    ok = ok and weights[0] == shape[1] and weights[0] % group == 0
    return ok, f"weights {show(weights)}, group {group}, input {show(shape)}"


def _pads(
    node: Node, size: tuple[int, int], whole: tuple[int, int], row: bool
) -> tuple[tuple[int, int, int, int], tuple[int, int]]:
    """((top, left, bottom, right), output (H, W)); whole: the output without pads; row: whether
    the file has one axis of both."""
    extra = pair(node.attr("output_padding"), 0)
    stride = pair(node.attr("strides"))
    mode = node.attr("auto_pad", "NOTSET")
    wanted = node.attr("output_shape")
    if wanted is not None and row:
        wanted = [1, wanted[-1]]
    if wanted is None and mode in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [n * s for n, s in zip(size, stride, strict=True)]
    if wanted is None:
        given = [int(p) for p in node.attr("pads", [0, 0, 0, 0])]
        top, left, bottom, right = given if len(given) == 4 else (0, given[0], 0, given[1])
        if mode == "VALID":
            top = left = bottom = right = 0
        rows = whole[0] + extra[0] - top - bottom
        return (top, left, bottom, right), (rows, whole[1] + extra[1] - left - right)
    ends = []
    for axis in (0, 1):
        total = whole[axis] + extra[axis] - int(wanted[-2:][axis])
        small, large = total // 2, total - total // 2
        ends.append((large, small) if mode != "SAME_UPPER" else (small, large))
    (top, bottom), (left, right) = ends
    return (top, left, bottom, right), (int(wanted[-2]), int(wanted[-1]))


def import_conv_transpose(builder: Builder, node: Node) -> None:
    """ConvTranspose -> ConvTranspose; where more rows or columns are wanted than its windows
    reach, a Pad behind the last input row and column and a Slice, as the vendor's parser does."""
    model = builder.model
    source = builder.feature_map(builder.held(node.inputs[0]))
    weights = model.floats(node.inputs[1])  # (C, O/group, kh, kw)
    row = weights.ndim == 3
    weights = weights[:, :, None] if row else weights
    group = int(node.attr("group", 1))
    kernel = (weights.shape[2], weights.shape[3])
    stride, dilation = pair(node.attr("strides")), pair(node.attr("dilations"))
    height, width, channels = builder.stored(source)
    outputs = weights.shape[1] * group
    bias = np.zeros(outputs, np.float32)
    if node.input(2):
        bias = model.floats(node.input(2)).reshape(-1)

    def reach(rows: int, columns: int) -> tuple[int, int]:
        sizes = zip((rows, columns), stride, dilation, kernel, strict=True)
        down, across = ((n - 1) * s + d * (k - 1) + 1 for n, s, d, k in sizes)
        return down, across

    pads, wanted = _pads(node, (height, width), reach(height, width), row)
    if min(wanted) < 1 or min(pads) < 0:
        raise Unsupported(
            f"pads {list(pads)} and an output of {list(wanted)} do not go together",
            "set explicit pads",
        )
    tensor, extra = source.tensor, int(any(node.attr("output_padding", [0])))
    if extra:
        more = pair(node.attr("output_padding"), 0)
        attrs = PadAttrs(((0, more[0]), (0, more[1]), (0, 0)))
        height, width = height + more[0], width + more[1]
        shape = (height, width, channels)
        tensor = builder.add(f"{node.name}_pad", "Pad", attrs, (tensor,), shape)
    whole = reach(height, width)
    made = (whole[0] - pads[0] - pads[2], whole[1] - pads[1] - pads[3], outputs)
    tensor = builder.add(
        f"{node.name}_deconv" if made[:2] != wanted else node.name,
        "ConvTranspose",
        ConvTransposeAttrs(kernel, stride, dilation, pads, group),
        (tensor,),
        made,
        {
            "weights": np.ascontiguousarray(weights.transpose(1, 2, 3, 0)),
            "bias": np.ascontiguousarray(bias),
        },
    )
    if made[:2] != wanted:
        end = (*wanted, outputs)
        cut = SliceAttrs((0, 0, 0), end, (1, 1, 1))
        tensor = builder.add(node.name, "Slice", cut, (tensor,), end)
    builder.bind(node.outputs[0], tensor, source.perm)


def write_conv_transpose(w: Writer, layer: Layer) -> str:
    attrs = layer.params(ConvTransposeAttrs)
    result = w.node(
        "ConvTranspose",
        [
            w.names[layer.inputs[0]],
            w.const(layer.consts["weights"].transpose(3, 0, 1, 2), "weights"),
            w.const(layer.consts["bias"], "bias"),
        ],
        kernel_shape=attrs.kernel,
        strides=attrs.stride,
        dilations=attrs.dilation,
        pads=attrs.pads,
        group=attrs.group,
    )
    return activate(w, result, layer)


OPERATORS = {
    "ConvTranspose": Operator(
        import_conv_transpose,
        "ConvTranspose; output_padding adds a Pad and a Slice",
        (
            constraint_constant_weights,
            constraint_map_or_row,
            constraint_padding,
            constraint_transposed_weights,
        ),
    ),
}

WRITERS: dict[str, LayerWriter] = {"ConvTranspose": write_conv_transpose}
