"""How images are prepared for a network: as its calibration set was, or a warning says so."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from r329fast.cfg import RunConfig
from r329fast.errors import R329Error
from r329fast.images.preprocess import Preprocess
from r329fast.images.recipe import (
    KnownRecipe,
    differences,
    pixel_table,
    recipe_beside,
    recipe_of_text,
    recipe_text,
)
from r329fast.program.program import Program

OPTION = "preprocess"  # under which a program carries the recipe
# a range may be rounded by a step of 255; beyond it the calibration set had other values
_ROUNDING = 1.02
# share of saturated input values that a calibration of the same kind of images never reaches
MANY = 0.01


@dataclass(frozen=True)
class Known:
    """What is known of a network's recipe: None where nothing is. `of`: what it belongs to."""

    known: KnownRecipe | None = None
    of: str = "this network"
    warnings: list[str] = field(default_factory=list)

    @property
    def recipe(self) -> Preprocess | None:
        return self.known.recipe if self.known else None


def recipe_of_cfg(config: RunConfig) -> Known:
    """The recipe of the calibration data: of the file in its folder, else of the cfg's comment.

    With ready-made ranges, whose data may be another, the comment comes first.
    """
    data = config.calibration_data
    if config.optimizer is not None:
        ready = any(config.optimizer.range_files())
    else:
        ready = bool(config.quantization and config.quantization.ts_max_file)
    of = f"calibration data {data}" if data else "the cfg's ranges"
    warnings: list[str] = []
    beside = noted = None
    try:
        beside = recipe_beside(data) if data else None
    except R329Error as error:
        warnings.append(f"no recipe of the calibration images: {error.message}")
    try:
        noted = recipe_of_text(config.recipe, "the cfg's comment") if config.recipe else None
    except R329Error as error:
        warnings.append(error.message)
    if ready and noted:
        return Known(noted, of, warnings)
    if beside and noted and (found := differences(beside.recipe, noted.recipe)):
        warnings.append(
            f"{beside.source} is another recipe than the cfg's comment: {', '.join(found)}; the "
            "file counts, `r329fast cfg new` writes the comment anew"
        )
    return Known(beside or noted, of, warnings)


def recipe_of_program(program: Program) -> Known:
    """The recipe that a program carries since it was quantised."""
    of = f"program {program.name}"
    text = program.options.get(OPTION)
    if not text:
        return Known(None, of)
    try:
        return Known(recipe_of_text(text, "the program's recipe"), of)
    except R329Error as error:
        return Known(None, of, [error.message])


def carry(program: Program, known: Known) -> None:
    """Note the recipe in a program, so that its file has it; integers and hash stay."""
    if known.recipe is not None:
        program.options[OPTION] = recipe_text(known.recipe)


def chosen_recipe(
    known: Known,
    given: Preprocess | None,
    program: Program | None = None,
    size: tuple[int, int] | None = None,
) -> tuple[Preprocess, list[str]]:
    """(the recipe to use, warnings): the one given, else the known one, else the tutorial's.

    given: what the user asked for; otherwise the recipe has the size that the network takes, which
    is that of the program's input or `size` (width, height). The program's range is checked too.
    """
    warnings = list(known.warnings)
    if given is None:
        recipe = known.recipe or Preprocess()
        size = size or (_input_size(program) if program else None)
        if size is not None and recipe.size != size:
            recipe = recipe.with_size(*size)
        if known.recipe is None:
            warnings.append(
                f"no recipe is known for {known.of}: images are prepared as in the vendor's "
                "tutorial (stretched, RGB, ImageNet mean); give the right one with --preprocess, "
                "or make the calibration set with `r329fast dataset`, which notes it"
            )
    else:
        recipe = given
        if known.known and (found := differences(given, known.known.recipe)):
            warnings.append(
                f"images are prepared in another way than the calibration set "
                f"({known.known.source}): {', '.join(found)}; leave the options out, or make the "
                "calibration set anew with them"
            )
            return recipe, warnings
    return recipe, [*warnings, *(_beyond(recipe, program) if program else [])]


def _input_size(program: Program) -> tuple[int, int] | None:
    shape = program.tensors[program.inputs[0]].shape
    return (shape[1], shape[0]) if len(shape) == 3 else None


def _beyond(recipe: Preprocess, program: Program) -> list[str]:
    """A warning where calibration saw values that the recipe cannot make."""
    spec = program.tensors[program.inputs[0]]
    from r329fast.vendor.aipu.program import SCALES  # here, not above: it takes a while

    if program.options.get(SCALES) == "unknown":
        return []
    low, high = ((end + spec.zero_point) / spec.scale for end in (spec.qmin, spec.qmax))
    symmetric = spec.qmin < 0 and not spec.zero_point  # its lowest integer is never used
    limit = high if symmetric else max(-low, high)
    table = pixel_table(recipe)
    most = float(np.abs(table).max())
    if limit <= most * _ROUNDING:
        return []
    return [
        f"calibration saw input values up to {limit:.4g}, this recipe makes {table.min():.4g} to "
        f"{table.max():.4g}: the calibration set was prepared in another way; give its recipe "
        "with --preprocess"
    ]


def saturation_warning(share: float) -> list[str]:
    """A warning for a share (0 to 1) of saturated input values that spoils results."""
    if share <= MANY:
        return []
    return [
        f"{share:.1%} of the input values were saturated, beyond the calibrated range: calibrate "
        "with the extremes (method EXTREME or extrema), prepare images and calibration set with "
        "the same --preprocess, or calibrate on more images"
    ]
