"""Images and their mirror images, made where they are read."""

from __future__ import annotations

import numpy as np
import pytest

from r329fast.tuning.mirrors import WithMirrors, is_image, mirrored


@pytest.mark.parametrize(
    "part",
    [slice(0, 2), slice(3, 7), slice(5, 99), slice(9, 12), np.array([0, 6, 3, 8]), np.arange(9)],
    ids=str,
)
def test_as_if_all_were_there(part: slice | np.ndarray) -> None:
    x = np.random.default_rng(0).normal(size=(5, 3, 4, 3)).astype(np.float32)
    before, rows = x.copy(), np.array([0, 2, 3, 4])
    found, whole = WithMirrors(x, rows), np.concatenate([x, x[rows][:, :, ::-1]])
    assert len(found) == len(whole)
    np.testing.assert_array_equal(found[part], whole[part])
    np.testing.assert_array_equal(x, before)


def test_what_is_an_image() -> None:
    for shape, image in (((2, 3, 4, 3), True), ((2, 3, 4, 2), False), ((2, 3, 1, 3), False),
                         ((2, 9), False)):  # fmt: skip
        x = np.zeros(shape, np.float32)
        assert is_image(x) is image
        assert (mirrored(x) is not None) is image
