"""The old place of what is now in `r329fast.deploy.pipeline`; it goes with the next release."""

from r329fast.base.lazy import moved

_NAMES = (
    "Prepared",
    "calibration_ranges",
    "input_quantizer",
    "layer_tops",
    "load_config",
    "load_graph",
    "narrow_outputs",
    "prepare",
    "program_of",
    "read_input",
    "with_per_channel",
)

__getattr__ = moved(
    __name__,
    {
        **dict.fromkeys(_NAMES, "r329fast.deploy.pipeline"),
        "is_program": "r329fast.vendor.aipu.load",
        "Progress": "r329fast.base.arguments",
        "options_of": "r329fast.deploy.pipeline:cfg_options",
    },
)
