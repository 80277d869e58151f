"""The table of activations: all that the package knows of one stands in its row.

A row defines how the activation is read from ONNX and written to it, whether its result is signed,
and how its integers come about: by the last step of a layer (`epilogue`, which a computing layer
may carry) or through a lookup table of its real function (`real`, always a layer of its own).
Importers, fusion, both schemes, the float writer and the documentation ask the table.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from r329fast.graph.clip import FLOAT_MAX, clip_act
from r329fast.graph.ir import Act, Layer
from r329fast.graph.issues import FORM, VALUES
from r329fast.graph.onnx.model import Node, OnnxModel
from r329fast.graph.onnx.operands import const_axis
from r329fast.graph.rule import Constraint, Result, advise, first_shape, show

if TYPE_CHECKING:
    from r329fast.graph.onnx.writer import Writer

RealFunction = Callable[[np.ndarray, Act], np.ndarray]


@dataclass(frozen=True)
class Reader:
    """How an ONNX operator is read: the `Act` of a node that meets all constraints in `needs`."""

    op: str
    act: Callable[[Node, OnnxModel], Act]
    needs: tuple[Constraint, ...] = ()


@dataclass(frozen=True)
class Activation:
    """One kind.

    signed: whether the result is signed: True, False, None (as without activation, spec B.2) or a
    question to the parameters; read: from ONNX, None where it only comes out of another row's
    reader; write: (writer, ONNX tensor, layer) -> ONNX tensor; epilogue: the word of the op
    list's attribute "act", "" where a table computes it; real: float64 -> float64, for such a
    table; per_channel: has the layer constant "slope" (C,), the node's second input; forced:
    whether the option `force_dtype_int` makes its result signed; bounded: has largest and smallest
    results that many inputs reach, or nearly.
    """

    signed: bool | Callable[[Act], bool] | None
    read: Reader | None
    write: Callable[[Writer, str, Layer], str]
    epilogue: str = ""
    real: RealFunction | None = None
    per_channel: bool = False
    forced: bool = True
    bounded: bool = False

    @property
    def fusable(self) -> bool:
        """Whether a convolution, fully connected or eltwise layer may carry it."""
        return bool(self.epilogue)

    @property
    def keeps_order(self) -> bool:
        """Whether every element is treated alike, so that elements may lie in any order."""
        return not self.per_channel


# --- reading ----------------------------------------------------------------------------------


def clip_inputs(node: Node, model: OnnxModel) -> tuple[float, float] | None:
    """Bounds of a Clip node in its attribute or input form; None if they are not constant."""
    bounds = [-FLOAT_MAX, FLOAT_MAX]
    for place, key in enumerate(("min", "max")):
        if key in node.attrs:
            bounds[place] = float(node.attrs[key])
        elif node.input(place + 1):
            value = model.const(node.input(place + 1))
            if value is None:
                return None
            bounds[place] = float(value.reshape(-1)[0])
    low, high = (min(max(bound, -FLOAT_MAX), FLOAT_MAX) for bound in bounds)
    return low, high


def _read_clip(node: Node, model: OnnxModel) -> Act:
    low, high = clip_inputs(node, model) or (0.0, 0.0)
    return clip_act(low, high)


def _plain(kind: str) -> Callable[[Node, OnnxModel], Act]:
    return lambda node, model: Act(kind)


def _alpha(kind: str, default: float) -> Callable[[Node, OnnxModel], Act]:
    return lambda node, model: Act(kind, alpha=float(node.attr("alpha", default)))


def _read_hard_sigmoid(node: Node, model: OnnxModel) -> Act:
    alpha, beta = float(node.attr("alpha", 0.2)), float(node.attr("beta", 0.5))
    return Act("HARDSIGMOID", alpha=alpha, beta=beta, clip_max=1.0)


def _read_selu(node: Node, model: OnnxModel) -> Act:
    alpha = float(node.attr("alpha", 1.67326319217681884765625))
    return Act("SELU", alpha=alpha, beta=float(node.attr("gamma", 1.05070102214813232421875)))


def _read_shrink(node: Node, model: OnnxModel) -> Act:
    lambd, bias = float(node.attr("lambd", 0.5)), float(node.attr("bias", 0.0))
    return Act("SHRINK", alpha=lambd, beta=bias)


def _read_gelu(node: Node, model: OnnxModel) -> Act:
    return Act("GELU", tanh_gelu=node.attr("approximate", "none") == "tanh")


@advise("make the bounds constants, or write it as Min and Max", VALUES)
def constraint_clip_bounds(node: Node, model: OnnxModel) -> Result:
    """The bounds must be constants, the lower one not above the upper one."""
    bounds = clip_inputs(node, model)
    if bounds is None:
        return False, "a bound is computed"
    return bounds[0] <= bounds[1], f"bounds {bounds[0]} and {bounds[1]}"


@advise("write it as Relu(x) - slope * Relu(-x)", VALUES)
def constraint_slope(node: Node, model: OnnxModel) -> Result:
    """The slope must be a constant: one number, or one per channel (axis 1)."""
    if node.inputs[1] not in model.consts:
        return False, "the slope is computed"
    slope, shape = model.consts[node.inputs[1]], first_shape(node, model)
    axis, simple = const_axis(slope, shape)
    return simple and axis in (-1, 1), f"slope {show(slope.shape)} for {show(shape)}"


@advise("write it as x * Sigmoid(alpha * x)", FORM)
def constraint_swish_alpha(node: Node, model: OnnxModel) -> Result:
    """alpha must be 1."""
    alpha = float(node.attr("alpha", 1.0))
    return alpha == 1.0, f"alpha {alpha}"


@advise("use Relu for alpha 0, the limit of it", FORM)
def constraint_celu_alpha(node: Node, model: OnnxModel) -> Result:
    """alpha must not be 0."""
    alpha = float(node.attr("alpha", 1.0))
    return alpha != 0.0, f"alpha {alpha}"


# --- writing ----------------------------------------------------------------------------------


def _node(op: str, *names: str) -> Callable[[Writer, str, Layer], str]:
    """One node with the attributes `names` of the Act."""

    def write(w: Writer, name: str, layer: Layer) -> str:
        attrs = {key: getattr(layer.act, key) for key in names}
        return str(w.node(op, [name], **attrs))

    return write


def _write_clip(w: Writer, name: str, layer: Layer) -> str:
    act = layer.act
    low, high = (0.0, 6.0) if act.kind == "RELU6" else (act.clip_min, act.clip_max)
    return str(w.node("Clip", [name, w.scalar(low), w.scalar(high)]))


def _write_prelu(w: Writer, name: str, layer: Layer) -> str:
    slope = w.per_channel(layer.consts["slope"], layer.outputs[0])
    return str(w.node("PRelu", [name, slope]))


def _write_silu(w: Writer, name: str, layer: Layer) -> str:
    return str(w.node("Mul", [name, w.node("Sigmoid", [name])]))


def _write_selu(w: Writer, name: str, layer: Layer) -> str:
    return str(w.node("Selu", [name], alpha=layer.act.alpha, gamma=layer.act.beta))


def _write_shrink(w: Writer, name: str, layer: Layer) -> str:
    return str(w.node("Shrink", [name], lambd=layer.act.alpha, bias=layer.act.beta))


def _write_gelu(w: Writer, name: str, layer: Layer) -> str:
    if layer.act.tanh_gelu:
        cube = w.node("Mul", [w.node("Mul", [name, name]), name])
        inner = w.node("Add", [name, w.node("Mul", [cube, w.scalar(0.044715)])])
        bent = w.node("Tanh", [w.node("Mul", [inner, w.scalar((2 / np.pi) ** 0.5)])])
    else:
        bent = w.node("Erf", [w.node("Mul", [name, w.scalar(0.5**0.5)])])
    half = w.node("Mul", [name, w.scalar(0.5)])
    return str(w.node("Mul", [half, w.node("Add", [bent, w.scalar(1.0)])]))


# --- real functions ---------------------------------------------------------------------------

_erf = np.vectorize(math.erf, otypes=[np.float64])


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0.0, x)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0.0, -x))


def _sigmoid_float32(x: np.ndarray) -> np.ndarray:
    """Sum and quotient in float32, as the vendor has them: a table of 1024 entries shows it."""
    with np.errstate(over="ignore"):
        exponential = np.exp(-x).astype(np.float32)
    return np.asarray(np.float32(1) / (np.float32(1) + exponential))


def _gelu(x: np.ndarray, act: Act) -> np.ndarray:
    if act.tanh_gelu:
        inner = math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)
        return 0.5 * x * (1.0 + np.tanh(inner))
    return 0.5 * x * (1.0 + _erf(x / math.sqrt(2.0)))


def _hard_sigmoid(x: np.ndarray, act: Act) -> np.ndarray:
    return np.clip(act.alpha * x + act.beta, act.clip_min, act.clip_max)


def _elu(x: np.ndarray, act: Act) -> np.ndarray:
    return np.where(x > 0, x, act.alpha * np.expm1(np.minimum(x, 0)))


def _celu(x: np.ndarray, act: Act) -> np.ndarray:
    return np.maximum(x, 0) + np.minimum(0, act.alpha * np.expm1(np.minimum(x / act.alpha, 709)))


def _selu(x: np.ndarray, act: Act) -> np.ndarray:
    return act.beta * _elu(x, act)


def _shrink(x: np.ndarray, act: Act) -> np.ndarray:
    return np.where(x > act.alpha, x - act.beta, np.where(x < -act.alpha, x + act.beta, 0.0))


# --- the table --------------------------------------------------------------------------------

ACTIVATIONS: dict[str, Activation] = {
    "NONE": Activation(None, None, lambda w, name, layer: name, epilogue="NONE"),
    "RELU": Activation(False, Reader("Relu", _plain("RELU")), _node("Relu"), epilogue="RELU"),
    "RELU6": Activation(False, None, _write_clip, epilogue="RELU", bounded=True),
    "CLIP": Activation(
        lambda act: act.clip_min < 0,
        Reader("Clip", _read_clip, (constraint_clip_bounds,)),
        _write_clip,
        epilogue="CLIP",
        bounded=True,
    ),
    "LEAKYRELU": Activation(
        True,
        Reader("LeakyRelu", _alpha("LEAKYRELU", 0.01)),
        _node("LeakyRelu", "alpha"),
        epilogue="LEAKY",
    ),
    "PRELU": Activation(
        True,
        Reader("PRelu", _plain("PRELU"), (constraint_slope,)),
        _write_prelu,
        epilogue="LEAKY",
        per_channel=True,
    ),
    "SIGMOID": Activation(
        False,
        Reader("Sigmoid", _plain("SIGMOID")),
        _node("Sigmoid"),
        real=lambda x, act: _sigmoid_float32(x),
        bounded=True,
    ),
    "TANH": Activation(
        True,
        Reader("Tanh", _plain("TANH")),
        _node("Tanh"),
        real=lambda x, act: np.tanh(x),
        bounded=True,
    ),
    "HARDSWISH": Activation(
        True,
        Reader("HardSwish", _plain("HARDSWISH")),
        _node("HardSwish"),
        real=lambda x, act: x * np.clip(x + 3.0, 0.0, 6.0) / 6.0,
    ),
    "HARDSIGMOID": Activation(
        lambda act: act.clip_min < 0,
        Reader("HardSigmoid", _read_hard_sigmoid),
        _node("HardSigmoid", "alpha", "beta"),
        real=_hard_sigmoid,
        bounded=True,
    ),
    "ELU": Activation(True, Reader("Elu", _alpha("ELU", 1.0)), _node("Elu", "alpha"), real=_elu),
    "SELU": Activation(True, Reader("Selu", _read_selu), _write_selu, real=_selu),
    "SHRINK": Activation(True, Reader("Shrink", _read_shrink), _write_shrink, real=_shrink),
    "SOFTSIGN": Activation(
        True,
        Reader("Softsign", _plain("SOFTSIGN")),
        _node("Softsign"),
        real=lambda x, act: x / (1.0 + np.abs(x)),
        bounded=True,
    ),
    "CELU": Activation(
        True,
        Reader("Celu", _alpha("CELU", 1.0), (constraint_celu_alpha,)),
        _node("Celu", "alpha"),
        real=_celu,
    ),
    "THRESHOLDEDRELU": Activation(
        lambda act: act.alpha < 0,
        Reader("ThresholdedRelu", _alpha("THRESHOLDEDRELU", 1.0)),
        _node("ThresholdedRelu", "alpha"),
        real=lambda x, act: np.where(x > act.alpha, x, 0.0),
        forced=False,
    ),
    "SOFTPLUS": Activation(
        False,
        Reader("Softplus", _plain("SOFTPLUS")),
        _node("Softplus"),
        real=lambda x, act: _softplus(x),
    ),
    "GELU": Activation(True, Reader("Gelu", _read_gelu), _write_gelu, real=_gelu),
    "MISH": Activation(
        True,
        Reader("Mish", _plain("MISH")),
        _node("Mish"),
        real=lambda x, act: x * np.tanh(_softplus(x)),
    ),
    "SILU": Activation(
        True,
        Reader("Swish", _plain("SILU"), (constraint_swish_alpha,)),
        _write_silu,
        real=lambda x, act: x * _sigmoid(x),
    ),
}

# ONNX operator -> its reader and row.
BY_OPERATOR: dict[str, tuple[Reader, Activation]] = {
    row.read.op: (row.read, row) for row in ACTIVATIONS.values() if row.read is not None
}


def result_is_signed(act: Act) -> bool | None:
    """Whether an activation's result is signed; None: as without activation (spec B.2)."""
    signed = ACTIVATIONS[act.kind].signed
    return signed(act) if callable(signed) else signed


def activate(w: Writer, name: str, layer: Layer) -> str:
    """The layer's activation behind the ONNX tensor `name`."""
    return ACTIVATIONS[layer.act.kind].write(w, name, layer)
