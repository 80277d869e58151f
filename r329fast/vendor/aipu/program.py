"""The binary's steps as a program: the op list that kernels run, scheme aqt2021.

A binary holds no names and no scales. Without anything else layers are named by their op and RO
entry (`conv3`), and every scale is 1; `names.py` and `model.py` give both where the vendor's dicts
or the float model are at hand. What the file leaves open is as in the scheme: the rounding of
shifts is an option, and a concat that is flagged multiplies an equal-scale input by 255/256 too.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from r329fast.errors import FileError, ProgramError, UnsupportedModelError
from r329fast.program.program import AttrValue, LayerRecord, Op, Program, TensorSpec
from r329fast.quantization.options import Options
from r329fast.vendor.aipu.constants import job_constants
from r329fast.vendor.aipu.container import AipuBin, read_aipu_bin
from r329fast.vendor.aipu.dataflow import Dataflow, Value, resolve
from r329fast.vendor.aipu.entries import Entry, Operand, read_entries

_PREFIX = {"depthwise": "dw"}
_TYPES = {
    "conv": "Convolution",
    "depthwise": "DepthwiseConv",
    "fc": "FullyConnected",
    "concat": "Concat",
    "slice": "Slice",
    "mean": "Reduce",
    "transpose": "Transpose",
}
_NO_SCALE = 1.0
# Keys in Program.options: where a program came from, and whether its scales are real ones.
SOURCE, SCALES = "source", "scales"


def load_program_of(path: str | Path, rounding: str = "half_even") -> Program:
    """The program of an aipu.bin file, verified.

    Raises FileError for a damaged file, UnsupportedModelError (with the words found) for forms
    that are not known, UsageError for an unknown rounding.
    """
    path = Path(path)
    return build_program(read_aipu_bin(path), path.stem, rounding)


def build_program(binary: AipuBin, name: str, rounding: str = "half_even") -> Program:
    """See `load_program_of`."""
    flow = resolve(binary, read_entries(binary))
    build = _Build(binary, flow, name, Options(rounding=rounding))
    program = build.run()
    try:
        program.verify()
    except ProgramError as error:  # the file's numbers, not ours
        raise FileError(f"aipu.bin: {error.message}") from error
    return program


def scale_warning(program: Program) -> str:
    """A line for whoever feeds real numbers to a program without real scales, else ""."""
    if program.options.get(SCALES) != "unknown":
        return ""
    return (
        "the binary holds no scales: inputs are taken at scale 1, so that preprocessing has to "
        "give the integers that the app feeds; its float model or calibration dicts give the "
        "real scales (docs/aipu.md)"
    )


def input_name(number: int) -> str:
    return f"input{number}"


def step_name(entry: Entry) -> str:
    """The name of a step's layer and tensor; the addition on a convolution has its own."""
    if entry.op == "conv" and entry.descriptors[0].eltwise is not None:
        return f"add{entry.index}"
    return f"{_PREFIX.get(entry.op, entry.op)}{entry.index}"


def carrier_name(entry: Entry) -> str:
    """The name of the convolution that an addition is fused onto."""
    return f"conv{entry.index}"


def value_name(flow: Dataflow, value: Value) -> str:
    return input_name(value.number) if value.maker is None else step_name(flow.steps[value.maker])


class _Build:
    def __init__(self, binary: AipuBin, flow: Dataflow, name: str, options: Options) -> None:
        words = {
            field.name: str(getattr(options, field.name)) for field in dataclasses.fields(options)
        }
        self.binary, self.flow = binary, flow
        self.rounding = options.rounding
        self.program = Program(
            name, "aqt2021", {}, [], [], (), (), {**words, SOURCE: "aipu.bin", SCALES: "unknown"}
        )

    def run(self) -> Program:
        program, flow = self.program, self.flow
        for value in flow.inputs:
            name = input_name(value.number)
            self._tensor(name, value.operand)
            program.layers.append(LayerRecord(name, "Input", (), (name,), (0, 0)))
        program.inputs = tuple(input_name(value.number) for value in flow.inputs)
        for entry, sources in zip(flow.steps, flow.sources, strict=True):
            names = [value_name(flow, value) for value in sources]
            rule = {
                "conv": self._convolution,
                "depthwise": self._convolution,
                "fc": self._fully_connected,
                "concat": self._concat,
                "slice": self._slice,
                "mean": self._mean,
                "transpose": self._transpose,
            }[entry.op]
            rule(entry, names)
        program.outputs = tuple(dict.fromkeys(value_name(flow, v) for v in flow.outputs))
        return program

    # -- pieces ----------------------------------------------------------------------------------

    def _tensor(self, name: str, operand: Operand) -> TensorSpec:
        return self._spec(name, operand.shape, operand.dtype)

    def _spec(self, name: str, shape: tuple[int, ...], dtype: str) -> TensorSpec:
        low, high = (0, 255) if dtype == "uint8" else (-128, 127)
        spec = TensorSpec(name, shape, dtype, _NO_SCALE, 0, low, high)
        self.program.tensors[name] = spec
        return spec

    def _emit(
        self,
        kind: str,
        layer: str,
        inputs: list[str],
        output: str,
        attrs: dict[str, AttrValue] | None = None,
        consts: dict[str, np.ndarray] | None = None,
    ) -> None:
        op = Op(kind, layer, tuple(inputs), (output,), attrs or {}, consts or {})
        self.program.ops.append(op)

    def _record(
        self,
        name: str,
        kind: str,
        inputs: list[str],
        first: int,
        act: str = "NONE",
        detail: dict[str, AttrValue] | None = None,
    ) -> None:
        ops = (first, len(self.program.ops))
        record = LayerRecord(name, kind, tuple(inputs), (name,), ops, act, detail or {})
        self.program.layers.append(record)

    def _viewed(self, layer: str, source: str, shape: tuple[int, ...]) -> str:
        """The tensor under another shape of the same bytes, as a reshape of the layer's own."""
        found = self.program.tensors[source]
        if found.shape == shape:
            return source
        name = f"{layer}:view"
        self._spec(name, shape, found.dtype)
        self._emit("reshape", layer, [source], name)
        return name

    def _act(self, relu: bool) -> dict[str, AttrValue]:
        return {
            "rounding": self.rounding,
            "act": "RELU" if relu else "NONE",
            "clip_min": 0,
            "clip_max": 0,
            "slope_shift": 0,
        }

    # -- steps -----------------------------------------------------------------------------------

    def _convolution(self, entry: Entry, inputs: list[str]) -> None:
        tile, output = entry.descriptors[0], entry.made
        constants = vars(job_constants(self.binary, entry))
        added = tile.eltwise
        name = carrier_name(entry) if added else step_name(entry)
        shape = entry.inputs[0].shape
        detail: dict[str, AttrValue] = {
            "kernel": tile.kernel,
            "stride": tile.stride,
            "dilation": (1, 1),
            "pads": tile.pads,
            "group": shape[-1] if entry.op == "depthwise" else 1,
        }
        if 0 in tile.stride:
            raise FileError(f"{entry.where}: stride {tile.stride} (word 24)")
        first = len(self.program.ops)
        source = self._viewed(name, inputs[0], shape)
        # the convolution under an addition is clamped to int8 first
        self._spec(name, output.shape, "int8" if added else output.dtype)
        attrs = {**self._act(tile.relu), **detail, "pad_value": 0}
        kind = "depthwise_conv2d" if entry.op == "depthwise" else "conv2d"
        self._emit(kind, name, [source], name, attrs, dict(constants))
        act = "RELU" if tile.relu else "NONE"
        self._record(name, _TYPES[entry.op], inputs[:1], first, act, detail)
        if added is None:
            return
        total, first = step_name(entry), len(self.program.ops)
        if self.program.tensors[inputs[1]].dtype != "int8":
            raise UnsupportedModelError(
                f"{entry.where}: an addition of an unsigned map (word 47); how the descriptor "
                "tells that is not known"
            )
        other = self._viewed(total, inputs[1], output.shape)
        self._tensor(total, output)
        consts = {
            "scales": np.array([added.k_conv, added.k_other], np.int32),
            "mult": np.array([added.mult], np.int32),
            "shift": np.array([added.shift], np.int32),
        }
        attrs = {**self._act(False), "method": "ADD"}
        self._emit("eltwise", total, [name, other], total, attrs, consts)
        self._record(total, "Eltwise", [name, inputs[1]], first, detail={"method": "ADD"})

    def _fully_connected(self, entry: Entry, inputs: list[str]) -> None:
        name, first = step_name(entry), len(self.program.ops)
        relu = entry.descriptors[0].relu
        constants = vars(job_constants(self.binary, entry))
        source = self._viewed(name, inputs[0], (entry.inputs[0].size,))
        self._spec(name, (entry.made.size,), entry.made.dtype)
        self._emit("fully_connected", name, [source], name, self._act(relu), dict(constants))
        self._record(name, _TYPES[entry.op], inputs, first, "RELU" if relu else "NONE")

    def _concat(self, entry: Entry, inputs: list[str]) -> None:
        name, first = step_name(entry), len(self.program.ops)
        pairs = entry.pairs if entry.rescaled else ((1, 0),) * len(inputs)
        places = entry.made.shape[:-1]
        views = [
            self._viewed(f"{name}:{number}", source, (*places, int(entry.words[3 * number])))
            for number, source in enumerate(inputs)
        ]
        self._tensor(name, entry.made)
        attrs: dict[str, AttrValue] = {"rounding": self.rounding, "axis": len(places)}
        consts = {
            "mult": np.array([mult for mult, _ in pairs], np.int32),
            "shift": np.array([shift for _, shift in pairs], np.int32),
        }
        self._emit("concat", name, views, name, attrs, consts)
        self._record(name, "Concat", inputs, first, detail={"axis": len(places)})

    def _slice(self, entry: Entry, inputs: list[str]) -> None:
        name, first = step_name(entry), len(self.program.ops)
        words = [int(word) for word in entry.words]
        begin = tuple(words[8:11])
        end = tuple(b + n for b, n in zip(begin, words[12:15], strict=True))
        source = self._viewed(name, inputs[0], tuple(words[1:4]))
        detail: dict[str, AttrValue] = {"begin": begin, "end": end, "strides": (1, 1, 1)}
        self._spec(name, tuple(words[12:15]), entry.made.dtype)
        self._emit("slice", name, [source], name, detail)
        self._record(name, "Slice", inputs, first, detail=detail)

    def _mean(self, entry: Entry, inputs: list[str]) -> None:
        name, first = step_name(entry), len(self.program.ops)
        view, axis = tuple(int(word) for word in entry.words[2:5]), int(entry.words[5]) - 2
        source = self._viewed(name, inputs[0], view)
        self._tensor(name, entry.made)
        ((mult, shift),) = entry.pairs
        consts = {"mult": np.array([mult], np.int32), "shift": np.array([shift], np.int32)}
        attrs: dict[str, AttrValue] = {"rounding": self.rounding, "axes": (axis,)}
        self._emit("reduce_sum", name, [source], name, attrs, consts)
        self._record(name, "Reduce", inputs, first, detail={"method": "MEAN", "axes": (axis,)})

    def _transpose(self, entry: Entry, inputs: list[str]) -> None:
        name, first = step_name(entry), len(self.program.ops)
        shape = tuple(int(word) for word in entry.words[1:4])
        perm = tuple(int(word) - 1 for word in entry.words[6:9])
        source = self._viewed(name, inputs[0], shape)
        self._spec(name, tuple(shape[axis] for axis in perm), entry.made.dtype)
        self._emit("transpose", name, [source], name, {"perm": perm})
        self._record(name, "Transpose", inputs, first, detail={"perm": perm})
