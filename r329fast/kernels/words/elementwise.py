"""Element by element: eltwise, own activations, batch norm, absolute values, tables, concat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from r329fast.kernels.epilogue import prepare_epilogue
from r329fast.kernels.runtime.kernel import arrays, kernel
from r329fast.kernels.runtime.one_call import ranged_plan
from r329fast.kernels.runtime.op_plan import OpPlan, Step
from r329fast.kernels.runtime.parameters import pack
from r329fast.kernels.words.elements import code_of, finish, widen, write
from r329fast.program.ops.bounds import reach
from r329fast.program.program import Op, TensorSpec

_BLOCK = 512  # elements of a block, at least
ADD, SUB, MUL, MAX, MIN = range(5)
_METHODS = {"ADD": ADD, "SUB": SUB, "MUL": MUL, "MAX": MAX, "MIN": MIN}
AFFINE, ABSOLUTE = range(2)


class PairRows(NamedTuple):
    first: int  # row (over all images) to begin with
    end: int
    rows: int  # of one image
    length: int  # elements of a row: whole channels, or a block of one channel for all
    step: int  # constants from one element to the next: 1 or 0
    shared: int  # 1: b has one row for all rows of an image
    method: int  # ADD, SUB, MUL, MAX or MIN
    kind_a: int  # codes of dtypes
    kind_b: int
    kind: int  # of the output
    move_a: int  # zero points
    move_b: int
    scale_a: int  # factors of both sides, unless they are multiplied
    scale_b: int


class SingleRows(NamedTuple):
    first: int  # row (over all images) to begin with
    end: int
    length: int  # elements of a row
    step: int  # constants from one element to the next: 1 or 0
    form: int  # AFFINE or ABSOLUTE
    kind_x: int  # codes of dtypes
    kind: int
    move: int  # zero point of the input, unless it is inside a bias
    stride: int  # elements of a row of the output
    start: int  # element of that row where the input's begins


class LineRows(NamedTuple):
    first: int  # row (over all images) to begin with
    end: int
    length: int  # elements of a row
    shift: int  # bits between two entries
    kind_x: int  # codes of dtypes
    kind: int
    lowest: int  # integer of the first entry


@kernel
def pair_rows(frame):  # type: ignore[no-untyped-def]
    """Rows first..end of an eltwise; scratch: int64 sums, then int32 of both sides."""
    p, a, b, epilogue, out, scratch = arrays(frame, PairRows, "uuiuu")
    n, method = p.length, p.method
    acc = scratch[: 8 * n].view(np.int64)
    left, right = scratch[8 * n : 12 * n].view(np.int32), scratch[12 * n : 16 * n].view(np.int32)
    scale_a, scale_b = np.int64(p.scale_a), np.int64(p.scale_b)
    for row in range(p.first, p.end):
        widen(a, p.kind_a, row * n, n, p.move_a, left)
        place_b = row // p.rows if p.shared else row
        widen(b, p.kind_b, place_b * n, n, p.move_b, right)
        if method == MUL:
            for i in range(n):
                acc[i] = np.int64(left[i]) * np.int64(right[i])
        elif method == ADD:
            for i in range(n):
                acc[i] = np.int64(left[i]) * scale_a + np.int64(right[i]) * scale_b
        elif method == SUB:
            for i in range(n):
                acc[i] = np.int64(left[i]) * scale_a - np.int64(right[i]) * scale_b
        elif method == MAX:
            for i in range(n):
                acc[i] = max(np.int64(left[i]) * scale_a, np.int64(right[i]) * scale_b)
        else:
            for i in range(n):
                acc[i] = min(np.int64(left[i]) * scale_a, np.int64(right[i]) * scale_b)
        finish(acc, epilogue, 0, p.step, n, out, p.kind, row * n)


@kernel
def single_rows(frame):  # type: ignore[no-untyped-def]
    """Rows first..end: finish((q + move) * weights), or of |q + move|; weights: int64."""
    p, x, weights, epilogue, out, scratch = arrays(frame, SingleRows, "uiiuu")
    n = p.length
    acc, values = scratch[: 8 * n].view(np.int64), scratch[8 * n : 12 * n].view(np.int32)
    for row in range(p.first, p.end):
        widen(x, p.kind_x, row * n, n, p.move, values)
        if p.form == ABSOLUTE:
            for i in range(n):
                acc[i] = abs(np.int64(values[i]))
        else:
            for i in range(n):
                acc[i] = np.int64(values[i]) * weights[i]
        finish(acc, epilogue, 0, p.step, n, out, p.kind, row * p.stride + p.start)


@kernel
def line_rows(frame):  # type: ignore[no-untyped-def]
    """Rows first..end: lines between the entries of a table, which is int64, its last twice."""
    p, x, table, out, scratch = arrays(frame, LineRows, "uiuu")
    n, shift = p.length, p.shift
    values = scratch[: 4 * n].view(np.int32)
    for row in range(p.first, p.end):
        widen(x, p.kind_x, row * n, n, -p.lowest, values)
        for i in range(n):
            index = np.int64(values[i]) >> shift
            part = np.int64(values[i]) - (index << shift)
            low = table[index]
            values[i] = np.int32(low + (((table[index + 1] - low) * part) >> shift))
        write(values, n, out, p.kind, row * n)


def row_form(elements: int, channels: int, per_channel: bool) -> tuple[int, int]:
    """(rows of an image, elements of a row): whole channels where constants differ, else about
    as many elements as a block has."""
    rows = elements // channels
    if per_channel:
        return rows, channels
    most = max(min(_BLOCK // channels, rows), 1)
    together = max(count for count in range(1, most + 1) if rows % count == 0)
    return rows // together, together * channels


def per_channel(op: Op) -> bool:
    """Whether an op's epilogue has constants that differ from channel to channel."""
    names = ("mult", "shift", "slope", "bias", "weights")
    return any(op.consts[name].size > 1 for name in names if name in op.consts)


def prepare_pair(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> OpPlan:
    """eltwise: the second input has the first one's shape or (1, .., 1, C)."""
    a, b = inputs
    channels, shared = a.shape[-1], a.shape != b.shape
    rows, length = row_form(a.elements, channels, per_channel(op) or shared)
    scales = [int(v) for v in op.consts["scales"]]
    method = op.text("method")
    bound = reach(a) * reach(b)
    if method != "MUL":
        bound = reach(a) * abs(scales[0]) + reach(b) * abs(scales[1])
    step = int(per_channel(op))
    epilogue = prepare_epilogue(op, output, channels if step else 1, bound)
    parameters = PairRows(
        first=0,
        end=rows,
        rows=rows,
        length=length,
        step=step,
        shared=int(shared),
        method=_METHODS[method],
        kind_a=code_of(a),
        kind_b=code_of(b),
        kind=code_of(output),
        move_a=a.zero_point,
        move_b=b.zero_point,
        scale_a=scales[0],
        scale_b=scales[1],
    )

    constants, size = (epilogue.wide_constants,), 16 * length + 256
    return ranged_plan("words-eltwise", pair_rows, parameters, constants, size)


def prepare_absolute(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> OpPlan:
    """abs."""
    return prepare_single(op, inputs, output, ABSOLUTE)


def prepare_single(
    op: Op, inputs: list[TensorSpec], output: TensorSpec, form: int = AFFINE
) -> OpPlan:
    """requantize and batchnorm."""
    x, channels = inputs[0], inputs[0].shape[-1]
    rows, length = row_form(x.elements, channels, per_channel(op))
    step = int(per_channel(op))
    weights = np.broadcast_to(op.consts.get("weights", np.ones(1)).astype(np.int64), (channels,))
    bias = op.consts.get("bias")
    bound = reach(x) * int(np.abs(weights).max())
    if bias is not None:
        bias = np.broadcast_to(bias.astype(np.int64), (channels,))
        bound = 65535 * int(np.abs(weights).max())
    epilogue = prepare_epilogue(op, output, channels if step else 1, bound, bias)
    factors = np.resize(weights, length)
    parameters = SingleRows(
        first=0,
        end=rows,
        length=length,
        step=step,
        form=form,
        kind_x=code_of(x),
        kind=code_of(output),
        move=0 if bias is not None else x.zero_point,
        stride=length,
        start=0,
    )

    constants, size = (factors, epilogue.wide_constants), 12 * length + 256
    return ranged_plan("words-affine", single_rows, parameters, constants, size)


def prepare_line(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> OpPlan:
    """lut and lut_line: of bytes a line has no length."""
    x = inputs[0]
    rows, length = row_form(x.elements, x.shape[-1], False)
    table = op.consts["table"].astype(np.int64)
    parameters = LineRows(
        first=0,
        end=rows,
        length=length,
        shift=op.integer("shift") if "shift" in op.attrs else 0,
        kind_x=code_of(x),
        kind=code_of(output),
        lowest=x.lowest,
    )
    entries = np.append(table, table[-1])

    return ranged_plan("words-table", line_rows, parameters, (entries,), 4 * length + 256)


def prepare_concat(op: Op, inputs: list[TensorSpec], output: TensorSpec) -> OpPlan:
    """Each input requantised (or passed) into its place."""
    axis = op.integer("axis")
    outer = int(np.prod(output.shape[:axis], dtype=np.int64))
    stride = int(np.prod(output.shape[axis:], dtype=np.int64))
    parts, start, longest = [], 0, 0
    for index, x in enumerate(inputs):
        consts = {name: op.consts[name][index : index + 1] for name in ("mult", "shift")}
        alone = Op("requantize", op.layer, op.inputs[:1], op.outputs, op.attrs, consts)
        length = int(np.prod(x.shape[axis:], dtype=np.int64))
        place = SingleRows(
            first=0,
            end=outer,
            length=length,
            step=0,
            form=AFFINE,
            kind_x=code_of(x),
            kind=code_of(output),
            move=x.zero_point,
            stride=stride,
            start=start,
        )
        constants = prepare_epilogue(alone, output, 1, reach(x)).wide_constants
        parts.append((place, np.ones(length, dtype=np.int64), constants))
        start += length
        longest = max(longest, length)

    def bind(
        batch: int, inputs: Sequence[np.ndarray], output: np.ndarray, scratch: np.ndarray
    ) -> list[Step]:
        return [
            (
                single_rows,
                (
                    pack(place._replace(end=batch * outer)),
                    x,
                    ones,
                    constants,
                    output,
                    scratch,
                ),
            )
            for x, (place, ones, constants) in zip(inputs, parts, strict=True)
        ]

    return OpPlan("words-concat", bind, lambda batch: 12 * longest + 256, True)


PREPARE = {
    "eltwise": prepare_pair,
    "requantize": prepare_single,
    "batchnorm": prepare_single,
    "abs": prepare_absolute,
    "lut": prepare_line,
    "lut_line": prepare_line,
    "concat": prepare_concat,
}
