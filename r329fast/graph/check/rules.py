"""The rules that nodes must meet, one small function each.

What a rule is stands in `rule.py`; which operator has which constraints is the table in
`constraints.py`, for activations the one in `graph/activations.py`.
"""

from __future__ import annotations

from math import prod

import numpy as np

from r329fast.graph.lower.builder import batch_axis
from r329fast.graph.lower.pool import reduce_axes, resize_factors
from r329fast.graph.lower.shape import (
    BATCH_ADVICE,
    pad_amounts,
    pad_value,
    reshape_target,
    slice_ranges,
    split_sizes,
)
from r329fast.graph.onnx.model import Node, OnnxModel
from r329fast.graph.onnx.operands import const_axis
from r329fast.graph.rule import (
    Result,
    advise,
    computed_inputs,
    first_shape,
    show,
)

# --- every operator ---------------------------------------------------------------------------


@advise("give the size of the free axes with input_shapes (--input-shape)")
def constraint_fixed_shapes(node: Node, model: OnnxModel) -> Result:
    """Shapes must be fixed by the file; only the batch axis may be free."""
    missing = [name for name in node.inputs if name and model.shape(name) is None]
    return not missing, f"no fixed shape for {', '.join(missing)}"


@advise("export the model again; onnx.checker may tell more")
def constraint_output_shape(node: Node, model: OnnxModel) -> Result:
    """The inputs must fit together, so that the shape of the output follows from them."""
    shapes = [show(model.shape(name)) for name in node.inputs if name]
    return model.shape(node.outputs[0]) is not None, f"inputs {', '.join(shapes)}"


@advise("export the model again with an input of its real size")
def constraint_no_empty_axis(node: Node, model: OnnxModel) -> Result:
    """No axis of an input or output may have size 0."""
    names = [*computed_inputs(node, model), *(name for name in node.outputs if name)]
    empty = [show(shape) for name in names if 0 in (shape := model.shape(name) or ())]
    return not empty, f"shape {empty[0] if empty else ''}"


@advise("cut the graph behind this node, or take the constant part out of the model")
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


@advise("use the node's first output only (export for inference)")
def constraint_first_output(node: Node, model: OnnxModel) -> Result:
    """Only the first output may be used."""
    used = [
        name
        for name in node.outputs[1:]
        if name and (model.consumers(name) or name in model.outputs)
    ]
    return not used, f"{', '.join(used)} is read"


# --- families ---------------------------------------------------------------------------------


@advise("reshape to four axes in front of the node")
def constraint_four_axes(node: Node, model: OnnxModel) -> Result:
    """The input must be a feature map with four axes (N, C, H, W)."""
    shape = first_shape(node, model)
    return len(shape) == 4, f"input {show(shape)}"


@advise("fold the weights into the file (constant folding at export)")
def constraint_constant_weights(node: Node, model: OnnxModel) -> Result:
    """All inputs but the first must be constants."""
    found = [name for name in node.inputs[1:] if name and name not in model.consts]
    if node.inputs[0] in model.consts:
        found = [node.inputs[0]]
        return False, f"{found[0]} is a constant and the weights are computed"
    return not found, f"{', '.join(found)} is computed"


@advise("export the model again")
def constraint_conv_weights(node: Node, model: OnnxModel) -> Result:
    """Weights must be (O, C/group, kh, kw) for an input with C channels, O a multiple of group."""
    weights = model.shape(node.inputs[1]) or ()
    shape = first_shape(node, model)
    group = int(node.attr("group", 1))
    ok = len(weights) == 4 and len(shape) == 4 and group > 0
    ok = ok and weights[1] * group == shape[1] and weights[0] % group == 0
    if node.input(2) in model.consts:
        ok = ok and model.consts[node.input(2)].size == weights[0]
    return ok, f"weights {show(weights)}, group {group}, input {show(shape)}"


@advise("set explicit pads")
def constraint_padding(node: Node, model: OnnxModel) -> Result:
    """auto_pad must be NOTSET, VALID, SAME_UPPER or SAME_LOWER; pads must not be negative."""
    mode = node.attr("auto_pad", "NOTSET")
    pads = list(node.attr("pads", []))
    ok = mode in ("", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")
    return ok and all(pad >= 0 for pad in pads), f"auto_pad {mode}, pads {pads}"


@advise("pad by a Pad node in front")
def constraint_pool_pads(node: Node, model: OnnxModel) -> Result:
    """Pads must be smaller than the window."""
    kernel = [int(k) for k in node.attr("kernel_shape", [1, 1])]
    pads = list(node.attr("pads", []))
    ok = len(kernel) == 2 and all(pad < kernel[i % 2] for i, pad in enumerate(pads))
    return ok, f"kernel_shape {kernel}, pads {pads}"


@advise("export the model in inference mode")
def constraint_inference(node: Node, model: OnnxModel) -> Result:
    """The node must be in inference mode (training_mode 0, spatial 1)."""
    mode = node.attr("training_mode", 0)
    if node.op == "Dropout" and node.input(2) in model.consts:
        mode = bool(model.consts[node.input(2)].reshape(-1)[0])
    elif node.op == "Dropout" and node.input(2):
        mode = "computed"
    spatial = node.attr("spatial", 1)
    return not mode and spatial == 1, f"training_mode {mode}, spatial {spatial}"


@advise("cast in front of the model or behind it")
def constraint_float_cast(node: Node, model: OnnxModel) -> Result:
    """The cast must be from a floating-point type to another."""
    code = int(node.attr("to", 1))
    # TensorProto codes of float32, float16, float64, bfloat16
    return code in (1, 10, 11, 16), f"to type {code}"


# --- arithmetic -------------------------------------------------------------------------------


@advise("use a number or one value a channel, or reshape to equal shapes")
def constraint_operands(node: Node, model: OnnxModel) -> Result:
    """Inputs must have the same shape, or one value a channel; so must a constant."""
    output = model.shape(node.outputs[0]) or ()
    for name in node.inputs:
        shape = model.shape(name) or ()
        if name in model.consts:
            ok = const_axis(model.consts[name], output)[1]
        else:
            real = [axis for axis in range(1, len(shape)) if shape[axis] > 1]
            ok = len(shape) == len(output) and (
                shape == output
                or (len(real) <= 1 and all(shape[axis] == output[axis] for axis in real))
            )
        if not ok:
            return False, f"{show(shape)} against {show(output)}"
    return True, ""


@advise("swap the operands, or use one constant at most")
def constraint_one_constant(node: Node, model: OnnxModel) -> Result:
    """With a constant among the inputs there must be two inputs."""
    constants = [name for name in node.inputs if name in model.consts]
    return not constants or len(node.inputs) <= 2, f"{len(node.inputs)} inputs"


@advise("subtract the other way round and negate")
def constraint_minuend(node: Node, model: OnnxModel) -> Result:
    """The first input must not be the one that broadcasts."""
    if node.inputs[0] in model.consts:
        return True, ""
    shape, output = first_shape(node, model), model.shape(node.outputs[0]) or ()
    return shape == output, f"first input {show(shape)}, output {show(output)}"


@advise("multiply by a reciprocal, computed outside")
def constraint_constant_divisor(node: Node, model: OnnxModel) -> Result:
    """The divisor must be a constant without zeros."""
    if node.inputs[1] not in model.consts:
        return False, "it is computed"
    return bool(np.all(model.consts[node.inputs[1]] != 0)), "it has a zero"


@advise("use Clip with numbers as bounds")
def constraint_scalar_bound(node: Node, model: OnnxModel) -> Result:
    """A constant among the inputs must be a single number."""
    sizes = [model.consts[name].size for name in node.inputs if name in model.consts]
    return all(size == 1 for size in sizes), f"{sizes} values"


@advise("compute other powers outside the model")
def constraint_square(node: Node, model: OnnxModel) -> Result:
    """The exponent must be the constant 2."""
    value = model.const(node.input(1))
    if value is None:
        return False, "it is computed"
    return value.size == 1 and float(value.reshape(-1)[0]) == 2.0, f"exponent {value.tolist()}"


# --- matrices ---------------------------------------------------------------------------------


@advise("put a Flatten in front, with the batch as rows")
def constraint_gemm_rows(node: Node, model: OnnxModel) -> Result:
    """The first input must be (N, K) and transA 0."""
    shape, trans = first_shape(node, model), int(node.attr("transA", 0))
    return len(shape) == 2 and trans == 0, f"input {show(shape)}, transA {trans}"


@advise("give one bias an output")
def constraint_gemm_bias(node: Node, model: OnnxModel) -> Result:
    """The bias must be a constant number or one value an output."""
    if not node.input(2):
        return True, ""
    shape = model.shape(node.input(2)) or ()
    size, outputs = prod(shape), (model.shape(node.outputs[0]) or (0, 0))[-1]
    last = shape[-1] if shape else 1
    return size in (1, outputs) and last == size, f"bias {show(shape)}, {outputs} outputs"


@advise("put the constant on the right side, or give both sides the same leading axes")
def constraint_matmul_sides(node: Node, model: OnnxModel) -> Result:
    """The right side must be a constant matrix, or both must be computed, with the same leading
    axes and at least three axes (the batch among them)."""
    left, right = (model.shape(name) or () for name in node.inputs[:2])
    why = f"{show(left)} times {show(right)}"
    if node.inputs[1] in model.consts:
        return len(right) == 2 and 2 <= len(left) <= 4, why
    if node.inputs[0] in model.consts:
        return False, f"{why}, the left side constant"
    return len(left) == len(right) >= 3 and left[:-2] == right[:-2], why


# --- data movement ----------------------------------------------------------------------------


@advise("export with fixed shapes")
def constraint_target_known(node: Node, model: OnnxModel) -> Result:
    """The target shape or axes must be constants, or fold to constants."""
    return reshape_target(node, model) is not None, "it is computed"


@advise(BATCH_ADVICE)
def constraint_reshape_batch(node: Node, model: OnnxModel) -> Result:
    """The batch must stay the first axis and keep its size."""
    target, shape = reshape_target(node, model), first_shape(node, model)
    if target is None:
        return True, ""
    ok = bool(shape) and bool(target) and target[0] == shape[0]
    return ok, f"{show(shape)} to {show(target)}"


@advise(BATCH_ADVICE)
def constraint_transpose_batch(node: Node, model: OnnxModel) -> Result:
    """perm must leave the batch axis at its place."""
    perm = [int(axis) for axis in node.attr("perm", range(len(first_shape(node, model)))[::-1])]
    return bool(perm) and perm[0] == 0, f"perm {perm}"


@advise(BATCH_ADVICE)
def constraint_axis_not_batch(node: Node, model: OnnxModel) -> Result:
    """axis must not be the batch axis."""
    default = {"Concat": 1, "Split": 0}.get(node.op, 1 if model.opset < 13 else -1)
    axis = int(node.attr("axis", default))
    return batch_axis(axis, len(first_shape(node, model))) >= 0, f"axis {axis}"


@advise("pad instead of joining constants")
def constraint_no_constant(node: Node, model: OnnxModel) -> Result:
    """All inputs must be computed."""
    found = [name for name in node.inputs if name in model.consts]
    return not found, f"{', '.join(found)} is a constant"


@advise("make the sizes constants that add up")
def constraint_split_sizes(node: Node, model: OnnxModel) -> Result:
    """The sizes must be constants, one an output, that add up to the axis."""
    sizes, shape = split_sizes(node, model), first_shape(node, model)
    if sizes is None:
        return False, "they are computed"
    total = shape[int(node.attr("axis", 0))]
    ok = sum(sizes) == total and len(sizes) == len(node.outputs) and min(sizes) > 0
    return ok, f"sizes {sizes}, axis of {total}"


@advise("make starts, ends, axes and steps constants with positive steps")
def constraint_slice_ranges(node: Node, model: OnnxModel) -> Result:
    """Starts, ends, axes and steps must be constants, steps positive, the batch left alone."""
    ranges, shape = slice_ranges(node, model), first_shape(node, model)
    if ranges is None:
        return False, "they are computed"
    ok = all(step > 0 for _, _, step in ranges) and ranges[0] == (0, shape[0], 1)
    return ok, f"ranges {ranges} of {show(shape)}"


@advise("use constant, reflect or edge mode with pads known at export")
def constraint_pad_form(node: Node, model: OnnxModel) -> Result:
    """Pads and value must be constants; mode constant, reflect or edge; pads not negative; no
    padding of the batch; reflected pads smaller than the axis."""
    amounts, mode = pad_amounts(node, model), str(node.attr("mode", "constant"))
    if amounts is None or pad_value(node, model) is None:
        return False, "they are computed"
    shape = first_shape(node, model)
    ok = mode in ("constant", "reflect", "edge") and amounts[0] == (0, 0)
    ok = ok and all(min(amount) >= 0 for amount in amounts)
    if mode == "reflect":
        ok = ok and all(max(a) < n for a, n in zip(amounts[1:], shape[1:], strict=True))
    return ok, f"mode {mode}, pads {amounts}"


@advise("use ReduceMean over H and W, or GlobalAveragePool")
def constraint_mean_axes(node: Node, model: OnnxModel) -> Result:
    """The axes must be H and W of a feature map with four axes."""
    axes, shape = reduce_axes(node, model), first_shape(node, model)
    if axes is None:
        return False, "they are computed"
    ok = len(shape) == 4 and len(axes) == 2 and axes[0] >= 0
    return ok, f"axes {[axis + 1 for axis in axes]} of {show(shape)}"


# --- resizing ---------------------------------------------------------------------------------

_COORDINATES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")


@advise("use nearest or linear in one of these coordinate modes")
def constraint_resize_mode(node: Node, model: OnnxModel) -> Result:
    """mode must be nearest or linear; coordinate_transformation_mode half_pixel,
    pytorch_half_pixel, align_corners or asymmetric; no antialias; policy stretch."""
    mode = node.attr("mode", "nearest")
    coordinates = node.attr("coordinate_transformation_mode", "half_pixel")
    antialias = int(node.attr("antialias", 0))
    policy = node.attr("keep_aspect_ratio_policy", "stretch")
    ok = mode in ("nearest", "linear", "bilinear") and coordinates in _COORDINATES
    ok = ok and not antialias and policy == "stretch"
    why = f"mode {mode}, {coordinates}, antialias {antialias}, policy {policy}"
    return ok, why


@advise("give sizes, or scales that hit whole sizes")
def constraint_resize_factors(node: Node, model: OnnxModel) -> Result:
    """Scales or sizes must be constants that change H and W only, and scales must give whole
    sizes (else the pixel grid would not follow from the sizes)."""
    scales, sizes = resize_factors(node, model)
    shape = first_shape(node, model)
    if len(shape) != 4:
        return True, ""
    if sizes is not None:
        return len(sizes) == 4 and sizes[:2] == list(shape[:2]), f"sizes {sizes}"
    if scales is None:
        return False, "they are computed"
    if len(scales) != 4 or scales[0] != 1 or scales[1] != 1:
        return False, f"scales {scales}"
    exact = [size * scale for size, scale in zip(shape[2:], scales[2:], strict=True)]
    whole = all(abs(value - round(value)) < 1e-4 and round(value) > 0 for value in exact)
    aligned = node.attr("coordinate_transformation_mode", "") == "align_corners"
    return whole or aligned, f"scales {scales} of {show(shape)}"
