"""The sections of a vendor cfg as dataclasses: their fields, in order, are the keys of the file.

The order is that of the 2021 run cfg for R329. A key marked `always` is written even when empty;
the others only where they differ from their default. Keys that the vendor's files hold and that
nothing here acts on stay in `extra`, so that a file read and written again loses nothing.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar

from r329fast.cfg.values import (
    BOOL,
    INTEGER,
    MODEL_TYPE,
    SHAPES,
    TEXT,
    WORDS,
    Shape,
    ValueKind,
    choice,
    choices,
)

DEFAULT_TARGET = "Z1_0701"
AQT_METHODS = ("MEAN", "EXTREME")  # calibration methods of the 2021 tool
OF_MODEL = ("input", "input_shape", "output")  # keys of [Parser] that the model can answer
MODEL_DOMAINS = (
    "image_classification",
    "object_detection",
    "image_segmentation",
    "keyword_spotting",
    "speech_recognition",
)


def _key(kind: ValueKind, default: Any, *, required: bool = False, always: bool = False) -> Any:
    return field(
        default=default, metadata={"kind": kind, "required": required, "always": always or required}
    )


@dataclass
class Section:
    """What all sections share: `extra` holds keys that have no field, as text."""

    TITLE: ClassVar[str]
    # harmless: they change no number, so nobody needs to hear of them
    INERT: ClassVar[frozenset[str]] = frozenset()
    # of consequence in the vendor's tool: worth a warning when set to anything but this value
    IGNORED: ClassVar[dict[str, str]] = {}
    OLD_NAMES: ClassVar[dict[str, str]] = {}

    extra: dict[str, str] = field(default_factory=dict, kw_only=True)

    @classmethod
    def typed_keys(cls) -> tuple[dataclasses.Field[Any], ...]:
        """The typed keys, in the order in which they are written."""
        return tuple(item for item in dataclasses.fields(cls) if "kind" in item.metadata)

    @classmethod
    def known(cls) -> tuple[str, ...]:
        """Every key name that is no typing mistake."""
        names = [item.name for item in cls.typed_keys()]
        return (*names, *sorted({*cls.INERT, *cls.IGNORED, *cls.OLD_NAMES}))

    def items(self) -> list[tuple[str, str]]:
        """The (key, text) pairs to write; nothing stands for the default, as when reading."""
        pairs = []
        for item in self.typed_keys():
            form = item.metadata["kind"].format
            # Compared as text: blanks alone are read back as nothing.
            text, default = form(getattr(self, item.name)).strip(), form(item.default)
            if item.metadata["always"] or (text and text != default):
                pairs.append((item.name, text or default))
        return pairs + list(self.extra.items())


@dataclass
class Common(Section):
    TITLE = "Common"
    INERT = frozenset({"use_aqt"})

    mode: str = _key(choice("run", "build"), "run", required=True)


@dataclass
class Parser(Section):
    """`input_shape` holds one shape for every name in `input`, in the layout of the model.

    `input`, `input_shape` and `output` may be empty: the model's own then serve
    (`model_names.completed`).
    """

    TITLE = "Parser"
    INERT = frozenset({"batch_size", "class_num", "image_width", "image_height"})
    IGNORED: ClassVar[dict[str, str]] = dict.fromkeys(
        (
            "area_shift", "caffe_prototxt", "feature_map", "firstbox_scale", "grid_compensate",
            "iou_threshold", "max_box_num", "nms_threshold", "obj_threshold", "score_threshold",
            "variance",
        ),
        "",
    )  # fmt: skip
    OLD_NAMES: ClassVar[dict[str, str]] = {
        "input_names": "input",
        "input_shapes": "input_shape",
        "output_names": "output",
    }

    model_type: str = _key(MODEL_TYPE, "onnx", always=True)
    input_data_format: str = _key(choice("NCHW", "NHWC"), "NCHW", always=True)
    model_name: str = _key(TEXT, "", required=True)
    detection_postprocess: str = _key(TEXT, "", always=True)
    model_domain: str = _key(TEXT, "image_classification", always=True)
    input_model: str = _key(TEXT, "", required=True)
    input: tuple[str, ...] = _key(WORDS, ())
    input_shape: tuple[Shape, ...] = _key(SHAPES, ())
    output: tuple[str, ...] = _key(WORDS, ())
    output_dir: str = _key(TEXT, "")


@dataclass
class Quantization(Section):
    """[AutoQuantizationTool] of the 2021 tool: scheme aqt2021."""

    TITLE = "AutoQuantizationTool"
    INERT = frozenset(
        {
            "batch_size", "dataset_name", "detection_postprocess", "eval_method", "metric",
            "metric_batch_size", "model_name", "output_dir",
        }
    )  # fmt: skip
    IGNORED: ClassVar[dict[str, str]] = {
        "anchor_generator": "",
        "calibration_batch_size": "1",
        "input_mean": "",
        "input_scale": "",
        "output_nodes": "",
        "quant_param": "",
        "quantize_batch_size": "1",
        "resize_degrade_to_nearest": "False",
        "special_anchor_mode": "",
        "weight_scale_optimize": "",
    }

    quantize_method: str = _key(choice("SYMMETRIC"), "SYMMETRIC", always=True)
    ops_per_channel: tuple[str, ...] = _key(
        choices("Convolution", "DepthwiseConv", "ConvTranspose", "FullyConnected"), (), always=True
    )
    reverse_rgb: bool = _key(BOOL, False, always=True)
    calibration_data: str = _key(TEXT, "")
    calibration_label: str = _key(TEXT, "")
    label_id_offset: int | None = _key(INTEGER, None, always=True)
    preprocess_mode: str = _key(choice("normalize", "mfcc"), "normalize", always=True)
    quant_precision: str = _key(choice("int8"), "int8", always=True)
    calibration_method: str = _key(choice(*AQT_METHODS), "MEAN")
    ts_max_file: str = _key(TEXT, "")
    ts_min_file: str = _key(TEXT, "")


@dataclass
class GBuilder(Section):
    """`inputs`: one file for every network input (mode run); `outputs`: the file to write."""

    TITLE = "GBuilder"
    INERT = frozenset({"dump", "png", "svg", "random-init"})
    IGNORED: ClassVar[dict[str, str]] = {"tiling": ""}

    inputs: tuple[str, ...] = _key(WORDS, ())
    simulator: str = _key(TEXT, "")
    outputs: str = _key(TEXT, "", required=True)
    profile: bool = _key(BOOL, False, always=True)
    target: str = _key(TEXT, DEFAULT_TARGET, always=True)
