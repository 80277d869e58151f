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
from r329fast.program import Program
from r329fast.quantization import Options

REPOSITORY = Path(__file__).resolve().parents[2]
VECTORS = Path(os.environ.get("R329FAST_VECTORS", REPOSITORY.parent / "shared" / "vectors"))

FURTHER = Path(os.environ.get("R329FAST_VECTORS_B16", REPOSITORY.parent / "shared/vectors_b16"))
# Not computed: with a negative alpha the vendor puts +128 into int8, with a third input its ratio
# stands the wrong way round (spec B.22). A model with such a Gemm is refused.
VENDOR_FAULTS = ("gemm2_neg", "gemm3")

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
    found = [path.stem for folder in (VECTORS, FURTHER) for path in sorted(folder.glob("*.npz"))]
    return [name for name in found if not name.startswith(VENDOR_FAULTS)]


def faults() -> list[str]:
    """Vectors of what the vendor computes wrongly."""
    return [
        path.stem for path in sorted(FURTHER.glob("*.npz")) if path.stem.startswith(VENDOR_FAULTS)
    ]


def load(name: str) -> Vector:
    path = VECTORS / f"{name}.npz"
    with np.load(path if path.exists() else FURTHER / f"{name}.npz") as stored:
        arrays = {key: stored[key] for key in stored.files}
    meta = json.loads(str(arrays.pop("meta_json")))
    shapes, layers = {}, []
    values, seen = {}, {}
    images = len(next(array for key, array in arrays.items() if key.startswith("test")))
    for index, node in enumerate(meta["nodes"]):
        if node["type"] == "Activation":
            node["params"] = {**_floats(meta["note"]), **node["params"]}
        for tensor in node["outputs"]:
            stored_shape = arrays[f"{tensor['key']}.q"].shape
            if len(stored_shape) == 1 or stored_shape[0] != images:
                _add_batch(arrays, meta["nodes"], tensor["name"])
            shapes[tensor["name"]] = arrays[f"{tensor['key']}.q"].shape[1:]
            values[tensor["name"]] = (tensor["min"], tensor["max"])
        layers.append(_layer(index, node, arrays, shapes, meta["note"]))
        if node["type"] == "Input":
            number = sum(layer.type == "Input" for layer in layers) - 1
            data = arrays[f"calib{number}"]
            seen[node["outputs"][0]["name"]] = float(data.min()), float(data.max())
    consumed = {name for layer in layers for name in layer.inputs}
    outputs = tuple(n for layer in layers for n in layer.outputs if n not in consumed)
    graph = ir.Graph(name, layers, shapes, outputs)
    return Vector(name, arrays, meta["nodes"], meta["cfg"], graph, Ranges(values, seen))


def _add_batch(arrays: dict[str, np.ndarray], nodes: list[dict], name: str) -> None:
    """A tensor that the parser keeps without a batch axis gets one: it is of one image."""
    for node in nodes:
        for tensor in (*node["inputs"], *node["outputs"]):
            if tensor["name"] == name:
                for kind in ("q", "f"):
                    key = f"{tensor['key']}.{kind}"
                    if key in arrays:
                        arrays[key] = arrays[key][None]


def options(node: dict) -> Options:
    """Options of a case, from the attributes that the vendor stored on a node."""
    attrs = node["attrs"]
    activations = attrs["q_bits_activation"]
    return Options(
        quantize_method_for_weight=attrs["q_mode_weight"],
        quantize_method_for_activation=attrs["q_mode_activation"],
        bias_effective_bits=attrs["bias_effective_bits"],
        multiplier_bits=0 if attrs["multiplier_bits"] == activations else attrs["multiplier_bits"],
        activation_bits=str(activations),
        weight_bits=str(attrs["q_bits_weight"]),
        bias_bits=str(attrs["q_bits_bias"]),
        lut_items_in_bits=str(attrs["lut_items_in_bits"]),
        unify_shifts_for_aiff=attrs["unify_shifts_for_aiff"],
        force_shift_positive=attrs["force_shift_positive"],
    )


def case_options(vector: Vector) -> Options:
    """Options of the whole case. force_dtype_int stands in the cfg, not on nodes."""
    plain = [node for node in vector.nodes if node["type"] != "DepthwiseConv" and node["inputs"]]
    weighted = [node for node in plain if "weights" in node["consts"]]
    chosen = options((weighted or vector.nodes)[0])
    forced = vector.cfg.get("force_dtype_int", "False").lower() == "true"
    return Options(**{**vars(chosen), "force_dtype_int": forced})


def _floats(note: str) -> dict[str, float]:
    """Float parameters that the vendor drops when it quantises: they stand in the note."""
    _, found, words = note.partition("float params: ")
    if found:
        return json.loads(words)
    return {}


def _multiplier(note: str, node: dict) -> float:
    """The constant that the vendor merged into a MatMul: the note names its node, or "out"."""
    before, found, words = note.partition(" carries fused_multiplier=")
    named = found and before.split()[-1] in (node["name"], "out")
    return float(words.split()[0]) if named else 1.0


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
        slope = params["negative_slope_value"]
        return ir.Act(kind, alpha=slope / 256 if slope > 1 else slope)
    if kind == "PRELU":
        consts["slope"] = arrays[
            f"{node['consts']['negative_slope']['key'].replace('.c.', '.fc.')}"
        ]
        return ir.Act(kind)
    if kind == "SHRINK":
        return ir.Act(kind, alpha=params["lambd"], beta=params["bias"])
    return ir.Act(
        kind,
        alpha=params.get("alpha", 1.0),
        beta=params.get("gamma", params.get("beta", 0.0)),
        clip_min=params.get("clip_min", 0.0),
        clip_max=params.get("clip_max", 1.0),
    )


def _window(params: dict) -> dict:
    return {
        "kernel": (params["kernel_y"], params["kernel_x"]),
        "stride": (params["stride_y"], params["stride_x"]),
        "dilation": (params["dilation_y"], params["dilation_x"]),
        "pads": tuple(params[f"pad_{side}"] for side in ("top", "left", "bottom", "right")),
    }


def _layer(
    index: int, node: dict, arrays: dict[str, np.ndarray], shapes: dict, note: str
) -> ir.Layer:
    kind, params = node["type"], node["params"]
    consts: dict[str, np.ndarray] = {}
    inputs = tuple(tensor["name"] for tensor in node["inputs"])
    outputs = tuple(tensor["name"] for tensor in node["outputs"])
    for ours, theirs in (("weights", "weights"), ("bias", "biases")):
        if f"n{index}.fc.{theirs}" in arrays:
            consts[ours] = arrays[f"n{index}.fc.{theirs}"]
    if kind == "Constant":
        consts["value"] = consts.pop("weights").reshape(shapes[outputs[0]])
    if kind == "Gather":
        source = node["inputs"][1]["key"]
        consts["indices"] = arrays[f"{source}.q"].reshape(-1)
    found = {"multiplier": _multiplier(note, node)}
    if kind == "Pad" and params["mode"] == "CONSTANT":  # the stored value is already quantised
        scale, zero = (arrays[f"{node['inputs'][0]['key']}.{word}"][0] for word in ("scale", "zp"))
        found["value"] = float((params["constant_value"] + zero) / scale)
    act = _act(node, consts, arrays)
    attrs = (
        _attrs(kind, params, act, shapes, inputs, outputs)
        if kind in _OLD
        else _further(kind, {**params, **found}, shapes[inputs[0]] if inputs else (), act)
    )
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


# Layer types of `_attrs`; all others are `_further`'s.
_OLD = (
    "Input", "Convolution", "DepthwiseConv", "FullyConnected", "BatchNorm", "Activation",
    "Eltwise", "Pooling", "Reduce", "Concat", "Reshape", "Transpose", "Slice", "Split",
    "ChannelShuffle", "Resize", "Softmax", "LogSoftmax", "LRN",
)  # fmt: skip


def _further(kind: str, params: dict, shape: tuple[int, ...], act: ir.Act) -> ir.Attrs:
    """Attributes of the layer types of spec B.16 and later; shape: of the first input."""
    if kind == "MatMul":
        return ir.MatMulAttrs(params["trans_a"], params["trans_b"], params["multiplier"])
    if kind == "Pad":
        pads = tuple(tuple(pair) for pair in params["pads"][1:])
        return ir.PadAttrs(pads, params["mode"], params.get("value", 0.0))
    if kind == "ConvTranspose":
        return ir.ConvTransposeAttrs(**_window(params), group=params["group"], act=act)
    if kind == "LayerNorm":
        return ir.NormAttrs(min(params["axis"]) - 1)
    if kind == "InstanceNorm":
        return ir.NormAttrs(0, shape[-1])
    if kind == "GroupNorm":
        return ir.NormAttrs(0, params["group"], one_shift=True)
    if kind == "Normalization":
        return ir.L2NormAttrs(tuple(axis - 1 for axis in params["axis"]))
    if kind == "Gemm":
        words = ("trans_a", "trans_b", "alpha", "beta")
        return ir.GemmAttrs(*(params[word] for word in words))
    if kind == "Tile":
        return ir.TileAttrs(tuple(params["repeats"][1:]))
    if kind == "Gather":
        return ir.GatherAttrs(params["axis"] - 1)
    if kind in ("DepthToSpace", "SpaceToDepth"):
        inverse = int(kind == "SpaceToDepth")
        return ir.DepthToSpaceAttrs(params["block_size_x"], params.get("mode", "DCR"), inverse)
    if kind == "ArgMinMax":
        return ir.ArgAttrs(params["axis"] - 1, params["method"], params["select_last_index"])
    if kind == "TopK":
        return ir.TopKAttrs(params["axis"] - 1, params["k"], params["largest"])
    if kind == "Pow":
        return ir.PowAttrs(params["exponent"])
    if kind == "Constant":
        return ir.ConstantAttrs()
    if kind == "Crop":
        return ir.CropAttrs()
    if kind == "Div":
        return ir.DivAttrs()
    return ir.NegativeAttrs() if kind == "Negative" else ir.UnaryAttrs()


def feeds(vector: Vector, program: Program) -> dict[str, np.ndarray]:
    """The test inputs, quantised by us."""
    return {
        name: program.quantize_input(vector.arrays[f"test{i}"], name)
        for i, name in enumerate(program.inputs)
    }
