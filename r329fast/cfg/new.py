"""A new cfg for a model: names and shapes are read from the ONNX file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from r329fast.base.reading import is_there
from r329fast.cfg.check import (
    DEFAULT_DATA,
    DEFAULT_LABEL,
    DEFAULT_SEVERAL,
    expected_shapes,
    input_files,
)
from r329fast.cfg.model_names import (
    ModelNames,
    check_input_names,
    check_output_names,
    fixed_shape,
    read_model_names,
    shape_mismatch,
)
from r329fast.cfg.optimizer import ACTED_ON, Optimizer
from r329fast.cfg.run_config import RunConfig
from r329fast.cfg.sections import (
    AQT_METHODS,
    DEFAULT_TARGET,
    Common,
    GBuilder,
    Parser,
    Quantization,
)
from r329fast.cfg.values import BadValueError, Shape, parse_shapes
from r329fast.errors import CfgError, R329Error, UsageError, nearest
from r329fast.graph import load_model
from r329fast.images.dataset import load_labels
from r329fast.images.recipe import recipe_beside, recipe_text
from r329fast.images.several import load_datasets

LABEL_FILE = "label.npy"
# sizes that a channel axis of an image usually has
_CHANNELS = (1, 3, 4)


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
    input_shape: str | Sequence[Sequence[int]] | Mapping[str, Sequence[int]] = "",
    model_name: str = "",
    calibration_method: str = "",
) -> RunConfig:
    """A vendor cfg for a model, with everything that the model tells filled in.

    A dynamic batch becomes 1. `input` and `output` choose among the model's tensors and nodes
    (default: all its outputs, and the inputs that these need). input_shape: ONNX shapes with the
    batch axis, in order, by input name, or as the cfg has them; needed where the file leaves an
    axis free. `inputs` and `outputs` are the files that the run reads and writes.
    calibration_data ("" for none), calibration_label: by default `./dataset/dataset.npy` (for
    several inputs `./dataset/dataset.npz`) and the `label.npy` beside the data, where there is one
    or where the data is still to be made. Data for several inputs: one .npy for each, separated by
    commas, or one .npz with an array for each. Data that is there must fit the model.
    calibration_method: by default the extremes (EXTREME, extrema) and not the vendor's MEAN, which
    weighs the last image by a half and so cuts off large values when the set is small.
    The recipe of the images (`preprocess.json` beside the data) is noted in a comment.
    Raises CfgError for a name that the model does not have, a dynamic dimension other than the
    batch or an input inside the model without an `input_shape`; DataError for calibration data
    that does not fit; FileError for an unreadable model.
    """
    if mode not in ("run", "build"):
        raise UsageError(f"mode: found {mode!r}, allowed run, build{nearest(mode, ('run',))}")
    if scheme not in ("aqt2021", "compass42"):
        raise UsageError(f"scheme: found {scheme!r}, allowed aqt2021, compass42")
    names = read_model_names(model_path)
    ends = tuple(output) or names.outputs
    check_output_names(ends, names)
    chosen = tuple(input) or (names.inputs_of(ends) if output else tuple(names.inputs))
    check_input_names(chosen, names)
    chosen = tuple(names.tensor(word) for word in chosen)
    shapes = _shapes(chosen, names, input_shape)
    name = model_name or Path(model_path).stem
    config = RunConfig(
        common=Common(mode=mode),
        parser=Parser(
            input_data_format=_layout(model_path, names, chosen, ends, shapes),
            model_name=name,
            input_model=str(model_path),
            input=chosen,
            input_shape=shapes,
            output=ends,
        ),
        gbuilder=_gbuilder(mode, inputs, outputs, len(chosen), name),
    )
    data = calibration_data
    if data is None:
        data = DEFAULT_DATA if len(chosen) == 1 else DEFAULT_SEVERAL
    label = calibration_label or _sibling_label(data)
    count = _check_data(config, data)
    if label and is_there(label):
        load_labels(label, count)
    with suppress(R329Error):  # a file of that name for something else
        beside = recipe_beside(data) if data else None
        config.recipe = recipe_text(beside.recipe) if beside else ""
    calibration_method = _method(calibration_method, scheme)
    if scheme == "compass42":
        config.quantization = None
        config.optimizer = _optimizer(data, calibration_method)
    else:
        config.quantization = Quantization(
            ops_per_channel=("DepthwiseConv",),
            calibration_method=calibration_method or "EXTREME",
            label_id_offset=0,
            calibration_data=data,
            calibration_label=label,
        )
    return config


def _method(text: str, scheme: str) -> str:
    """A calibration method as the scheme's cfg writes it; the other scheme's twin will do."""
    word = text.lower()
    if not word:
        return ""
    if scheme == "aqt2021":
        method = {"extrema": "EXTREME"}.get(word, word.upper())
        if method not in AQT_METHODS:
            hint = nearest(text, AQT_METHODS)
            raise UsageError(
                f"calibration method {text!r}, allowed {', '.join(AQT_METHODS)}{hint}",
                option="calibration_method",
            )
        return method
    method = {"extreme": "extrema"}.get(word, word)
    try:
        ACTED_ON["calibration_strategy_for_activation"](method)
    except BadValueError as error:
        raise UsageError(f"calibration method: {error}", option="calibration_method") from None
    return method


def _sibling_label(data: str) -> str:
    """The label.npy beside the calibration data: '' where only the data is there, or none."""
    if not data:
        return ""
    first = Path(data.split(",")[0].strip())
    label = first.with_name(LABEL_FILE)
    if not is_there(label) and (is_there(first) or "," in data or first.suffix == ".npz"):
        return ""
    return DEFAULT_LABEL if data == DEFAULT_DATA else str(label)


def _check_data(config: RunConfig, data: str) -> int | None:
    """The number of items in calibration data that is there; DataError where it does not fit."""
    parts = [data] if len(config.parser.input) == 1 else data.split(",")
    if not data or not all(is_there(part.strip()) for part in parts):
        return None
    arrays = load_datasets(data, expected_shapes(config.parser))
    return len(next(iter(arrays.values())))


def _optimizer(calibration_data: str, calibration_method: str) -> Optimizer:
    return Optimizer(
        {
            "dataset": "numpydataset",
            "calibration_data": calibration_data,
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
            inputs=tuple(inputs) or input_files(count),
            simulator="aipu_simulator_z1",
            outputs=outputs or "./output.bin",
        )
    else:
        builder = GBuilder(inputs=tuple(inputs), outputs=outputs or f"./{model_name}.r329")
    builder.profile = True
    return builder


def _layout(
    model_path: str | Path,
    names: ModelNames,
    chosen: Sequence[str],
    ends: Sequence[str],
    shapes: Sequence[Shape],
) -> str:
    """The layout of the inputs: guessed from their shapes, checked where they look like NHWC."""
    # tensors inside an ONNX model have their channels first
    own = [size for word, size in zip(chosen, shapes, strict=True) if word in names.inputs]
    layout = guess_layout(own)
    if layout == "NHWC":  # a few rows and columns of many channels look alike
        with suppress(R329Error):
            graph = load_model(model_path, list(chosen), list(ends), list(shapes))
            known = [graph.input_layouts.get(tensor, "") for tensor in graph.inputs]
            layout = next((found for found in known if found in ("NCHW", "NHWC")), layout)
    return layout


def guess_layout(shapes: Sequence[Shape]) -> str:
    """NCHW, unless the first four-dimensional shape has its channels last."""
    for shape in shapes:
        if len(shape) == 4:
            last = shape[3] in _CHANNELS and shape[1] not in _CHANNELS
            return "NHWC" if last else "NCHW"
    return "NCHW"


def _shapes(
    chosen: Sequence[str],
    names: ModelNames,
    given: str | Sequence[Sequence[int]] | Mapping[str, Sequence[int]],
) -> tuple[Shape, ...]:
    """The fixed shapes of the chosen inputs, from the model or from the user."""
    wanted = _given_shapes(chosen, names, given)
    shapes = []
    for name in chosen:
        dims, shape = names.inputs.get(name, ()), wanted.get(name)
        if shape is None:
            shapes.append(fixed_shape(name, dims))
            continue
        reason = shape_mismatch(shape, dims)
        if reason:
            raise CfgError(f"input shape of {name}: {reason}", key="input_shape")
        if any(size < 1 for size in shape):
            raise CfgError(
                f"input shape of {name}: found {list(shape)}, allowed: dimensions of at least 1",
                key="input_shape",
            )
        shapes.append(shape)
    return tuple(shapes)


def _given_shapes(
    chosen: Sequence[str],
    names: ModelNames,
    given: str | Sequence[Sequence[int]] | Mapping[str, Sequence[int]],
) -> dict[str, Shape]:
    """The shapes that the user gave, by tensor; CfgError for another number or name."""
    if not given:
        return {}
    if isinstance(given, Mapping):
        for name in given:
            if names.tensor(name) not in chosen:
                raise CfgError(
                    f"input shape for {name!r}, which is no input, allowed "
                    f"{', '.join(chosen)}{nearest(name, chosen)}",
                    key="input_shape",
                )
        return {names.tensor(name): tuple(shape) for name, shape in given.items()}
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
    return dict(zip(chosen, shapes, strict=True))
