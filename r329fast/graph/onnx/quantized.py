"""Files that are quantised already: QDQ pairs, QLinear operators, inputs of bytes.

Every such file is a float network together with scales, zero points and integer weights. Both are
taken apart here: the nodes become those of the float network, under the same tensor names, and
what the file says of each tensor goes to `OnnxModel.given` and `OnnxModel.weight_steps`, from where
the schemes take it as it stands (`quantization/given.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from r329fast.graph.ir import Given
from r329fast.graph.onnx.model import Node, OnnxModel

_BYTES = ("uint8", "int8")
# QLinear operator -> float operator, whose only input is its first
_ONE_INPUT = {
    "QLinearAveragePool": "AveragePool",
    "QLinearGlobalAveragePool": "GlobalAveragePool",
    "QLinearLeakyRelu": "LeakyRelu",
    "QLinearSigmoid": "Sigmoid",
    "QLinearSoftmax": "Softmax",
    "QLinearReduceMean": "ReduceMean",
}
_TWO_INPUTS = {"QLinearAdd": "Add", "QLinearMul": "Mul", "QLinearMatMul": "MatMul"}
# Operators that never give a negative number, and those that give none of numbers that are none.
_POSITIVE = {"Relu", "Sigmoid", "Softmax", "HardSigmoid", "Abs", "Sqrt", "Exp", "Softplus"}
_PASSING = {
    *("Identity", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "ReduceMean"),
    *("Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Split", "Concat"),
    *("Resize", "Dropout", "Cast"),
}
_SIX = 1e-3
# Operators whose inputs behind the first may be constants in the integers of the first.
_SAME_INTEGERS = ("Pad", "Clip", "Max", "Min")


def take_quantised(model: OnnxModel) -> None:
    """Replace quantising nodes of `model`, whose nodes are in execution order, in place.

    What cannot be taken so (a scale that is computed, one per channel of an activation, other
    types than bytes) is left in the graph, where it is refused by name.
    """
    for name in model.inputs:
        if model.input_types.get(name) in _BYTES:
            model.given[name] = Given(1.0, 0, model.input_types[name])
    work = _Rewriter(model)
    model.replace_nodes([node for old in model.nodes for node in work.rewritten(old)])
    for name in model.inputs:
        if name in model.given:
            model.input_types[name] = "float32"


class _Rewriter:
    """One pass over the nodes; `positive` holds the tensors that are never negative."""

    def __init__(self, model: OnnxModel) -> None:
        self.model = model
        self.positive: set[str] = set()
        self.rules: dict[str, Callable[[Node], list[Node] | None]] = {
            "QuantizeLinear": self._quantize,
            "DequantizeLinear": self._dequantize,
            "QLinearConv": self._conv,
            "QGemm": self._gemm,
            "QLinearConcat": self._concat,
            **dict.fromkeys(_ONE_INPUT, self._one_input),
            **dict.fromkeys(_TWO_INPUTS, self._two_inputs),
            **dict.fromkeys(_SAME_INTEGERS, self._same_integers),
        }

    def rewritten(self, node: Node) -> list[Node]:
        """The node or what stands in its place."""
        if node.op == "Constant" and not node.domain and "value" in node.attrs:
            # scales are constants of their own in torch's files
            value = np.asarray(node.attrs["value"])
            if value.size <= 4096:
                self.model.consts[node.outputs[0]] = value
            return [node] if value.size > 4096 else []
        rule = self.rules.get(node.op) if node.domain in ("", "com.microsoft") else None
        found = rule(node) if rule is not None else None
        nodes = [node] if found is None else found
        for made in nodes:
            passed = made.op in _PASSING and all(
                name in self.positive for name in made.inputs if name not in self.model.consts
            )
            if made.op in _POSITIVE or passed:
                self.positive.update(made.outputs)
        return nodes

    # --- what a file says ---------------------------------------------------------------------

    def _scale(self, scale: str, zero: str) -> tuple[np.ndarray, np.ndarray] | None:
        """(scales float64, zero points) of constants; None where one is computed."""
        consts = self.model.consts
        if scale not in consts or (zero and zero not in consts):
            return None
        steps = np.asarray(consts[scale], np.float64).reshape(-1)
        zeros = consts[zero].reshape(-1) if zero else np.zeros(steps.shape, np.uint8)
        return (steps, zeros) if bool((steps > 0).all()) else None

    def _give(self, tensor: str, scale: str, zero: str, kind: str = "") -> bool:
        """Note one scale and zero point of a tensor of bytes; what came first counts."""
        found = self._scale(scale, zero)
        if found is None or found[0].size != 1:
            return False
        kind = kind or str(found[1].dtype)
        if kind not in _BYTES:
            return False
        given = Given(float(found[0][0]), int(found[1][0]), kind)
        held = self.model.given.get(tensor)
        # bytes that the file itself takes apart are no bytes to be taken as they are
        if held is None or (tensor in self.model.inputs and held == Given(1.0, 0, held.dtype)):
            self.model.given[tensor] = given
        elif held != given:
            self.model.given_again.append(tensor)
        return True

    def _floats(self, tensor: str, scale: str, zero: str, axis: int = 1) -> bool:
        """Put the real values of an integer constant in its place; notes its scales."""
        consts, found = self.model.consts, self._scale(scale, zero)
        if found is None or tensor not in consts or consts[tensor].dtype.kind not in "iu":
            return False
        q = consts[tensor]
        steps, zeros = found[0], found[1].astype(np.int64)
        if steps.size > 1:
            if q.ndim == 0 or q.shape[axis] != steps.size:
                return False
            column = [1] * q.ndim
            column[axis] = -1
            wide, origin = steps.reshape(column), zeros.reshape(column) if zeros.size > 1 else zeros
        else:
            wide, origin = steps.reshape(()), zeros.reshape(())
        real = ((q.astype(np.int64) - origin) * wide).astype(np.float32)
        name = f"{tensor}__real"
        consts[name] = real
        if not zeros.any() and q.dtype == np.int8:
            self.model.weight_steps[name] = steps
        return True

    def _real(self, tensor: str, scale: str, zero: str, axis: int = 1) -> str | None:
        """The name of the real values of an operand; None where they are not known."""
        if tensor in self.model.consts:
            return f"{tensor}__real" if self._floats(tensor, scale, zero, axis) else None
        return tensor if self._give(tensor, scale, zero) else None

    # --- nodes --------------------------------------------------------------------------------

    def _made(self, node: Node, op: str, inputs: Sequence[str], drop: Sequence[str] = ()) -> Node:
        """A node of the float network with the name, outputs and attributes of `node`."""
        from onnx import helper

        proto = helper.make_node(op, list(inputs), node.outputs, name=node.name)
        kept = [item for item in node.proto.attribute if item.name not in drop]
        proto.attribute.extend(kept)
        attrs = {key: value for key, value in node.attrs.items() if key not in drop}
        return Node(op, node.name, list(inputs), list(node.outputs), attrs, "", proto)

    def _same(self, node: Node, source: str) -> list[Node]:
        return [self._made(node, "Identity", [source], [*node.attrs])]

    def _clamped(self, node: Node) -> list[Node]:
        """The node, and the Relu or Relu6 that quantising tools leave to the end of the integers.

        Integers whose lowest is 0 cut off what is negative, so that the tools take a Relu in front
        of them out of the file.
        """
        from onnx import helper

        output = node.outputs[0]
        given = self.model.given[output]
        lowest = 0 if given.dtype == "uint8" else -128
        inputs = [name for name in node.inputs if name not in self.model.consts]
        safe = node.op in _PASSING and all(name in self.positive for name in inputs)
        at_input = node.op == "Identity" and node.inputs[0] in self.model.inputs
        if given.zero != lowest or safe or at_input:
            return [node]
        before = node.inputs[0] if node.op == "Identity" else f"{output}__before"
        six = abs(255 * given.step - 6.0) < _SIX
        attrs: dict[str, Any] = {"min": 0.0, "max": 6.0} if six and self.model.opset < 11 else {}
        names = [before]
        if six and not attrs:
            ends = {f"{output}__zero": 0.0, f"{output}__six": 6.0}
            self.model.consts.update({name: np.array(v, np.float32) for name, v in ends.items()})
            names += ends
        op = "Clip" if six else "Relu"
        name = node.name if node.op == "Identity" else f"{node.name}_relu"
        proto = helper.make_node(op, names, [output], name=name, **attrs)
        act = Node(op, name, names, [output], dict(attrs), "", proto)
        if node.op == "Identity":
            self.positive.add(output)
            return [act]
        node.outputs = [before]
        node.proto.output[0] = before
        return [node, act]

    def _quantize(self, node: Node) -> list[Node] | None:
        source, scale, zero = node.inputs[0], node.inputs[1], node.input(2)
        output = node.outputs[0]
        if source in self.model.consts:
            return self._quantized_constant(node)
        if not self._give(output, scale, zero):
            return None
        (made,) = self._same(node, source)
        nodes = self._clamped(made)
        if nodes == [made]:
            self._give(source, scale, zero)
        return nodes

    def _quantized_constant(self, node: Node) -> list[Node] | None:
        consts, found = self.model.consts, self._scale(node.inputs[1], node.input(2))
        if found is None or str(found[1].dtype) not in _BYTES:
            return None
        x, (steps, zeros) = np.asarray(consts[node.inputs[0]], np.float64), found
        if steps.size > 1:
            axis = int(node.attr("axis", 1))
            column = [1] * x.ndim
            column[axis] = -1
            steps, origin = steps.reshape(column), np.reshape(zeros, column)
        else:
            steps, origin = steps.reshape(()), zeros.reshape(())
        limits = np.iinfo(zeros.dtype)
        q = np.rint(x / steps) + origin.astype(np.int64)
        consts[node.outputs[0]] = np.clip(q, limits.min, limits.max).astype(zeros.dtype)
        return []

    def _dequantize(self, node: Node) -> list[Node] | None:
        source, scale, zero = node.inputs[0], node.inputs[1], node.input(2)
        output = node.outputs[0]
        if node.attr("block_size", 0):
            return None
        if source in self.model.consts:
            if not self._floats(source, scale, zero, int(node.attr("axis", 1))):
                return None
            self.model.consts[output] = self.model.consts[f"{source}__real"]
            steps = self.model.weight_steps.get(f"{source}__real")
            if steps is not None:
                self.model.weight_steps[output] = steps
            return []
        held = self.model.given.get(source)
        kind = "" if zero else (held.dtype if held is not None else "uint8")
        if not self._give(source, scale, zero, kind) or not self._give(output, scale, zero, kind):
            return None
        return self._same(node, source)

    def _conv(self, node: Node) -> list[Node] | None:
        x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero = node.inputs[:8]
        real_x, real_w = self._real(x, x_scale, x_zero), self._real(w, w_scale, w_zero, 0)
        if real_x is None or real_w is None or not self._give(node.outputs[0], y_scale, y_zero):
            return None
        inputs = [real_x, real_w]
        if node.input(8):
            bias = self._bias(node.inputs[8], x_scale, w_scale)
            if bias is None:
                return None
            inputs.append(bias)
        return self._clamped(self._made(node, "Conv", inputs))

    def _bias(self, name: str, x_scale: str, w_scale: str) -> str | None:
        """int32 biases in steps of input times weight -> real ones."""
        consts = self.model.consts
        if name not in consts:
            return None
        steps = np.asarray(consts[x_scale], np.float64) * np.asarray(consts[w_scale], np.float64)
        consts[f"{name}__real"] = (consts[name] * steps.reshape(-1)).astype(np.float32)
        return f"{name}__real"

    def _gemm(self, node: Node) -> list[Node] | None:
        a, a_scale, a_zero, b, b_scale, b_zero = node.inputs[:6]
        axis = 0 if node.attr("transB", 0) else 1
        real_a, real_b = self._real(a, a_scale, a_zero), self._real(b, b_scale, b_zero, axis)
        if real_a is None or real_b is None:
            return None
        inputs = [real_a, real_b]
        if node.input(6):
            bias = self._bias(node.inputs[6], a_scale, b_scale)
            if bias is None:
                return None
            inputs.append(bias)
        made = self._made(node, "Gemm", inputs)
        if not node.input(7):
            return [made]
        if not self._give(node.outputs[0], node.inputs[7], node.input(8)):
            return None
        return self._clamped(made)

    def _one_input(self, node: Node) -> list[Node] | None:
        x, x_scale, x_zero, y_scale, y_zero = (*node.inputs, "")[:5]
        if node.attr("channels_last", 0) or x in self.model.consts:
            return None
        if not self._give(x, x_scale, x_zero) or not self._give(node.outputs[0], y_scale, y_zero):
            return None
        return [self._made(node, _ONE_INPUT[node.op], [x], ("channels_last", "opset"))]

    def _two_inputs(self, node: Node) -> list[Node] | None:
        a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = (*node.inputs, "")[:8]
        first, second = self._real(a, a_scale, a_zero), self._real(b, b_scale, b_zero)
        if first is None or second is None or not self._give(node.outputs[0], y_scale, y_zero):
            return None
        return self._clamped(self._made(node, _TWO_INPUTS[node.op], [first, second]))

    def _concat(self, node: Node) -> list[Node] | None:
        parts = [node.inputs[place : place + 3] for place in range(2, len(node.inputs), 3)]
        if not self._give(node.outputs[0], node.inputs[0], node.inputs[1]):
            return None
        names = [self._real(x, scale, zero) for x, scale, zero in parts]
        known = [name for name in names if name is not None]
        return [self._made(node, "Concat", known)] if len(known) == len(names) else None

    def _same_integers(self, node: Node) -> list[Node] | None:
        """Constants of a Pad or Clip between integers are integers of the tensor's own scale."""
        given, consts = self.model.given.get(node.inputs[0]), self.model.consts
        if given is None:
            return None
        places = (2,) if node.op == "Pad" else range(1, len(node.inputs))
        inputs = list(node.inputs)
        for place in places:
            value: Any = consts.get(node.input(place))
            if value is None or str(value.dtype) not in _BYTES:
                continue
            name = f"{inputs[place]}__of_{node.name}"
            consts[name] = ((value.astype(np.int64) - given.zero) * given.step).astype(np.float32)
            inputs[place] = name
        return [self._made(node, node.op, inputs)] if inputs != node.inputs else None
