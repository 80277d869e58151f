"""Pooling and reduction over H and W."""

from __future__ import annotations

from math import ceil

from r329fast.graph.ir import Layer, PoolingAttrs
from r329fast.graph.issues import FORM, Unsupported
from r329fast.graph.lower.builder import Builder
from r329fast.graph.lower.operator import LayerWriter, Operator
from r329fast.graph.lower.rules import (
    constraint_first_output,
    constraint_map_or_row,
    constraint_padding,
)
from r329fast.graph.lower.windows import explicit_pads, pair
from r329fast.graph.onnx.model import Node, OnnxModel
from r329fast.graph.onnx.writer import Writer
from r329fast.graph.rule import Result, advise, first_shape


@advise("no runtime takes such pads: export the model again with smaller ones", FORM)
def constraint_pool_pads(node: Node, model: OnnxModel) -> Result:
    """Pads must be smaller than the window."""
    kernel = [int(k) for k in node.attr("kernel_shape", [1, 1])]
    pads = list(node.attr("pads", []))
    rank = len(kernel)
    if len(first_shape(node, model)) not in (3, 4):
        return True, ""  # `constraint_map_or_row` says it
    ok = rank in (1, 2) and all(pad < kernel[i % rank] for i, pad in enumerate(pads))
    return ok, f"kernel_shape {kernel}, pads {pads}"


def pooled_size(
    size: int, kernel: int, stride: int, dilation: int, pads: tuple[int, int], ceil_mode: bool
) -> int:
    """Output length of a pooling along one axis.

    With ceil_mode a last window that would start beyond the input and its front padding is
    dropped, as onnxruntime does.
    """
    room = size + pads[0] + pads[1] - dilation * (kernel - 1) - 1
    if not ceil_mode:
        return room // stride + 1
    count = ceil(room / stride) + 1
    if (count - 1) * stride >= size + pads[0]:
        count -= 1
    return count


def import_pool(builder: Builder, node: Node) -> None:
    """MaxPool, AveragePool -> Pooling."""
    source = builder.feature_map(builder.held(node.inputs[0]))
    height, width, channels = builder.stored(source)
    kernel = pair(node.attr("kernel_shape"))
    stride, dilation = pair(node.attr("strides")), pair(node.attr("dilations"))
    pads = explicit_pads(node, (height, width), kernel, stride, dilation)
    same = node.attr("auto_pad", "NOTSET") in ("SAME_UPPER", "SAME_LOWER")
    ceil_mode = bool(node.attr("ceil_mode", 0)) and not same
    rows = pooled_size(height, kernel[0], stride[0], dilation[0], (pads[0], pads[2]), ceil_mode)
    cols = pooled_size(width, kernel[1], stride[1], dilation[1], (pads[1], pads[3]), ceil_mode)
    if rows < 1 or cols < 1:
        raise Unsupported(
            f"the {kernel[0]}x{kernel[1]} window does not fit the {height}x{width} map",
            "no runtime takes it: check the input shape",
        )
    attrs = PoolingAttrs(
        "MAX" if node.op == "MaxPool" else "AVG",
        kernel,
        stride,
        dilation,
        pads,
        ceil_mode,
        node.op == "AveragePool" and bool(node.attr("count_include_pad", 0)),
    )
    tensor = builder.add(node.name, "Pooling", attrs, (source.tensor,), (rows, cols, channels))
    builder.bind(node.outputs[0], tensor, source.perm)


def import_global_pool(builder: Builder, node: Node) -> None:
    """GlobalAveragePool, GlobalMaxPool -> Pooling with a kernel of the whole map."""
    source = builder.feature_map(builder.held(node.inputs[0]))
    height, width, channels = builder.stored(source)
    method = "MAX" if node.op == "GlobalMaxPool" else "AVG"
    attrs = PoolingAttrs(method, (height, width))
    tensor = builder.add(node.name, "Pooling", attrs, (source.tensor,), (1, 1, channels))
    builder.bind(node.outputs[0], tensor, source.perm)


def write_pooling(w: Writer, layer: Layer) -> str:
    attrs = layer.params(PoolingAttrs)
    top, left, bottom, right = attrs.pads
    extra = {} if attrs.method == "MAX" else {"count_include_pad": int(attrs.count_include_pad)}
    return str(
        w.node(
            "MaxPool" if attrs.method == "MAX" else "AveragePool",
            [w.names[layer.inputs[0]]],
            kernel_shape=attrs.kernel,
            strides=attrs.stride,
            dilations=attrs.dilation,
            pads=[top, left, bottom, right],
            ceil_mode=int(attrs.ceil_mode),
            **extra,
        )
    )


_POOL = (
    constraint_map_or_row,
    constraint_padding,
    constraint_pool_pads,
    constraint_first_output,
)

OPERATORS = {
    "MaxPool": Operator(import_pool, "Pooling MAX", _POOL),
    "AveragePool": Operator(import_pool, "Pooling AVG", _POOL),
    "GlobalAveragePool": Operator(
        import_global_pool, "Pooling AVG, kernel HxW", (constraint_map_or_row,)
    ),
    "GlobalMaxPool": Operator(
        import_global_pool, "Pooling MAX, kernel HxW", (constraint_map_or_row,)
    ),
}

WRITERS: dict[str, LayerWriter] = {"Pooling": write_pooling}
