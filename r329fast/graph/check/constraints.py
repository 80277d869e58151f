"""Which operators are supported, and in which forms: the table, the check, the documentation.

docs/supported_ops.md is rendered from here: `python -m r329fast.graph.check.constraints`.
"""

from __future__ import annotations

from pathlib import Path

from r329fast.graph.activations import BY_OPERATOR
from r329fast.graph.check import rules
from r329fast.graph.issues import Issue
from r329fast.graph.lower.shape import BATCH_ADVICE
from r329fast.graph.onnx.model import Node, OnnxModel
from r329fast.graph.rule import ADVICE, Constraint, message, show

GENERIC: tuple[Constraint, ...] = (
    rules.constraint_fixed_shapes,
    rules.constraint_output_shape,
    rules.constraint_no_empty_axis,
    rules.constraint_has_activation,
    rules.constraint_batch_kept,
)
_WINDOW = (rules.constraint_four_axes, rules.constraint_padding)
_POOL = (*_WINDOW, rules.constraint_pool_pads, rules.constraint_first_output)
_RESHAPE = (rules.constraint_target_known, rules.constraint_reshape_batch)
_ARITHMETIC = (rules.constraint_operands, rules.constraint_one_constant)
_RESIZE = (
    rules.constraint_four_axes,
    rules.constraint_resize_mode,
    rules.constraint_resize_factors,
)

# operator -> (layer it becomes, constraints)
SUPPORTED: dict[str, tuple[str, tuple[Constraint, ...]]] = {
    "Conv": (
        "Convolution, DepthwiseConv (group = C)",
        (rules.constraint_constant_weights, *_WINDOW, rules.constraint_conv_weights),
    ),
    "BatchNormalization": (
        "folded into the convolution before it, or BatchNorm",
        (
            rules.constraint_constant_weights,
            rules.constraint_inference,
            rules.constraint_first_output,
        ),
    ),
    "Gemm": (
        "FullyConnected",
        (rules.constraint_constant_weights, rules.constraint_gemm_rows, rules.constraint_gemm_bias),
    ),
    "MatMul": (
        "FullyConnected, Convolution 1x1 (maps), MatMul (two activations)",
        (rules.constraint_matmul_sides,),
    ),
    **{
        op: ("Activation, or fused" if row.fusable else "Activation", reader.needs)
        for op, (reader, row) in BY_OPERATOR.items()
    },
    "MaxPool": ("Pooling MAX", _POOL),
    "AveragePool": ("Pooling AVG", _POOL),
    "GlobalAveragePool": ("Pooling AVG, kernel HxW", (rules.constraint_four_axes,)),
    "GlobalMaxPool": ("Pooling MAX, kernel HxW", (rules.constraint_four_axes,)),
    "ReduceMean": ("Reduce MEAN", (rules.constraint_mean_axes,)),
    "Add": ("Eltwise ADD; with a constant folded, or BatchNorm", _ARITHMETIC),
    "Sum": ("a chain of Eltwise ADD", _ARITHMETIC),
    "Sub": (
        "Eltwise SUB; with a constant folded, or BatchNorm",
        (*_ARITHMETIC, rules.constraint_minuend),
    ),
    "Mul": ("Eltwise MUL; with a constant folded, or BatchNorm", _ARITHMETIC),
    "Div": ("folded, or BatchNorm", (rules.constraint_constant_divisor, *_ARITHMETIC)),
    "Max": ("Eltwise MAX; with a number Activation", (*_ARITHMETIC, rules.constraint_scalar_bound)),
    "Min": ("Eltwise MIN; with a number Activation", (*_ARITHMETIC, rules.constraint_scalar_bound)),
    "Neg": ("folded, or BatchNorm", ()),
    "Pow": ("Eltwise MUL", (rules.constraint_square,)),
    "Flatten": ("Reshape", _RESHAPE),
    "Reshape": ("Reshape, ChannelShuffle with its neighbours", _RESHAPE),
    "Squeeze": ("Reshape", _RESHAPE),
    "Unsqueeze": ("Reshape", _RESHAPE),
    "Transpose": ("Transpose, where data has to move", (rules.constraint_transpose_batch,)),
    "Concat": ("Concat", (rules.constraint_no_constant, rules.constraint_axis_not_batch)),
    "Split": ("Split", (rules.constraint_axis_not_batch, rules.constraint_split_sizes)),
    "Slice": ("Slice", (rules.constraint_slice_ranges,)),
    "Pad": ("Pad; zeros are folded into a convolution", (rules.constraint_pad_form,)),
    "Softmax": ("Softmax", (rules.constraint_axis_not_batch,)),
    "LogSoftmax": ("LogSoftmax", (rules.constraint_axis_not_batch,)),
    "LRN": ("LRN", (rules.constraint_four_axes,)),
    "Resize": ("Resize", _RESIZE),
    "Upsample": ("Resize", _RESIZE),
    "Dropout": ("nothing", (rules.constraint_inference, rules.constraint_first_output)),
    "Identity": ("nothing", ()),
    "Cast": ("nothing", (rules.constraint_float_cast,)),
}

# Operators that fold away where everything they read is known.
FOLDED_ONLY = "Constant, ConstantOfShape, Shape, Size, Gather, Range, Expand, arithmetic, ..."

_OP_ADVICE = {
    "ConvTranspose": "use Resize followed by Conv",
    "QuantizeLinear": "give the float model: quantising is done here",
    "DequantizeLinear": "give the float model: quantising is done here",
    "QLinearConv": "give the float model: quantising is done here",
    "ConvInteger": "give the float model: quantising is done here",
    "MatMulInteger": "give the float model: quantising is done here",
    "QLinearMatMul": "give the float model: quantising is done here",
    "InstanceNormalization": "use BatchNormalization",
    "LayerNormalization": "use BatchNormalization",
    "GroupNormalization": "use BatchNormalization",
    "DepthToSpace": "use Resize, or cut the graph in front of it",
    "ArgMax": "cut the graph in front of it and take the argmax of the output",
    "TopK": "cut the graph in front of it and sort the output",
    "NonMaxSuppression": "cut the graph in front of it and do the detection afterwards",
    "If": "export without control flow",
    "Loop": "export without control flow",
    "Scan": "export without control flow",
}
_DEFAULT_ADVICE = "replace it by supported operators, or cut the graph in front of it (outputs)"


def check_node(node: Node, model: OnnxModel) -> list[Issue]:
    """Every constraint that the node does not meet."""
    if node.domain or node.op not in SUPPORTED:
        op = f"{node.domain}.{node.op}" if node.domain else node.op
        advice = _OP_ADVICE.get(node.op, _DEFAULT_ADVICE)
        return [Issue(op, node.name, "the operator is not supported", advice)]
    if model.shape(node.inputs[0]) is None and not _starts_unknown(node, model):
        return []  # what feeds it is reported already
    issues = _failed(GENERIC, node, model)
    return issues or _failed(SUPPORTED[node.op][1], node, model)


def _starts_unknown(node: Node, model: OnnxModel) -> bool:
    """Whether the node is the first to have an unknown shape: its inputs have known ones."""
    return all(model.shape(name) is not None for name in node.inputs if name)


def _failed(constraints: tuple[Constraint, ...], node: Node, model: OnnxModel) -> list[Issue]:
    issues: list[Issue] = []
    for constraint in constraints:
        if issues and constraints is GENERIC:
            break  # the later ones need what the earlier ones ask for
        ok, why = constraint(node, model)
        if not ok:
            reason = f"{message(constraint).rstrip('.')} (found: {why})"
            issues.append(Issue(node.op, node.name, reason, ADVICE[constraint.__name__]))
    return issues


def check_inputs(model: OnnxModel) -> list[Issue]:
    """What is wrong with the model's inputs: free axes, types, ranks."""
    issues = []
    advice = ADVICE[rules.constraint_fixed_shapes.__name__]
    for name in model.inputs:
        if name in model.free_axes:
            axes = model.free_axes[name]
            where = f"axes {axes} have no fixed size" if axes else "it has no shape"
            issues.append(Issue("Input", name, f"{where}; only the batch axis may be free", advice))
        elif len(model.shapes[name]) < 2:
            shape = show(model.shapes[name])
            issues.append(
                Issue("Input", name, f"shape {shape} has no axis besides the batch", BATCH_ADVICE)
            )
        kind = model.input_types.get(name, "float32")
        if not kind.startswith(("float", "bfloat")):
            issues.append(
                Issue("Input", name, f"type {kind}, must be float", "cast in front of the model")
            )
    return issues


# --- documentation ----------------------------------------------------------------------------


def supported_ops_markdown() -> str:
    """The table of operators and constraints as Markdown."""
    lines = [
        "# Supported ONNX operators",
        "",
        "Rendered from `r329fast/graph/check/constraints.py` by",
        "`python -m r329fast.graph.check.constraints`;",
        "do not edit. `r329fast check MODEL.onnx` tells which constraint a model breaks and what",
        "to do about it. Operator sets 7 to the newest that the installed onnx package knows.",
        "",
        "Every operator:",
        "",
        *(f"- {message(constraint)}" for constraint in GENERIC),
        "",
        f"Folded away where all they read is known: {FOLDED_ONLY}",
        "",
        "Activations that a file spells out (x * sigmoid(x), x * tanh(softplus(x)), GELU by erf or",
        "tanh, x * clip(x + 3, 0, 6) / 6, ...) are recognised by what they compute.",
        "",
        "| operator | becomes | constraints |",
        "|---|---|---|",
    ]
    for op in sorted(SUPPORTED):
        layer, constraints = SUPPORTED[op]
        text = "<br>".join(message(constraint) for constraint in constraints) or "-"
        lines.append(f"| {op} | {layer} | {text} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Rewrite docs/supported_ops.md."""
    target = Path(__file__).resolve().parents[3] / "docs" / "supported_ops.md"
    target.parent.mkdir(exist_ok=True)
    target.write_text(supported_ops_markdown(), encoding="utf-8")


if __name__ == "__main__":
    main()
