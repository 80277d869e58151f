"""A model that each constraint refuses, and the same after its advice was taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx

from support.graph_nets import F, Step, ints, net, random

Consts = dict[str, np.ndarray]

SHAPE = (1, 4, 6, 7)
TWO = (2, 4, 6, 7)  # a file for one image cannot mix images
CONV: Step = ("Conv", "x w", "c", {})
W = {"w": random(4, 4, 1, 1)}


@dataclass
class Case:
    """A model that breaks a constraint, and what its advice makes of it.

    mended: another model, or None for the same one cut at `outputs` or given `shapes`. after: what
    is done outside of the model with the mended outputs; None where the advice gives up what the
    broken file could not mean (no values are then compared). nowhere: no runtime takes the file.
    """

    broken: onnx.ModelProto
    mended: onnx.ModelProto | None = None
    outputs: list[str] | None = None
    shapes: list[list[int]] | None = None
    after: Callable[[np.ndarray], np.ndarray] | None = lambda y: y
    nowhere: bool = False


def cut(
    op: str, sources: str = "c", opset: int = 17, consts: object = None, **attrs: object
) -> Case:
    """The node behind a convolution, cut off."""
    steps: list[Step] = [CONV, (op, sources, "y", attrs)]
    held = {**W, **(consts or {})}  # type: ignore[dict-item]
    return Case(net(steps, SHAPE, held, opset), outputs=["c"], after=None)


def both(
    broken: list[Step],
    mended: list[Step],
    consts: Consts | None = None,
    shape: tuple[int | str, ...] = SHAPE,
    opset: int = 17,
    after: Callable[[np.ndarray], np.ndarray] | None = lambda y: y,
) -> Case:
    def made(steps: list[Step]) -> onnx.ModelProto:
        used = {name for _, sources, _, _ in steps for name in sources.split()}
        held = {name: value for name, value in (consts or {}).items() if name in used}
        return net(steps, shape, held, opset)

    return Case(made(broken), made(mended), after=after)


def nowhere(steps: list[Step], consts: Consts | None = None) -> Case:
    return Case(net(steps, SHAPE, consts), nowhere=True)


LARGE = random(1, 4, 160, 160)  # too much for the folding that loading does
HALF = np.arange(7) % 2 == 0

CASES: dict[str, Case] = {
    "constraint_fixed_shapes": Case(
        net([("Relu", "x", "y", {})], ("N", 4, "H", "W")), shapes=[[1, 4, 6, 7]]
    ),
    "constraint_output_shape": nowhere([("Add", "x c", "y", {})], {"c": random(5)}),
    "constraint_no_empty_axis": Case(
        net(
            [("Slice", "x b b a", "s", {}), ("Relu", "s", "y", {})],
            consts={"b": ints(9), "a": ints(2)},
        ),
        net(
            [("Slice", "x b e a", "s", {}), ("Relu", "s", "y", {})],
            (1, 4, 12, 7),
            {"b": ints(9), "e": ints(12), "a": ints(2)},
        ),
        after=None,
    ),
    "constraint_has_activation": both(
        [("Conv", "big w", "c", {}), ("GlobalAveragePool", "c", "p", {}), ("Add", "x p", "y", {})],
        [("Add", "x folded", "y", {})],
        {
            "big": LARGE,
            **W,
            "folded": np.einsum("oi,ni->no", W["w"][:, :, 0, 0], LARGE.mean((2, 3)))[
                :, :, None, None
            ],
        },
    ),
    "constraint_batch_kept": both(
        [
            ("Concat", "x x", "c", {"axis": 0}),
            ("Relu", "c", "r", {}),
            ("Split", "r", "a b", {"axis": 0}),
            ("Add", "a b", "y", {}),
        ],
        [("Relu", "x", "a", {}), ("Relu", "x", "b", {}), ("Add", "a b", "y", {})],
        shape=TWO,
    ),
    "constraint_first_output": Case(
        net([("MaxPool", "x", "t i", {"kernel_shape": [2, 2]}), ("Cast", "i", "y", {"to": 1})]),
        outputs=["t"],
        after=None,
    ),
    "constraint_four_axes": both(
        [("Resize", "x - s", "y", {})],
        [("Reshape", "x a", "t", {}), ("Resize", "t - r", "p", {}), ("Reshape", "p b", "y", {})],
        {
            "s": np.array([1, 1, 2], F),
            "r": np.array([1, 1, 1, 2], F),
            "a": ints(0, 4, 1, 6),
            "b": ints(0, 4, 12),
        },
        (1, 4, 6),
    ),
    "constraint_map_or_row": both(
        [("MaxPool", "x", "y", {"kernel_shape": [1, 2, 2], "strides": [1, 2, 2]})],
        [
            ("Reshape", "x a", "t", {}),
            ("MaxPool", "t", "p", {"kernel_shape": [2, 2], "strides": [2, 2]}),
            ("Reshape", "p b", "y", {}),
        ],
        {"a": ints(0, 12, 6, 8), "b": ints(0, 4, 3, 3, 4)},
        (1, 4, 3, 6, 8),
    ),
    "constraint_constant_weights": cut("Conv", "c c"),
    "constraint_padding": both(
        [("MaxPool", "x", "y", {"kernel_shape": [2, 2], "auto_pad": "SAME"})],
        [("MaxPool", "x", "y", {"kernel_shape": [2, 2], "pads": [0, 0, 1, 1]})],
        after=None,
    ),
    "constraint_inference": both(
        [("BatchNormalization", "x s s s s", "y a b", {"training_mode": 1})],
        [("BatchNormalization", "x s s s s", "y", {})],
        {"s": np.ones(4, F)},
        after=None,
    ),
    "constraint_axis_not_batch": both(
        [("Concat", "x x", "c", {"axis": 0}), ("Split", "c", "y z", {"axis": 0})],
        [("Identity", "x", "i", {}), ("Relu", "i", "y", {})],
        shape=TWO,
        after=None,
    ),
    "constraint_transpose_batch": both(
        [
            ("Transpose", "x", "t", {"perm": [1, 0, 2, 3]}),
            ("Softmax", "t", "s", {"axis": 1}),
            ("Transpose", "s", "y", {"perm": [1, 0, 2, 3]}),
        ],
        [("Softmax", "x", "y", {"axis": 1})],
        shape=TWO,
        after=None,
    ),
    "constraint_ends_the_graph": Case(
        net([CONV, ("ArgMax", "c", "a", {"axis": 1}), ("Cast", "a", "y", {"to": 1})], SHAPE, W),
        outputs=["c"],
        after=None,
    ),
    "constraint_known_k": both(
        [("TopK", "x k", "y i", {"sorted": 0})],
        [("TopK", "x k", "y i", {"sorted": 1})],
        {"k": ints(3)},
        after=lambda y: np.sort(y),
    ),
    "constraint_p2": both(
        [("LpNormalization", "x", "y", {"p": 1, "axis": 1})],
        [("ReduceL1", "x", "l", {"axes": [1], "keepdims": 1}), ("Div", "x l", "y", {})],
    ),
    "constraint_norm_axes": Case(
        net([CONV, ("LayerNormalization", "c g", "y", {"axis": 0})], TWO, {**W, "g": random(*TWO)}),
        outputs=["c"],
        after=None,
    ),
    "constraint_groups": both(
        [("GroupNormalization", "x g b", "y", {"num_groups": 2})],
        [
            ("Reshape", "x s", "t", {}),
            ("GroupNormalization", "t g b", "n", {"num_groups": 2}),
            ("Flatten", "n", "y", {}),
        ],
        {"s": ints(0, 4, 1), "g": random(4), "b": random(4, seed=1)},
        (1, 4),
        21,
    ),
    "constraint_operands": both(
        [("Relu", "x", "r", {}), ("Add", "r c", "y", {})],
        [("Relu", "x", "r", {}), ("Add", "r d", "y", {})],
        {"c": random(2, 4, 1, 1), "d": random(1, 4, 1, 1)},
        shape=TWO,
        after=None,
    ),
    "constraint_one_constant": both(
        [("Sum", "x c d", "y", {})],
        [("Add", "x c", "t", {}), ("Add", "t d", "y", {})],
        {"c": np.array(1, F), "d": np.array(2, F)},
    ),
    "constraint_divisor": cut("Div", "c d", consts={"d": np.array([1, 0, 2, 3, 4, 5, 6], F)}),
    "constraint_exponent": cut("Pow", "c c"),
    "constraint_mask": both(
        [("Where", "m x i", "t", {}), ("Softmax", "t", "y", {})],
        [("Where", "m x f", "t", {}), ("Softmax", "t", "y", {})],
        {"m": HALF, "i": np.array(-np.inf, F), "f": np.array(-10000, F)},
    ),
    "constraint_known_repeats": both(
        [("Tile", "x s", "y", {})],
        [("Tile", "x r", "y", {})],
        {"s": ints(2, 1, 1, 3), "r": ints(1, 1, 1, 3)},
        TWO,
        after=lambda y: np.concatenate([y, y]),
    ),
    "constraint_known_indices": both(
        [("Gather", "x i", "t", {"axis": 0}), ("Relu", "t", "y", {})],
        [("Relu", "x", "y", {})],
        {"i": ints(0)},
        TWO,
        after=lambda y: y[:1],
    ),
    "constraint_target_known": both(
        [
            ("ReduceMax", "x", "m", {"axes": [2, 3], "keepdims": 0}),
            ("Flatten", "m", "f", {}),
            ("Cast", "f", "s", {"to": 7}),
            ("Reshape", "x s", "y", {}),
        ],
        [("Reshape", "x t", "y", {})],
        {"t": ints(1, 4, 42)},
        after=None,
    ),
    "constraint_reshape_batch": both(
        [("Reshape", "x t", "r", {}), ("Relu", "r", "q", {}), ("Reshape", "q u", "y", {})],
        [("Relu", "x", "y", {})],
        {"t": ints(7, 12, 4), "u": ints(2, 4, 6, 7)},
        TWO,
    ),
    "constraint_resize_mode": cut(
        "Resize", "c - s", consts={"s": np.array([1, 1, 2, 2], F)}, mode="cubic"
    ),
    "constraint_resize_factors": cut(
        "Resize", "c - s", consts={"s": np.array([1, 1, 1.3, 1.3], F)}
    ),
    "constraint_whole_blocks": nowhere([("DepthToSpace", "x", "y", {"blocksize": 3})]),
    "constraint_pool_pads": nowhere(
        [("MaxPool", "x", "y", {"kernel_shape": [2, 2], "pads": [2, 2, 2, 2]})]
    ),
    "constraint_conv_weights": nowhere([("Conv", "x w", "y", {"group": 2})], W),
    "constraint_transposed_weights": nowhere(
        [("ConvTranspose", "x w", "y", {})], {"w": random(3, 4, 2, 2)}
    ),
    "constraint_float_cast": cut("Cast", to=6),
    "constraint_gemm_rows": Case(
        net(
            [("Relu", "x", "r", {}), ("Gemm", "r w", "y", {"transA": 1})],
            (3, 5),
            {"w": random(3, 2)},
        ),
        outputs=["r"],
        after=None,
    ),
    "constraint_gemm_bias": both(
        [("Gemm", "x w b", "y", {})],
        [("Gemm", "x w", "y", {})],
        {"w": random(5, 2), "b": random(3, 1)},
        (3, 5),
        after=lambda y: y + random(3, 1),
    ),
    "constraint_matmul_sides": both(
        [("MatMul", "x w", "y", {})],
        [("Reshape", "x s", "t", {}), ("MatMul", "t v", "m", {}), ("Reshape", "m u", "y", {})],
        {
            "w": random(1, 1, 5, 2),
            "v": random(1, 1, 5, 2)[0, 0],
            "s": ints(0, 1, 3, 5),
            "u": ints(1, 2, 3, 2),
        },
        (2, 3, 5),
    ),
    "constraint_joined_constants": Case(
        net([CONV, ("Concat", "c d", "y", {"axis": 1})], TWO, {**W, "d": random(*TWO)}),
        outputs=["c"],
        after=None,
    ),
    "constraint_gemm_weights": Case(
        net([("Relu", "x", "r", {}), ("Gemm", "w r", "y", {})], (3, 5), {"w": random(2, 3)}),
        outputs=["r"],
        after=None,
    ),
    "constraint_split_sizes": both(
        [("Split", "x s", "y z", {"axis": 1})],
        [("Split", "x t", "y z", {"axis": 1})],
        {"s": ints(1, 2), "t": ints(1, 3)},
        after=None,
    ),
    "constraint_slice_ranges": both(
        [("Slice", "x b e a s", "y", {})],
        [("Gather", "x i", "y", {"axis": 2})],
        {"b": ints(-1), "e": ints(-9), "a": ints(2), "s": ints(-1), "i": ints(5, 4, 3, 2, 1, 0)},
    ),
    "constraint_pad_form": both(
        [("Pad", "x p", "y", {"mode": "wrap"})],
        [
            ("Slice", "x b e a", "last", {}),
            ("Slice", "x c d a", "first", {}),
            ("Concat", "last x first", "y", {"axis": 2}),
        ],
        {
            "p": ints(0, 0, 1, 0, 0, 0, 2, 0),
            **{"b": ints(5), "e": ints(6), "c": ints(0), "d": ints(2), "a": ints(2)},
        },
        opset=19,
    ),
    "constraint_reduced_axes": both(
        [("ReduceMean", "x", "y", {"axes": [1, 2, 3], "keepdims": 0})],
        [("ReduceMean", "x", "y", {"axes": [1, 2, 3], "keepdims": 1})],
        after=lambda y: y.reshape(-1),
    ),
    "constraint_clip_bounds": both(
        [("ReduceMean", "x", "m", {"keepdims": 0}), ("Clip", "x m", "y", {})],
        [("ReduceMean", "x", "m", {"axes": [1, 2, 3]}), ("Max", "x m", "y", {})],
    ),
    "constraint_slope": both(
        [("PRelu", "x s", "y", {})],
        [
            ("Relu", "x", "p", {}),
            ("Neg", "x", "n", {}),
            ("Relu", "n", "q", {}),
            ("Mul", "q s", "m", {}),
            ("Sub", "p m", "y", {}),
        ],
        {"s": random(4, 6, 7)},
    ),
    "constraint_swish_alpha": both(
        [("Swish", "x", "y", {"alpha": 2.0})],
        [("Mul", "x a", "t", {}), ("Sigmoid", "t", "s", {}), ("Mul", "x s", "y", {})],
        {"a": np.array(2, F)},
        opset=24,
    ),
    "constraint_celu_alpha": both(
        [("Celu", "x", "y", {"alpha": 0.0})], [("Relu", "x", "y", {})], after=None
    ),
}
