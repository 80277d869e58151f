"""Whether a model keeps the constraints of its operators, and their documentation.

docs/supported_ops.md is rendered from here: `python -m r329fast.graph.check.constraints`.
"""

from __future__ import annotations

from pathlib import Path

from r329fast.graph.issues import Issue
from r329fast.graph.lower.families import OPERATORS
from r329fast.graph.lower.rules import BATCH_ADVICE, GENERIC, constraint_fixed_shapes
from r329fast.graph.onnx.model import Node, OnnxModel
from r329fast.graph.rule import ADVICE, Constraint, message, show

# Operators that fold away where everything they read is known.
FOLDED_ONLY = "Constant, ConstantOfShape, Shape, Size, Gather, Range, Expand, arithmetic, ..."

_OP_ADVICE = {
    "QuantizeLinear": "give the float model: quantising is done here",
    "DequantizeLinear": "give the float model: quantising is done here",
    "QLinearConv": "give the float model: quantising is done here",
    "ConvInteger": "give the float model: quantising is done here",
    "MatMulInteger": "give the float model: quantising is done here",
    "QLinearMatMul": "give the float model: quantising is done here",
    "NonMaxSuppression": "cut the graph in front of it and do the detection afterwards",
    "If": "export without control flow",
    "Loop": "export without control flow",
    "Scan": "export without control flow",
}
_DEFAULT_ADVICE = "replace it by supported operators, or cut the graph in front of it (outputs)"


def check_node(node: Node, model: OnnxModel) -> list[Issue]:
    """Every constraint that the node does not meet."""
    if node.domain or node.op not in OPERATORS:
        op = f"{node.domain}.{node.op}" if node.domain else node.op
        advice = _OP_ADVICE.get(node.op, _DEFAULT_ADVICE)
        return [Issue(op, node.name, "the operator is not supported", advice)]
    if model.shape(node.inputs[0]) is None and not _starts_unknown(node, model):
        return []  # what feeds it is reported already
    issues = _failed(GENERIC, node, model)
    return issues or _failed(OPERATORS[node.op].needs, node, model)


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
    advice = ADVICE[constraint_fixed_shapes.__name__]
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
