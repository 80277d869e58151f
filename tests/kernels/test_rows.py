"""Rows of dense layers: few positions of any length, bands of whole images and of parts."""

from __future__ import annotations

import numpy as np
import pytest
from support import kernel_cases
from support.kernel_cases_check import check, check_parts


@pytest.mark.parametrize("positions", [(1, 4), (2, 4), (3, 5), (4, 4), (7, 7)])
@pytest.mark.parametrize(("inputs", "outs"), [(516, 70), (640, 24), (40, 56), (5, 32)])
def test_few_positions_of_any_length(positions: tuple[int, int], inputs: int, outs: int) -> None:
    """By groups of rows or by tiles, whichever makes fewer positions, at both sides of a long K."""
    rng = np.random.default_rng(inputs + positions[1])
    for act in ("RELU", "CLIP"):
        program = kernel_cases.convolution(rng, (*positions, inputs), outs, (1, 1), chosen=act)
        program.ops[0].attrs["rounding"] = "half_even"
        check(program, kernel_cases.feeds(rng, program, 1))
        check_parts(program, kernel_cases.feeds(rng, program, 3))


@pytest.mark.parametrize("shape", [(49, 10, 1), (9, 7, 3), (6, 5, 2)])
@pytest.mark.parametrize("at", [(0, 1 / 3, 2 / 3, 1), (0, 0.1, 0.15, 1), (0, 0.5, 0.9, 1)])
def test_bands_of_whole_images_and_parts(
    shape: tuple[int, int, int], at: tuple[float, ...]
) -> None:
    """Padding above and below is written once where image after image fills the same rows."""
    rng = np.random.default_rng(shape[0])
    kernel = (min(shape[0], 10), 4)
    pads = (4, 1, 5, 1)
    program = kernel_cases.convolution(
        rng, shape, 64, kernel, (2, 2), pads=pads, chosen="RELU", dtype="uint8"
    )
    program.ops[0].attrs |= {"rounding": "half_even", "pad_value": 77}
    check_parts(program, kernel_cases.feeds(rng, program, 3), at)
    check(program, kernel_cases.feeds(rng, program, 3))
