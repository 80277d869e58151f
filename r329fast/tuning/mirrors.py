"""Images and their mirror images: the same scenes with other roundings."""

from __future__ import annotations

import numpy as np

_COLOURS = (1, 3, 4)  # channels of an image


def is_image(x: np.ndarray) -> bool:
    """Whether x [N, ...] are images [N, H, W, C]."""
    return x.ndim == 4 and x.shape[3] in _COLOURS and x.shape[2] > 1


def mirrored(x: np.ndarray) -> np.ndarray | None:
    """Images [N, H, W, C], left and right exchanged; None for what is no image."""
    return np.ascontiguousarray(x[:, :, ::-1]) if is_image(x) else None


class WithMirrors:
    """Images x, float32 [N, H, W, C], and behind them the mirror images of `rows`, int64 [M].

    Parts are made when they are read: all at once would take twice the memory of the images.
    """

    def __init__(self, x: np.ndarray, rows: np.ndarray) -> None:
        self._x = x
        self._rows = np.concatenate([np.arange(len(x)), rows])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, part: slice | np.ndarray) -> np.ndarray:
        index = np.arange(len(self))[part]
        found: np.ndarray = self._x[self._rows[index]]
        turned = index >= len(self._x)
        found[turned] = found[turned][:, :, ::-1]
        return found


Images = np.ndarray | WithMirrors
