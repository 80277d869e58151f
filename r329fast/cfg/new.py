"""A new cfg for a model: names and shapes are read from the ONNX file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from r329fast.base.reading import is_there
from r329fast.cfg.optimizer import Optimizer
from r329fast.cfg.run_config import RunConfig
from r329fast.cfg.sections import DEFAULT_TARGET, Common, GBuilder, Parser, Quantization
from r329fast.cfg.values import BadValueError, Shape, parse_shapes
from r329fast.errors import CfgError, FileError, UsageError, nearest
from r329fast.graph.onnx.model_file import load_proto

DEFAULT_DATA = "./dataset/dataset.npy"
DEFAULT_LABEL = "./dataset/label.npy"
# sizes that a channel axis of an image usually has
_CHANNELS = (1, 3, 4)


@dataclass(frozen=True)
class ModelNames:
    """What a new cfg needs to know of an ONNX file.

    `inputs` maps a name to its dimensions (a positive number, or the name of a dynamic one);
    `tensors` are those that nodes make, `nodes` maps a node's name to its first tensor. The graph
    may be cut at any of these names.
    """

    inputs: dict[str, tuple[int | str, ...]]
    outputs: tuple[str, ...]
    tensors: frozenset[str]
    nodes: dict[str, str]

    def tensor(self, name: str) -> str:
        """The input or inner tensor that a name of either kind means, or '' for an unknown one.

        TensorFlow's `node:0` stands for the node.
        """
        if name in self.inputs or name in self.tensors:
            return name
        return self.nodes.get(name) or self.nodes.get(name.removesuffix(":0"), "")


def read_model_names(path: Path | str) -> ModelNames:
    """Read the names and shapes of a model, without weights kept beside it.

    Raises FileError for a file that is missing or no ONNX model.
    """
    if not is_there(path):
        raise FileError(f"model not found: {path}", path=str(path))
    graph = load_proto(path, weights=False).graph
    if not graph.output:
        raise FileError(f"cannot read {path}: not an ONNX model with outputs", path=str(path))
    constants = {item.name for item in graph.initializer}
    inputs = {
        item.name: tuple(
            dim.dim_value if dim.dim_value > 0 else dim.dim_param or "?"
            for dim in item.type.tensor_type.shape.dim
        )
        for item in graph.input
        if item.name not in constants
    }
    tensors = {name for node in graph.node for name in node.output if name}
    return ModelNames(
        inputs,
        tuple(item.name for item in graph.output),
        frozenset(tensors),
        {
            node.name: next(name for name in node.output if name)
            for node in reversed(graph.node)  # of several with one name the first counts
            if node.name and any(node.output)
        },
    )


def new_cfg(
    model_path: Path | str,
    *,
    mode: str = "run",
    scheme: str = "aqt2021",
    calibration_data: str | None = None,
    calibration_label: str | None = None,
    inputs: Sequence[str] = (),
    outputs: str = "",
    input: Sequence[str] = (),
    output: Sequence[str] = (),
    input_shape: str | Sequence[Shape] = "",
    model_name: str = "",
    calibration_method: str = "",
) -> RunConfig:
    """A vendor cfg for a model, with everything that the model tells filled in.

    A dynamic batch becomes 1. `input` and `output` choose among the model's tensors and nodes
    (default: all its inputs and outputs); `inputs` and `outputs` are the files that the run reads
    and writes.
    calibration_data, calibration_label: by default `./dataset/dataset.npy` and `label.npy` beside
    it. One array cannot hold the data of several inputs: their cfg names ready-made ranges
    instead, ts_max_file and ts_min_file, by the names that a run and the vendor give them.
    calibration_method: by default the extremes (EXTREME, extrema) and not the vendor's MEAN, which
    weighs the last image by a half and so cuts off large values when the set is small.
    Raises CfgError for a name that the model does not have, a dynamic dimension other than the
    batch or an input inside the model without an `input_shape`, and several inputs with
    calibration_data or scheme compass42; FileError for an unreadable model.
    """
    if mode not in ("run", "build"):
        raise UsageError(f"mode: found {mode!r}, allowed run, build{nearest(mode, ('run',))}")
    if scheme not in ("aqt2021", "compass42"):
        raise UsageError(f"scheme: found {scheme!r}, allowed aqt2021, compass42")
    names = read_model_names(model_path)
    chosen = tuple(input) or tuple(names.inputs)
    ends = tuple(output) or names.outputs
    check_input_names(chosen, names)
    check_output_names(ends, names)
    chosen = tuple(names.tensor(word) for word in chosen)
    if len(chosen) > 1:
        _check_several(len(chosen), scheme, calibration_data or calibration_label)
    shapes = _shapes(chosen, names, input_shape)
    name = model_name or Path(model_path).stem
    config = RunConfig(
        common=Common(mode=mode),
        parser=Parser(
            input_data_format=guess_layout(
                # tensors inside an ONNX model have their channels first
                [size for word, size in zip(chosen, shapes, strict=True) if word in names.inputs]
            ),
            model_name=name,
            input_model=str(model_path),
            input=chosen,
            input_shape=shapes,
            output=ends,
        ),
        gbuilder=_gbuilder(mode, inputs, outputs, len(chosen), name),
    )
    if scheme == "compass42":
        config.quantization = None
        config.optimizer = _optimizer(calibration_data, calibration_method)
    else:
        config.quantization = Quantization(
            ops_per_channel=("DepthwiseConv",),
            calibration_method=calibration_method or "EXTREME",
            label_id_offset=0,
        )
        if len(chosen) > 1:
            config.quantization.ts_max_file = f"./max_min/{name}_max.npy"
            config.quantization.ts_min_file = f"./max_min/{name}_min.npy"
        else:
            config.quantization.calibration_data = calibration_data or DEFAULT_DATA
            config.quantization.calibration_label = calibration_label or DEFAULT_LABEL
    return config


def _optimizer(calibration_data: str | None, calibration_method: str) -> Optimizer:
    return Optimizer(
        {
            "dataset": "numpydataset",
            "calibration_data": calibration_data or DEFAULT_DATA,
            "calibration_batch_size": "1",
            "calibration_strategy_for_activation": calibration_method or "extrema",
            "min_compatible_zhouyi_target": DEFAULT_TARGET,
        }
    )


def _gbuilder(
    mode: str, inputs: Sequence[str], outputs: str, count: int, model_name: str
) -> GBuilder:
    """The section that names the files of a network with `count` inputs."""
    if mode == "run":
        builder = GBuilder(
            inputs=tuple(inputs) or _input_files(count),
            simulator="aipu_simulator_z1",
            outputs=outputs or "./output.bin",
        )
    else:
        builder = GBuilder(inputs=tuple(inputs), outputs=outputs or f"./{model_name}.r329")
    builder.profile = True
    return builder


def several_inputs(count: int) -> str:
    """Why calibration_data cannot be used with several inputs, and what can."""
    return (
        f"one array cannot hold the data of {count} inputs, allowed: ts_max_file and ts_min_file "
        "in [AutoQuantizationTool]"
    )


def _check_several(count: int, scheme: str, data: str | None) -> None:
    if scheme == "compass42":
        raise CfgError(
            f"scheme: found compass42, whose [Optimizer] has no ready-made ranges, which {count} "
            "inputs need, allowed: aqt2021 (a run may overrule the scheme)",
            key="scheme",
        )
    if data:
        raise CfgError(
            f"calibration_data: found {data!r}, {several_inputs(count)}", key="calibration_data"
        )


def check_input_names(chosen: Sequence[str], names: ModelNames) -> None:
    """Raise CfgError for a name that is no input, inner tensor or node of the model."""
    for name in chosen:
        if not names.tensor(name):
            inner = sorted({*names.tensors, *names.nodes})
            raise CfgError(
                f"[Parser] input: found {name!r}, no input, node or computed tensor of the model "
                f"has that name, its inputs are {', '.join(names.inputs)}"
                f"{nearest(name, [*names.inputs, *inner])}",
                key="input",
            )


def check_output_names(chosen: Sequence[str], names: ModelNames) -> None:
    """Raise CfgError for a name that is neither a node nor a tensor of the model."""
    for name in chosen:
        if not names.tensor(name) or name in names.inputs:
            known = {*names.tensors, *names.nodes}
            raise CfgError(
                f"[Parser] output: found {name!r}, no node or tensor of the model has that name, "
                f"its outputs are {', '.join(names.outputs)}{nearest(name, sorted(known))}",
                key="output",
            )


def guess_layout(shapes: Sequence[Shape]) -> str:
    """NCHW, unless the first four-dimensional shape has its channels last."""
    for shape in shapes:
        if len(shape) == 4:
            last = shape[3] in _CHANNELS and shape[1] not in _CHANNELS
            return "NHWC" if last else "NCHW"
    return "NCHW"


def _input_files(count: int) -> tuple[str, ...]:
    if count == 1:
        return ("./input.bin",)
    return tuple(f"./input{number}.bin" for number in range(count))


def _shapes(
    chosen: Sequence[str], names: ModelNames, given: str | Sequence[Shape]
) -> tuple[Shape, ...]:
    """The fixed shapes of the chosen inputs, from the model or from the user."""
    if given:
        try:
            shapes = parse_shapes(given) if isinstance(given, str) else tuple(map(tuple, given))
        except BadValueError as error:
            raise CfgError(f"input shape: {error}", key="input_shape") from error
        if len(shapes) != len(chosen):
            raise CfgError(
                f"input shape: found {len(shapes)} shapes, allowed: one for each of "
                f"{', '.join(chosen)}",
                key="input_shape",
            )
        for name, shape in zip(chosen, shapes, strict=True):
            reason = shape_mismatch(shape, names.inputs.get(name, ()))
            if reason:
                raise CfgError(f"input shape of {name}: {reason}", key="input_shape")
        return shapes
    return tuple(_fixed(name, names.inputs.get(name, ())) for name in chosen)


def _fixed(name: str, dims: tuple[int | str, ...]) -> Shape:
    if not dims:
        raise CfgError(
            f"input {name} has no shape in the model (none is read for a tensor inside it): "
            "give all with --input-shape, such as [1, 64, 56, 56]",
            key="input_shape",
        )
    fixed = []
    for axis, size in enumerate(dims):
        if isinstance(size, str) and axis > 0:
            raise CfgError(
                f"dimension {axis} ({size!r}) of input {name} is not fixed in the model: "
                f"give all with --input-shape, such as [1, 3, 224, 224]",
                key="input_shape",
            )
        fixed.append(1 if isinstance(size, str) else size)
    return tuple(fixed)


def shape_mismatch(shape: Shape, dims: tuple[int | str, ...]) -> str:
    """Why a shape does not go with the model's dimensions (batch left out), or ''."""
    same = len(shape) == len(dims) and all(
        isinstance(dim, str) or size == dim for size, dim in zip(shape[1:], dims[1:], strict=True)
    )
    if same or not dims:
        return ""
    return f"found {list(shape)}, the model has [{', '.join(str(dim) for dim in dims)}]"
