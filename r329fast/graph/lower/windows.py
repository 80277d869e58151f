"""Windows that slide over H and W: attributes that convolution and pooling share."""

from __future__ import annotations

from math import ceil

from r329fast.graph.onnx.model import Node


def explicit_pads(
    node: Node,
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
) -> tuple[int, int, int, int]:
    """pads (top, left, bottom, right) of a Conv or pool node, auto_pad worked out; a row has
    left and right."""
    mode = node.attr("auto_pad", "NOTSET")
    if mode in ("NOTSET", ""):
        pads = [int(pad) for pad in node.attr("pads", [0, 0, 0, 0])]
        top, left, bottom, right = pads if len(pads) == 4 else (0, pads[0], 0, pads[1])
        return top, left, bottom, right
    if mode == "VALID":
        return 0, 0, 0, 0
    begin, end = [], []
    for n, k, s, d in zip(size, kernel, stride, dilation, strict=True):
        total = max((ceil(n / s) - 1) * s + d * (k - 1) + 1 - n, 0)
        small, large = total // 2, total - total // 2
        begin.append(small if mode == "SAME_UPPER" else large)
        end.append(large if mode == "SAME_UPPER" else small)
    return begin[0], begin[1], end[0], end[1]


def pair(values: list[int] | None, empty: int = 1) -> tuple[int, int]:
    """An attribute of two integers, or of one for a row; `empty` where there is none."""
    if values is None:
        return empty, empty
    first, second = (int(value) for value in ([empty, *values] if len(values) == 1 else values))
    return first, second
