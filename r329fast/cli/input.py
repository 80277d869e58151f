"""`r329fast input`: an input file from one image."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from r329fast.cli.options.preprocess import add_preprocess, asked_for, given
from r329fast.cli.options.targets import file_to_write
from r329fast.cli.output import Console

if TYPE_CHECKING:
    import numpy as np

NAME = "input"
HELP = "an input file (input.bin) from one image"
_WHY = """Write one image as the raw bytes that the simulator takes, height x width x channels.

There are two recipes, and they give different numbers:
  default     what the vendor's tutorial and most users do: RGB, stretched, pixel - 127.5,
              cut to int8. It knows nothing of the calibration.
  --cfg FILE  what the network expects: the image is normalised as the calibration
              set was, then quantised at the input scale that calibration found,
              127 / max|dataset| for an int8 input, 255 / max for a uint8 one
              (a set whose values never go below 0).
The tutorial's bytes work for an int8 input because they are roughly proportional to the
right ones, but their scale is off; use --cfg where the numbers matter."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = _WHY
    parser.add_argument("image", metavar="IMAGE", type=Path)
    parser.add_argument(
        "--out", metavar="FILE", type=file_to_write, required=True, help="such as input.bin"
    )
    parser.add_argument(
        "--cfg", metavar="RUN.cfg", type=Path, help="quantise for the network of this cfg"
    )
    add_preprocess(parser)


def execute(args: argparse.Namespace, out: Console) -> int:
    # imported late: cv2 takes its time
    from r329fast.base.files import write_bytes
    from r329fast.errors import UsageError
    from r329fast.images.dataset import raw_input
    from r329fast.images.sets import decode

    if args.cfg is None:
        extra = [name for name in given(args) if name != "--size"]
        if extra:
            raise UsageError(f"{', '.join(extra)}: only with --cfg, the raw recipe is fixed")
        width, height = args.size or (224, 224)
        array: np.ndarray = raw_input(decode(args.image), (width, height))
        recipe = "raw"
    else:
        array, recipe = _quantized(args, out), "calibrated"
    write_bytes(args.out, array.tobytes())
    low, high = int(array.min()), int(array.max())
    shape = list(array.shape)
    out.print(f"{args.out}: {array.dtype} {shape}, {recipe}, values {low} to {high}")
    out.result(
        {
            "file": str(args.out),
            "shape": shape,
            "dtype": str(array.dtype),
            "recipe": recipe,
            "min": low,
            "max": high,
        }
    )
    return 0


def _quantized(args: argparse.Namespace, out: Console) -> np.ndarray:
    """The image as the network of a cfg wants it: integers [height, width, channels]."""
    from r329fast.cfg import completed, nhwc_shape, read_cfg
    from r329fast.deploy.pipeline import input_program
    from r329fast.deploy.recipe import chosen_recipe, recipe_of_cfg, saturation_warning
    from r329fast.errors import CfgError
    from r329fast.images.sets import decode

    config = completed(read_cfg(args.cfg))
    parser = config.parser
    shape = nhwc_shape(parser.input_shape[0], parser.input_data_format)
    if len(parser.input_shape) != 1 or len(shape) != 4 or shape[3] != 3:
        raise CfgError(
            f"{args.cfg}: [Parser] input_shape: found {[list(s) for s in parser.input_shape]}, "
            "allowed for an image: one input with 3 channels",
            key="input_shape",
        )
    known = recipe_of_cfg(config)
    wanted = asked_for(args, (shape[2], shape[1]), known.recipe)
    program = input_program(args.cfg)
    recipe, warnings = chosen_recipe(known, wanted, program)
    image = recipe.apply(decode(args.image))[None]
    cut = float(program.saturates_input(image).mean())
    for line in [*warnings, *saturation_warning(cut)]:
        out.warn(line)
    return program.quantize_input(image)[0]
