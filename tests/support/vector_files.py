"""Reads the test vectors of the vendor's open simulator: IR nodes -> our Graph and ranges.

The files stay where they are; their form is described beside them.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from r329fast.calibration.ranges import Ranges
from r329fast.graph import ir
from r329fast.graph.layers.movement import DepthToSpaceAttrs
from r329fast.program import Program
from r329fast.quantization import Options

REPOSITORY = Path(__file__).resolve().parents[2]
VECTORS = Path(os.environ.get("R329FAST_VECTORS", REPOSITORY.parent / "shared" / "vectors"))

# Vectors of further operators, by the beginnings of the names that are covered.
FURTHER = VECTORS.with_name(f"{VECTORS.name}_b16")
_COVERED = ("act_celu", "act_thresholdedrelu", "depthtospace", "spacetodepth")

_ACT_NAMES = {"SWISH": "SILU"}


@dataclass
class Vector:
    """One vector file: its arrays, IR nodes, and what we make of them."""

    name: str
    arrays: dict[str, np.ndarray]
    nodes: list[dict]
    cfg: dict[str, str]
    graph: ir.Graph
    ranges: Ranges


def names() -> list[str]:
    further = (path.stem for path in FURTHER.glob("*.npz") if path.stem.startswith(_COVERED))
    return sorted([*(path.stem for path in VECTORS.glob("*.npz")), *further])


def load(name: str) -> Vector:
    folder = FURTHER if name.startswith(_COVERED) else VECTORS
    with np.load(folder / f"{name}.npz") as stored:
        arrays = {key: stored[key] for key in stored.files}
    meta = json.loads(str(arrays.pop("meta_json")))
    shapes, layers = {}, []
    values, seen = {}, {}
    note = meta.get("note", "")
    floats = json.loads(note.partition("float params: ")[2] or "{}")
    for index, node in enumerate(meta["nodes"]):
        if node["type"] == "Activation":
            node["params"] = {**floats, **node["params"]}  # what the vendor drops when it quantises
        for tensor in node["outputs"]:
            shapes[tensor["name"]] = arrays[f"{tensor['key']}.q"].shape[1:]
            values[tensor["name"]] = (tensor["min"], tensor["max"])
        layers.append(_layer(index, node, arrays, shapes))
        if node["type"] == "Input":
            number = sum(layer.type == "Input" for layer in layers) - 1
            data = arrays[f"calib{number}"]
            seen[node["outputs"][0]["name"]] = float(data.min()), float(data.max())
    consumed = {name for layer in layers for name in layer.inputs}
    outputs = tuple(n for layer in layers for n in layer.outputs if n not in consumed)
    graph = ir.Graph(name, layers, shapes, outputs)
    return Vector(name, arrays, meta["nodes"], meta["cfg"], graph, Ranges(values, seen))


def options(node: dict) -> Options:
    """Options of a case, from the attributes that the vendor stored on a node."""
    attrs = node["attrs"]
    return Options(
        quantize_method_for_weight=attrs["q_mode_weight"],
        quantize_method_for_activation=attrs["q_mode_activation"],
        bias_effective_bits=attrs["bias_effective_bits"],
        multiplier_bits=attrs["multiplier_bits"],
        unify_shifts_for_aiff=attrs["unify_shifts_for_aiff"],
        force_shift_positive=attrs["force_shift_positive"],
    )


def case_options(vector: Vector) -> Options:
    """Options of the whole case. force_dtype_int stands in the cfg, not on nodes."""
    weighted = [node for node in vector.nodes if node["type"] in ("Convolution", "FullyConnected")]
    chosen = options((weighted or vector.nodes)[0])
    forced = vector.cfg.get("force_dtype_int", "False").lower() == "true"
    return Options(**{**vars(chosen), "force_dtype_int": forced})


def _act(node: dict, consts: dict[str, np.ndarray], arrays: dict[str, np.ndarray]) -> ir.Act:
    """The activation of a node. CLIP's float bounds come back from the stored integers."""
    params = node["params"]
    kind = params.get("with_activation", "NONE")
    if node["type"] == "Activation":
        kind = params["method"]
    kind = _ACT_NAMES.get(kind, kind)
    if kind == "CLIP":
        scale = arrays[f"{node['outputs'][0]['key']}.scale"][0] * np.float32(256)
        low, high = params["clip_min"] / scale, params["clip_max"] / scale
        return ir.Act(kind, clip_min=float(low), clip_max=float(high))
    if kind == "LEAKYRELU":
        return ir.Act(kind, alpha=params["negative_slope_value"] / 256)
    if kind == "PRELU":
        consts["slope"] = arrays[
            f"{node['consts']['negative_slope']['key'].replace('.c.', '.fc.')}"
        ]
        return ir.Act(kind)
    return ir.Act(kind, alpha=params.get("alpha", 1.0), beta=params.get("beta", 0.0))


def _window(params: dict) -> dict:
    return {
        "kernel": (params["kernel_y"], params["kernel_x"]),
        "stride": (params["stride_y"], params["stride_x"]),
        "dilation": (params["dilation_y"], params["dilation_x"]),
        "pads": tuple(params[f"pad_{side}"] for side in ("top", "left", "bottom", "right")),
    }


def _layer(index: int, node: dict, arrays: dict[str, np.ndarray], shapes: dict) -> ir.Layer:
    kind, params = node["type"], node["params"]
    consts: dict[str, np.ndarray] = {}
    inputs = tuple(tensor["name"] for tensor in node["inputs"])
    outputs = tuple(tensor["name"] for tensor in node["outputs"])
    for ours, theirs in (("weights", "weights"), ("bias", "biases")):
        if f"n{index}.fc.{theirs}" in arrays:
            consts[ours] = arrays[f"n{index}.fc.{theirs}"]
    act = _act(node, consts, arrays)
    attrs = _attrs(kind, params, act, shapes, inputs, outputs)
    return ir.Layer(node["name"], kind, attrs, inputs, outputs, consts)


def _attrs(
    kind: str, params: dict, act: ir.Act, shapes: dict, inputs: tuple, outputs: tuple
) -> ir.Attrs:
    if kind == "Input":
        return ir.InputAttrs()
    if kind in ("Convolution", "DepthwiseConv"):
        return ir.ConvAttrs(**_window(params), group=params["group"], act=act)
    if kind == "FullyConnected":
        return ir.FullyConnectedAttrs(act)
    if kind == "BatchNorm":
        return ir.BatchNormAttrs(act)
    if kind == "Activation":
        return ir.ActivationAttrs(act)
    if kind == "Eltwise":
        return ir.EltwiseAttrs(params["method"], act)
    if kind == "Pooling":
        return ir.PoolingAttrs(
            params["method"],
            **_window(params),
            ceil_mode=params["ceil_mode"],
            count_include_pad=params.get("count_include_pad", True),
        )
    if kind == "MatMul":
        return ir.MatMulAttrs(params["trans_a"], params["trans_b"])
    if kind == "Reduce":
        return ir.ReduceAttrs(params["method"], tuple(axis - 1 for axis in params["axis"]))
    if kind == "Concat":
        return ir.ConcatAttrs(params["axis"] - 1)
    if kind == "Reshape":
        return ir.ReshapeAttrs(shapes[outputs[0]])
    if kind == "Transpose":
        return ir.TransposeAttrs(tuple(axis - 1 for axis in params["perm"][1:]))
    if kind == "Slice":
        return ir.SliceAttrs(*(tuple(params[word][1:]) for word in ("begin", "end", "strides")))
    if kind == "Split":
        return ir.SplitAttrs(params["axis"] - 1, tuple(params["splits"]))
    if kind == "Pad":
        # The stored constant is already quantised: these cases pad with real zero.
        pads = tuple(tuple(pair) for pair in params["pads"][1:])
        return ir.PadAttrs(pads, params["mode"], 0.0)
    if kind in ("DepthToSpace", "SpaceToDepth"):
        inverse = int(kind == "SpaceToDepth")
        return DepthToSpaceAttrs(params["block_size_x"], params.get("mode", "DCR"), inverse)
    if kind == "ChannelShuffle":
        return ir.ChannelShuffleAttrs(params["group"])
    if kind == "Resize":
        nearest = params.get("nearest_mode", "ROUND_PREFER_FLOOR")
        return ir.ResizeAttrs(shapes[outputs[0]][:2], params["method"], params["mode"], nearest)
    if kind in ("Softmax", "LogSoftmax"):
        return ir.SoftmaxAttrs(params["axis"] - 1)
    if kind == "LRN":
        return ir.LrnAttrs(params["size"], params["alpha"], params["beta"], params["bias"])
    raise ValueError(kind)


def feeds(vector: Vector, program: Program) -> dict[str, np.ndarray]:
    """The test inputs, quantised by us."""
    return {
        name: program.quantize_input(vector.arrays[f"test{i}"], name)
        for i, name in enumerate(program.inputs)
    }
