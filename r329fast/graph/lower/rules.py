"""Constraints that several families share, and those that every operator has."""

from __future__ import annotations

from r329fast.graph.issues import FORM, VALUES
from r329fast.graph.lower.builder import batch_axis
from r329fast.graph.onnx.model import Node, OnnxModel
from r329fast.graph.rule import Constraint, Result, advise, computed_inputs, first_shape, show

BATCH_ADVICE = "keep the batch as the first axis through the whole graph"


@advise("give the size of the free axes with input_shapes (--input-shape)", VALUES)
def constraint_fixed_shapes(node: Node, model: OnnxModel) -> Result:
    """Shapes must be fixed by the file; only the batch axis may be free."""
    missing = [name for name in node.inputs if name and model.shape(name) is None]
    return not missing, f"no fixed shape for {', '.join(missing)}"


@advise("export the model again; onnx.checker may tell more", VALUES)
def constraint_output_shape(node: Node, model: OnnxModel) -> Result:
    """The inputs must fit together, so that the shape of the output follows from them."""
    shapes = [show(model.shape(name)) for name in node.inputs if name]
    return model.shape(node.outputs[0]) is not None, f"inputs {', '.join(shapes)}"


@advise("export the model again with an input of its real size", VALUES)
def constraint_no_empty_axis(node: Node, model: OnnxModel) -> Result:
    """No axis of an input or output may have size 0."""
    names = [*computed_inputs(node, model), *(name for name in node.outputs if name)]
    empty = [show(shape) for name in names if 0 in (shape := model.shape(name) or ())]
    return not empty, f"shape {empty[0] if empty else ''}"


@advise("fold it into the file: onnxslim MODEL.onnx OUT.onnx (or onnxsim)", VALUES)
def constraint_has_activation(node: Node, model: OnnxModel) -> Result:
    """At least one input must depend on the model's input."""
    return bool(computed_inputs(node, model)), "all inputs are constants"


@advise(BATCH_ADVICE)
def constraint_batch_kept(node: Node, model: OnnxModel) -> Result:
    """The first axis must be the batch, of the same size in inputs and outputs."""
    shapes = [model.shape(name) or () for name in computed_inputs(node, model)]
    shapes.append(model.shape(node.outputs[0]) or ())
    sizes = {shape[0] if shape else None for shape in shapes}
    found = " and ".join(show(shape) for shape in dict.fromkeys(shapes))
    return len(sizes) == 1 and None not in sizes, f"shapes {found}"


# Of every operator, in this order: the later ones need what the earlier ones ask for.
GENERIC: tuple[Constraint, ...] = (
    constraint_fixed_shapes,
    constraint_output_shape,
    constraint_no_empty_axis,
    constraint_has_activation,
    constraint_batch_kept,
)


@advise("use the node's first output only (export for inference)", FORM)
def constraint_first_output(node: Node, model: OnnxModel) -> Result:
    """Only the first output may be used."""
    used = [
        name
        for name in node.outputs[1:]
        if name and (model.consumers(name) or name in model.outputs)
    ]
    return not used, f"{', '.join(used)} is read"


@advise("reshape to four axes in front of the node")
def constraint_four_axes(node: Node, model: OnnxModel) -> Result:
    """The input must be a feature map with four axes (N, C, H, W)."""
    shape = first_shape(node, model)
    return len(shape) == 4, f"input {show(shape)}"


@advise("reshape to four axes in front of the node")
def constraint_map_or_row(node: Node, model: OnnxModel) -> Result:
    """The input must be a feature map (N, C, H, W) or a row (N, C, L)."""
    shape = first_shape(node, model)
    return len(shape) in (3, 4), f"input {show(shape)}"


@advise(
    "fold the weights into the file: constant folding at export, or onnxslim MODEL.onnx OUT.onnx "
    "(or onnxsim); where they depend on the input, cut the graph in front (--output)",
    VALUES,
)
def constraint_constant_weights(node: Node, model: OnnxModel) -> Result:
    """All inputs but the first must be constants."""
    found = [name for name in node.inputs[1:] if name and name not in model.consts]
    if node.inputs[0] in model.consts:
        found = [node.inputs[0]]
        return False, f"{found[0]} is a constant and the weights are computed"
    return not found, f"{', '.join(found)} is computed"


@advise("set explicit pads, and a Slice in front in place of negative ones", FORM)
def constraint_padding(node: Node, model: OnnxModel) -> Result:
    """auto_pad must be NOTSET, VALID, SAME_UPPER or SAME_LOWER; pads must not be negative."""
    mode = node.attr("auto_pad", "NOTSET")
    pads = list(node.attr("pads", []))
    ok = mode in ("", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")
    return ok and all(pad >= 0 for pad in pads), f"auto_pad {mode}, pads {pads}"


@advise("export the model in inference mode", FORM)
def constraint_inference(node: Node, model: OnnxModel) -> Result:
    """The node must be in inference mode (training_mode 0, spatial 1)."""
    mode = node.attr("training_mode", 0)
    if node.op == "Dropout" and node.input(2) in model.consts:
        mode = bool(model.consts[node.input(2)].reshape(-1)[0])
    elif node.op == "Dropout" and node.input(2):
        mode = "computed"
    # before opset 14 the running statistics as further outputs are what says "training"
    if node.op == "BatchNormalization" and model.opset < 14 and any(node.outputs[1:]):
        mode = f"{sum(map(bool, node.outputs))} outputs, the training form of opset {model.opset}"
    spatial = node.attr("spatial", 1)
    return not mode and spatial == 1, f"training_mode {mode}, spatial {spatial}"


@advise(BATCH_ADVICE)
def constraint_axis_not_batch(node: Node, model: OnnxModel) -> Result:
    """axis must not be the batch axis."""
    default = {"Concat": 1, "Split": 0}.get(node.op, 1 if model.opset < 13 else -1)
    axis = int(node.attr("axis", default))
    return batch_axis(axis, len(first_shape(node, model))) >= 0, f"axis {axis}"
