"""Random layers and random data movement against onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from support.graph_nets import (
    F,
    Step,
    agree,
    ints,
    net,
    random,
)

ORT = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2])
small = st.integers(1, 3)
quick = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@quick
@given(
    size=st.tuples(st.integers(3, 9), st.integers(3, 9)),
    kernel=st.tuples(small, small),
    stride=st.tuples(small, small),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    pads=st.tuples(*[st.integers(0, 2)] * 4),
    group=st.sampled_from([1, 2, 4]),
    norm=st.sampled_from(["none", "before", "behind", "both"]),
    relu=st.booleans(),
)
def test_random_conv(
    tmp_path: Path,
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    pads: tuple[int, int, int, int],
    group: int,
    norm: str,
    relu: bool,
) -> None:
    for n, k, d, room in zip(
        size, kernel, dilation, (pads[0] + pads[2], pads[1] + pads[3]), strict=True
    ):
        assume(n + room >= d * (k - 1) + 1)
    attrs = {
        "kernel_shape": kernel,
        "strides": stride,
        "dilations": dilation,
        "pads": pads,
        "group": group,
    }
    steps: list[Step] = []
    last = "x"
    if norm in ("before", "both"):
        steps.append(("BatchNormalization", "x g b m v", "t", {}))
        last = "t"
    steps.append(("Conv", f"{last} w", "c", attrs))
    last = "c"
    if norm in ("behind", "both"):
        steps.append(("BatchNormalization", "c g b m v", "u", {}))
        last = "u"
    steps.append(("Relu" if relu else "Identity", last, "y", {}))
    consts = {
        "w": random(4, 4 // group, *kernel),
        "g": random(4, seed=1) + F(2),
        "b": random(4, seed=2),
        "m": random(4, seed=3),
        "v": np.abs(random(4, seed=4)) + F(0.5),
    }
    graph = agree(net(steps, ("N", 4, *size), consts), tmp_path)
    assert len(graph.layers) == 2


@quick
@given(
    op=st.sampled_from(["MaxPool", "AveragePool"]),
    size=st.tuples(st.integers(3, 9), st.integers(3, 9)),
    kernel=st.tuples(small, small),
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    pads=st.tuples(*[st.integers(0, 2)] * 4),
    ceil_mode=st.integers(0, 1),
    include=st.integers(0, 1),
    opset=st.sampled_from([10, 11, 13, 19, 22]),
)
def test_random_pool(
    tmp_path: Path,
    op: str,
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pads: tuple[int, int, int, int],
    ceil_mode: int,
    include: int,
    opset: int,
) -> None:
    pads = tuple(min(pad, kernel[index % 2] - 1) for index, pad in enumerate(pads))  # type: ignore
    attrs = {"kernel_shape": kernel, "strides": stride, "pads": pads, "ceil_mode": ceil_mode}
    if op == "AveragePool":
        attrs["count_include_pad"] = include
        # Older releases count what lies past the padding, against the text of the operator set.
        assume(not (ceil_mode and include and opset < 19 and ORT < (1, 29)))
    agree(net([(op, "x", "y", attrs)], ("N", 3, *size), opset=opset), tmp_path)


@quick
@given(data=st.data())
def test_random_moves(tmp_path: Path, data: st.DataObject) -> None:
    """Transposes and reshapes in any order, through operators that want NHWC."""
    shape = [2, 3, 4]
    steps: list[Step] = [("Relu", "x", "t0", {})]
    consts: dict[str, np.ndarray] = {}
    for index in range(data.draw(st.integers(1, 5))):
        source, result = f"t{index}", f"t{index + 1}"
        kind = data.draw(st.sampled_from(["transpose", "reshape", "softmax", "pool", "concat"]))
        if kind == "transpose":
            perm = data.draw(st.permutations(range(len(shape))))
            steps.append(("Transpose", source, result, {"perm": [0, *(p + 1 for p in perm)]}))
            shape = [shape[p] for p in perm]
        elif kind == "reshape":
            shape = list(data.draw(st.permutations(data.draw(_factors(int(np.prod(shape)))))))
            consts[f"s{index}"] = ints(-1, *shape)
            steps.append(("Reshape", f"{source} s{index}", result, {}))
        elif kind == "softmax":
            axis = data.draw(st.integers(1, len(shape)))
            steps.append(("Softmax", source, result, {"axis": axis}))
        elif kind == "pool" and len(shape) == 3:
            attrs = {"kernel_shape": [2, 2], "pads": [0, 0, 1, 1]}
            steps.append(("MaxPool", source, result, attrs))
        else:
            axis = data.draw(st.integers(1, len(shape)))
            steps.append(("Concat", f"{source} {source}", result, {"axis": axis}))
            shape[axis - 1] *= 2
    steps.append(("Sigmoid", steps[-1][2], "y", {}))
    agree(net(steps, ("N", 2, 3, 4), consts), tmp_path)


def _factors(size: int) -> st.SearchStrategy[list[int]]:
    """Shapes of one to four axes with `size` elements."""

    @st.composite
    def draw(draw: Any) -> list[int]:
        left, shape = size, []
        for _ in range(draw(st.integers(0, 3))):
            factor = draw(st.sampled_from([n for n in range(1, left + 1) if left % n == 0]))
            shape.append(factor)
            left //= factor
        return [*shape, left]

    return draw()
