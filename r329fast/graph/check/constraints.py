"""Whether a model keeps the constraints of its operators, and their documentation.

docs/supported_ops.md is rendered from here: `python -m r329fast.graph.check.constraints`.
"""

from __future__ import annotations

from pathlib import Path

from r329fast.graph.issues import AXES, FORM, VALUES, Issue
from r329fast.graph.lower.families import OPERATORS
from r329fast.graph.lower.rules import BATCH_ADVICE, GENERIC, constraint_fixed_shapes
from r329fast.graph.onnx.model import Node, OnnxModel
from r329fast.graph.rule import ABOUT, ADVICE, Constraint, message, show

# Operators that fold away where everything they read is known.
FOLDED_ONLY = "Constant, ConstantOfShape, Shape, Size, Gather, Range, Expand, arithmetic, ..."

_FLOAT_MODEL = "give the float model: quantising is done here"
_OF_BYTES = f"bytes with constant scales are taken as they stand; else {_FLOAT_MODEL}"
_OP_ADVICE = {
    "QuantizeLinear": _OF_BYTES,
    "DequantizeLinear": _OF_BYTES,
    "QLinearConv": _OF_BYTES,
    "QLinearMatMul": _OF_BYTES,
    "ConvInteger": _FLOAT_MODEL,
    "MatMulInteger": _FLOAT_MODEL,
    "DynamicQuantizeLinear": _FLOAT_MODEL,
    "NonMaxSuppression": "cut the graph in front of it (--output), do the detection afterwards",
    "If": "fold its condition into the file: onnxslim MODEL.onnx OUT.onnx (or onnxsim)",
    "Einsum": "write it as Einsums of one or two tensors, no letter twice in one of them",
    "Loop": "export with its rounds written out",
    "Scan": "export with its rounds written out",
}
# Operators on sizes: what they read is known as soon as everything above them is.
_OF_SIZES = {
    "Shape",
    "Size",
    "Range",
    "ConstantOfShape",
    "NonZero",
    "Floor",
    "Ceil",
    "Mod",
    "Equal",
}
_DEFAULT_ADVICE = "write it by supported operators, or cut the graph in front of it (--output)"


def check_node(node: Node, model: OnnxModel) -> list[Issue]:
    """Every constraint that the node does not meet."""
    if node.domain or node.op not in OPERATORS:
        op = f"{node.domain}.{node.op}" if node.domain else node.op
        advice = _OP_ADVICE.get(node.op, _DEFAULT_ADVICE)
        about = VALUES if op in _OF_SIZES else FORM
        return [Issue(op, node.name, "the operator is not supported", advice, about=about)]
    if model.shape(node.inputs[0]) is None and not _starts_unknown(node, model):
        return []  # what feeds it is reported already
    needs = OPERATORS[node.op].needs
    issues = _failed(GENERIC, node, model)
    if issues and model.shape(node.outputs[0]) is None and issues[0].about == VALUES:
        # the operator's own words on what should be known say more
        own = tuple(item for item in needs if ABOUT[item.__name__] == VALUES)
        return _failed(own, node, model) or issues
    return issues or _failed(needs, node, model)


def _starts_unknown(node: Node, model: OnnxModel) -> bool:
    """Whether the node is the first to have an unknown shape: its inputs have known ones."""
    return all(model.shape(name) is not None for name in node.inputs if name)


def _failed(constraints: tuple[Constraint, ...], node: Node, model: OnnxModel) -> list[Issue]:
    """The constraints that are not met; of those that look at what the node reads the first,
    since the later ones need what the earlier ones ask for."""
    issues: list[Issue] = []
    for constraint in constraints:
        about = ABOUT[constraint.__name__]
        if about != FORM and any(issue.about != FORM for issue in issues):
            continue
        ok, why = constraint(node, model)
        if not ok:
            rule = message(constraint).rstrip(".")
            advice = ADVICE[constraint.__name__]
            reason = f"{rule} (found: {why})"
            issues.append(Issue(node.op, node.name, reason, advice, about=about, rule=rule))
    return issues


def check_inputs(model: OnnxModel) -> list[Issue]:
    """What is wrong with the model's inputs: free axes, types, ranks."""
    issues = []
    advice = ADVICE[constraint_fixed_shapes.__name__]
    for name in model.inputs:
        if name in model.free_axes:
            axes = model.free_axes[name]
            where = f"axes {axes} have no fixed size" if axes else "it has no shape"
            reason = f"{where}; only the batch axis may be free"
            issues.append(Issue("Input", name, reason, advice, about=VALUES))
        elif len(model.shapes[name]) < 2:
            reason = f"shape {show(model.shapes[name])} has no axis besides the batch"
            issues.append(Issue("Input", name, reason, BATCH_ADVICE, about=AXES))
        kind = model.input_types.get(name, "float32")
        if not kind.startswith(("float", "bfloat")):
            reason = f"type {kind}, must be float, uint8 or int8"
            issues.append(
                Issue("Input", name, reason, "begin behind its Cast (--input) and feed that")
            )
    return issues


# --- documentation ----------------------------------------------------------------------------


def supported_ops_markdown() -> str:
    """The table of operators and constraints as Markdown."""
    lines = [
        "# Supported ONNX operators",
        "",
        "Rendered from the tables in `r329fast/graph/lower` and `r329fast/graph/activations.py` by",
        "`python -m r329fast.graph.check.constraints`; do not edit. `r329fast check MODEL.onnx`",
        "names the constraints that a model breaks, and what to do. Operator sets: from 7 to the",
        "newest that the installed onnx package knows.",
        "",
        "Every operator:",
        "",
        *(f"- {message(constraint)}" for constraint in GENERIC),
        "",
        "Folded where everything that they read is known (constants and shapes):",
        FOLDED_ONLY,
        "",
        "Activations that a file spells out (x * sigmoid(x), x * tanh(softplus(x)), GELU by erf or",
        "tanh, x * clip(x + 3, 0, 6) / 6, ...) are recognised by what they compute.",
        "",
        "Norms that a file spells out (ReduceMean, Sub, Pow, Sqrt, Div, ...) are recognised",
        "likewise; an Einsum of one or two tensors is written as Transposes, Reshapes, a",
        "ReduceSum and one MatMul; of an If whose condition folds the branch that it takes",
        "stays.",
        "",
        "The batch is followed by name where a Transpose moves it or a Reshape joins it with",
        "heads, windows or rows ((L, N, C), (N * heads, L, C), (3, N, ..)): what works along",
        "other axes is the same with the batch first, and a program runs any batch. Images must",
        "not mix: what reduces over the batch, joins or picks images is refused, unless the",
        "file fixes a batch of 1. A batch that the file leaves free is looked at with two",
        "sizes.",
        "",
        "Files that are quantised already (QuantizeLinear and DequantizeLinear pairs, QLinear",
        "operators) and inputs of type uint8 or int8: scales, zero points and integer weights are",
        "taken as they stand where the scheme can hold them; `run` reports what it could not. A",
        "Relu or Relu6 that the quantising tool left to the end of the integers is put back.",
        "",
        "Any layer may have 16-bit activations or weights in scheme compass42 (`activation_bits`,",
        "`weight_bits`; docs/schemes.md), except Softmax, LogSoftmax, LRN, instance and group",
        "norms, L2 normalisation, Reduce L1, L2, PROD and VARIANCE, Div of two tensors and Neg.",
        "These have no 16-bit rule: `quantize` names them and the layers to keep at 8 bits.",
        "",
        "| operator | becomes | constraints |",
        "|---|---|---|",
    ]
    for op, row in sorted(OPERATORS.items()):
        text = "<br>".join(message(constraint) for constraint in row.needs) or "-"
        lines.append(f"| {op} | {row.becomes} | {text} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Rewrite docs/supported_ops.md."""
    target = Path(__file__).resolve().parents[3] / "docs" / "supported_ops.md"
    target.parent.mkdir(exist_ok=True)
    target.write_text(supported_ops_markdown(), encoding="utf-8")


if __name__ == "__main__":
    main()
