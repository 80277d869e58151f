"""Rules that an op's shapes, constants and attributes must keep; `spec.py` names them per op.

Each check takes (op, input specs, output spec) and returns a complaint or "".
"""

from __future__ import annotations

import numpy as np

from r329fast.program.program import Op, TensorSpec


def _shape_is(expected: tuple[int, ...], output: TensorSpec) -> str:
    return "" if output.shape == expected else f"output shape {output.shape}, expected {expected}"


def _requant_lengths(op: Op, channels: int) -> str:
    for name in ("mult", "shift", "slope"):
        if name in op.consts and op.consts[name].shape not in ((1,), (channels,)):
            return f"{name} has shape {op.consts[name].shape}, allowed (1,) or ({channels},)"
    if (op.consts["mult"] < 0).any() or (op.consts["mult"] > 32767).any():
        return "mult outside 0..32767"
    if (op.consts["shift"] < -31).any() or (op.consts["shift"] > 63).any():
        return "shift outside -31..63"
    if op.attrs.get("act") == "LEAKY" and "slope" not in op.consts:
        return "act LEAKY needs the constant slope"
    return ""


def _window_output(op: Op, x: TensorSpec) -> tuple[int, int]:
    kernel, stride = op.integers("kernel"), op.integers("stride")
    dilation, pads = op.integers("dilation"), op.integers("pads")
    height = x.shape[0] + pads[0] + pads[2] - (kernel[0] - 1) * dilation[0] - 1
    width = x.shape[1] + pads[1] + pads[3] - (kernel[1] - 1) * dilation[1] - 1
    return height // stride[0] + 1, width // stride[1] + 1


def check_conv(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    x, weights = inputs[0], op.consts["weights"]
    group = op.integer("group")
    if len(x.shape) != 3 or weights.ndim != 4:
        return f"needs an (H, W, C) input and 4-d weights, found {x.shape} and {weights.shape}"
    channels_out = weights.shape[0]
    if weights.shape[3] * group != x.shape[2] or channels_out % group:
        return f"weights {weights.shape} with group {group} do not fit {x.shape[2]} channels"
    if weights.shape[1:3] != op.integers("kernel"):
        return f"kernel {op.integers('kernel')} is not that of weights {weights.shape}"
    if op.kind == "depthwise_conv2d" and group != x.shape[2]:
        return f"group {group} is not the number of input channels {x.shape[2]}"
    if op.consts["bias"].shape != (channels_out,):
        return f"bias has shape {op.consts['bias'].shape}, expected ({channels_out},)"
    if "pad_values" in op.consts and op.consts["pad_values"].shape != (x.shape[2],):
        return f"pad_values has shape {op.consts['pad_values'].shape}"
    complaint = _shape_is((*_window_output(op, x), channels_out), output)
    return complaint or _requant_lengths(op, channels_out)


def check_fc(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    x, weights = inputs[0], op.consts["weights"]
    if weights.ndim != 2 or weights.shape[1] != x.shape[-1]:
        return f"weights {weights.shape} do not fit input {x.shape}"
    if op.consts["bias"].shape != (weights.shape[0],):
        return f"bias has shape {op.consts['bias'].shape}, expected ({weights.shape[0]},)"
    complaint = _shape_is((*x.shape[:-1], weights.shape[0]), output)
    return complaint or _requant_lengths(op, weights.shape[0])


def check_matmul(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    a, b = inputs[0].shape, inputs[1].shape
    if len(a) < 2 or len(a) != len(b) or a[:-2] != b[:-2]:
        return f"shapes {a} and {b} do not fit"
    rows, inner_a = (a[-1], a[-2]) if op.integer("trans_a") else (a[-2], a[-1])
    inner_b, columns = (b[-1], b[-2]) if op.integer("trans_b") else (b[-2], b[-1])
    if inner_a != inner_b:
        return f"inner sizes {inner_a} and {inner_b} differ"
    return _shape_is((*a[:-2], rows, columns), output) or _requant_lengths(op, 1)


def check_eltwise(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    a, b = inputs[0].shape, inputs[1].shape
    if a != b and not (len(a) == len(b) and b[:-1] == (1,) * (len(b) - 1) and a[-1] == b[-1]):
        return f"shapes {a} and {b}: the second must be equal to the first or (1, .., 1, C)"
    if op.consts["scales"].shape != (2,):
        return "scales must have shape (2,)"
    return _shape_is(a, output) or _requant_lengths(op, a[-1])


def check_channelwise(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    channels = inputs[0].shape[-1]
    for name in ("weights", "bias"):
        if name in op.consts and op.consts[name].shape != (channels,):
            return f"{name} has shape {op.consts[name].shape}, expected ({channels},)"
    return _shape_is(inputs[0].shape, output) or _requant_lengths(op, channels)


def check_table(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    if op.consts["table"].shape != (256,):
        return f"table has shape {op.consts['table'].shape}, expected (256,)"
    return _shape_is(inputs[0].shape, output)


def check_pool(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    # Ceil mode adds up to one window to each axis, so the output may be larger by one.
    height, width = _window_output(op, inputs[0])
    shape = output.shape
    if len(shape) != 3 or shape[2] != inputs[0].shape[2]:
        return f"output shape {shape} does not fit input {inputs[0].shape}"
    if shape[0] - height not in (0, 1) or shape[1] - width not in (0, 1):
        return f"output {shape[:2]} does not fit ({height}, {width}), ceil mode adds at most one"
    if op.kind == "avgpool" and op.consts["mult"].shape not in ((1, 1), shape[:2]):
        return f"mult has shape {op.consts['mult'].shape}, allowed (1, 1) or {shape[:2]}"
    return ""


def check_reduce(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    shape = inputs[0].shape
    axes = op.integers("axes")
    if not axes or any(not 0 <= axis < len(shape) for axis in axes):
        return f"axes {axes} outside the {len(shape)} axes of the input"
    kept = int(np.prod([size for axis, size in enumerate(shape) if axis not in axes]))
    return "" if output.elements == kept else f"output shape {output.shape} for input {shape}"


def check_concat(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    axis = op.integer("axis")
    if op.consts["mult"].shape != (len(inputs),) or op.consts["shift"].shape != (len(inputs),):
        return "mult and shift need one entry an input"
    total = sum(x.shape[axis] for x in inputs)
    expected = (*inputs[0].shape[:axis], total, *inputs[0].shape[axis + 1 :])
    return _shape_is(expected, output)


def check_reshape(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    same = inputs[0].elements == output.elements
    return "" if same else f"cannot reshape {inputs[0].shape} to {output.shape}"


def check_transpose(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    perm = op.integers("perm")
    if sorted(perm) != list(range(len(inputs[0].shape))):
        return f"perm {perm} is no permutation of the axes of {inputs[0].shape}"
    return _shape_is(tuple(inputs[0].shape[axis] for axis in perm), output)


def check_slice(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    shape = inputs[0].shape
    begin, end, strides = op.integers("begin"), op.integers("end"), op.integers("strides")
    if not len(begin) == len(end) == len(strides) == len(shape):
        return f"begin, end and strides need {len(shape)} entries"
    if any(s < 1 for s in strides) or any(
        not 0 <= b < e <= n for b, e, n in zip(begin, end, shape, strict=True)
    ):
        return f"range {begin}..{end} step {strides} outside {shape}"
    expected = tuple(-(-(e - b) // s) for b, e, s in zip(begin, end, strides, strict=True))
    return _shape_is(expected, output)


def check_pad(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    before, after = op.integers("before"), op.integers("after")
    if not len(before) == len(after) == len(inputs[0].shape):
        return f"before and after need {len(inputs[0].shape)} entries"
    expected = tuple(b + n + a for b, n, a in zip(before, inputs[0].shape, after, strict=True))
    return _shape_is(expected, output)


def check_resize(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    height, width, channels = output.shape
    if channels != inputs[0].shape[2]:
        return "channels change"
    names = ("rows", "columns") if op.kind == "resize_nearest" else ("y0", "y1", "x0", "x1")
    for name in names:
        vertical = name in ("rows", "y0", "y1")
        size, limit = (height, inputs[0].shape[0]) if vertical else (width, inputs[0].shape[1])
        index = op.consts[name]
        if index.shape != (size,) or (index < 0).any() or (index >= limit).any():
            return f"{name}: need {size} indices in 0..{limit - 1}"
    if op.kind == "resize_bilinear" and op.consts["weights"].shape != (height, width, 4):
        return f"weights has shape {op.consts['weights'].shape}, expected ({height}, {width}, 4)"
    return ""


def check_softmax(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> str:
    if not 0 <= op.integer("axis") < len(inputs[0].shape):
        return f"axis {op.integer('axis')} outside {inputs[0].shape}"
    if "table" in op.consts and op.consts["table"].shape != (256,):
        return f"table has shape {op.consts['table'].shape}, expected (256,)"
    return _shape_is(inputs[0].shape, output)
