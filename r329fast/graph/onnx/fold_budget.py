"""How much constant folding may make and compute: a file of 2 kB can ask for gigabytes.

The size of an output is known before it is computed: from the inputs, for operators that do not
grow, else from onnx's shape inference of that one node.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from r329fast.base.limits import CONSTANTS
from r329fast.errors import UnsupportedModelError
from r329fast.graph.issues import Issue
from r329fast.graph.onnx.model import Node

# Ops that must not be evaluated here: random, with sub-graphs that see the outer scope, or with
# decoders and patterns of their own.
_NEVER = {
    *("If", "Loop", "Scan", "SequenceMap"),
    *("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike"),
    *("Multinomial", "Bernoulli", "ImageDecoder", "RegexFullMatch", "TfIdfVectorizer"),
}
# Those whose output has at most as many elements as their first input.
_SHRINKING = {
    *("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Cast", "Slice"),
    *("Neg", "Abs", "Sqrt", "Exp", "Log", "Floor", "Ceil", "Round", "Reciprocal", "Not", "Relu"),
    *("Sigmoid", "Tanh", "Erf", "Clip", "Sign", "Softmax", "ReduceSum", "ReduceMean", "ReduceMax"),
    *("ReduceMin", "ReduceProd", "ReduceL2", "ReduceSumSquare", "ArgMax", "Split", "Constant"),
}
_BROADCAST = {
    *("Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Sum", "Mean", "Mod", "Where", "And", "Or"),
    *("Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Xor"),
}
# Those whose size only their values tell: so many int64 or elements for each input element.
_BY_VALUE = {"NonZero": 8, "Compress": 1, "Unique": 4}
# Those that onnx's reference computes quickly, whatever the size; others only where small.
_FAST = {
    *_SHRINKING, *_BROADCAST, *_BY_VALUE, "Concat", "Gather", "Expand", "Tile", "Pad", "Shape",
    "ConstantOfShape", "Range", "DequantizeLinear", "QuantizeLinear", "CumSum", "OneHot", "Trilu",
    "EyeLike", "BatchNormalization", "MatMul", "Gemm", "ReduceL1", "DepthToSpace", "SpaceToDepth",
}  # fmt: skip
_SLOW_ELEMENTS = 1 << 16
_SHOWN = 4096  # elements of a constant that shape inference sees by value
_MOST_WORK = 1 << 31  # elements read and written, multiply-accumulates


def never_ends(node: Node) -> bool:
    """Whether onnx's shape inference would not return: an Einsum with a stray dot."""
    if node.op != "Einsum":
        return False
    terms = str(node.attr("equation", "")).replace("->", ",").split(",")
    return any("." in term.replace("...", "", 1) for term in terms)


def vectorised(node: Node, values: list[np.ndarray]) -> bool:
    """Whether `folding.evaluate` computes the node itself, since onnx's reference is slow."""
    if node.op in ("GatherND", "ScatterND"):
        return not node.attr("batch_dims", 0) and node.attr("reduction", "none") == "none"
    return pointwise(node, values)


def pointwise(node: Node, values: list[np.ndarray]) -> bool:
    """Whether the node is a convolution by a matrix: 1x1, one group, no stride, no pads."""
    if node.op != "Conv" or values[1].ndim < 3 or set(values[1].shape[2:]) != {1}:
        return False
    whole = all(n == 1 for key in ("strides", "dilations") for n in node.attr(key, []))
    return whole and node.attr("group", 1) == 1 and not any(node.attr("pads", []))


class FoldBudget:
    """What is left to spend while one model is folded."""

    def __init__(self, consts: dict[str, np.ndarray], opset: int, where: str) -> None:
        held = sum(array.nbytes for array in consts.values())
        self.opset, self.where = opset, where
        # weights are reshaped, transposed and scaled: a few copies of each are no attack
        self.bytes = CONSTANTS.bytes() + 4 * held
        self.work = _MOST_WORK + 4 * held

    def allows(self, node: Node, consts: dict[str, np.ndarray]) -> bool:
        """Whether the node, all of whose inputs are in `consts`, can be evaluated.

        Raises UnsupportedModelError where its output, or all outputs so far, are too large.
        """
        if node.op in _NEVER or node.domain or node.proto is None or never_ends(node):
            return False
        values = [consts[name] for name in node.inputs if name]
        sizes = self._outputs(node, values, consts)
        if sizes is None:
            return False
        read = sum(value.size for value in values)
        fast = node.op in _FAST or vectorised(node, values)
        if not fast and read + sizes[0] > _SLOW_ELEMENTS:
            return False
        self.bytes -= sizes[1]
        self.work -= read + sizes[0]
        if node.op in ("MatMul", "Gemm", "Conv") and values[0].ndim:
            self.work -= sizes[0] * max(values[0].shape[-1], values[0].shape[0])
        if self.bytes < 0 or self.work < 0:
            self._refuse(node, sizes[1])
        return True

    def _refuse(self, node: Node, size: int) -> None:
        made = f"a constant of {size / (1 << 20):,.0f} MB" if self.bytes < 0 else "too much work"
        reason = f"constant folding would make {made}, {CONSTANTS.advice()}"
        advice = "fold the constants into the file: onnxslim MODEL.onnx OUT.onnx (or onnxsim)"
        issue = Issue(node.op, node.name, reason, advice)
        raise UnsupportedModelError(f"{self.where}: {issue}", [issue], path=self.where)

    def _outputs(
        self, node: Node, values: list[np.ndarray], consts: dict[str, np.ndarray]
    ) -> tuple[int, int] | None:
        """(elements, bytes) of all outputs; None where nothing tells."""
        widest = max((value.itemsize for value in values), default=4)
        if node.op == "Cast":
            widest = 8
        if node.op in _SHRINKING:
            count = sum(value.size for value in values[:1])
            return count, count * widest
        if node.op == "BatchNormalization":  # inference leaves its further outputs open
            count = sum(value.size for value in values)
            return count, count * widest
        if node.op in _BY_VALUE:
            count = sum(value.size for value in values) * max(values[0].ndim, 1)
            return count, count * _BY_VALUE[node.op] * 8
        if node.op in _BROADCAST:
            return _broadcast(values, widest)
        return self._inferred(node, consts)

    def _inferred(self, node: Node, consts: dict[str, np.ndarray]) -> tuple[int, int] | None:
        from onnx import helper, numpy_helper, shape_inference

        inputs, initializers = [], []
        try:
            for name in dict.fromkeys(name for name in node.inputs if name):
                value = consts[name]
                if value.size <= _SHOWN:
                    initializers.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
                else:
                    kind = helper.np_dtype_to_tensor_dtype(value.dtype)
                    inputs.append(helper.make_tensor_value_info(name, kind, value.shape))
            outputs = [helper.make_empty_tensor_value_info(name) for name in node.outputs if name]
            graph = helper.make_graph([node.proto], "one", inputs, outputs, initializers)
            opsets = [helper.make_opsetid("", self.opset)]
            model = helper.make_model(graph, opset_imports=opsets)
            found = shape_inference.infer_shapes(model, data_prop=True).graph.output
        except Exception:  # left in the graph; the constraints then name it
            return None
        elements = total = 0
        for value in found:
            kind = value.type.tensor_type
            dims = [dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim]
            if not kind.HasField("shape") or any(dim is None or dim < 0 for dim in dims):
                return None
            count = 1
            for dim in dims:
                count *= int(dim or 0)
            elements += count
            total += count * _item(kind.elem_type)
        return elements, total


def _broadcast(values: list[np.ndarray], widest: int) -> tuple[int, int] | None:
    try:
        shape = np.broadcast_shapes(*(value.shape for value in values))
    except ValueError:
        return None
    count = 1
    for size in shape:
        count *= int(size)
    return count, count * widest


def _item(kind: Any) -> int:
    """Bytes of an element of a TensorProto type; 8 where NumPy has no such type."""
    from onnx import helper

    try:
        return int(np.dtype(helper.tensor_dtype_to_np_dtype(kind)).itemsize)
    except (KeyError, TypeError):
        return 8
