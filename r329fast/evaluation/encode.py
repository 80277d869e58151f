"""From pixels to what the network takes: tables of 256 entries, so that nothing is rounded anew.

Normalisation and input quantisation work on one value at a time. For 8-bit pixels both are tables,
made by the very functions that work on whole images, and therefore give the same numbers.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from r329fast.errors import DataError, UsageError
from r329fast.images.opencv import cv2
from r329fast.images.preprocess import Preprocess
from r329fast.images.recipe import pixel_table
from r329fast.program.program import Program, TensorSpec


def _quantize(spec: TensorSpec, values: np.ndarray) -> np.ndarray:
    """Program.quantize_input for an input like `spec` with the shape of `values[0]`."""
    return _input_alone(spec, values).quantize_input(values)


def _saturates(spec: TensorSpec, values: np.ndarray) -> np.ndarray:
    """Where the quantised value lies outside the input's range before it is cut."""
    return _input_alone(spec, values).saturates_input(values)


def _input_alone(spec: TensorSpec, values: np.ndarray) -> Program:
    spec = replace(spec, shape=values.shape[1:])
    name = spec.name
    return Program("", "", {name: spec}, [], [], (name,), (name,))


class Normaliser:
    """Pixels to normalised float32, the network's channel order; floats pass through.

    recipe: None for arrays that are normalised already. reverse: swap the channels of the
    normalised image (`reverse_rgb` of a cfg).
    """

    def __init__(self, recipe: Preprocess | None, reverse: bool = False) -> None:
        self.reverse = reverse
        self.table: np.ndarray | None = None
        if recipe is not None:
            self.table = pixel_table(recipe)[None]

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """uint8 or float32 [N, height, width, channels] to float32."""
        if self.table is None:
            return images.astype(np.float32, copy=False)
        values = _look_up(images, self.table)
        return np.ascontiguousarray(values[..., ::-1]) if self.reverse else values


class Encoder:
    """Pixels (or normalised floats) to the integers of a program's input, saturation counted."""

    def __init__(self, spec: TensorSpec, normaliser: Normaliser) -> None:
        self.spec, self.reverse = spec, normaliser.reverse
        self.table: np.ndarray | None = None
        if normaliser.table is not None:
            from r329fast.kernels.pixels import encode_pixels, pixel_tables

            values = normaliser.table.reshape(1, 256, 1, 3)
            codes, cut = _quantize(spec, values), _saturates(spec, values)
            self.table = pixel_tables(codes.reshape(256, 3), cut.reshape(256, 3))
            self._pixels = int(np.prod(spec.shape[:2]))
            self._encode = encode_pixels

    def buffer(self, count: int, shape: tuple[int, ...]) -> np.ndarray:
        """Room for the integers of `count` images of `shape`; takes no memory until written."""
        return np.empty((count, *shape), dtype=self.spec.dtype)

    def feeds(self, stored: np.ndarray) -> np.ndarray | dict[str, np.ndarray]:
        """What such a buffer is to a simulator."""
        return stored

    def into(self, image: np.ndarray, out: np.ndarray) -> int:
        """Encode one [height, width, channels] into `out`; the number of saturated values."""
        if self.table is None:
            out[...] = _quantize(self.spec, image[None])[0]
            return int(_saturates(self.spec, image[None]).sum())
        if image.shape != out.shape:  # the kernel would not notice
            raise ValueError(f"image {image.shape} for an input {out.shape}")
        flat = out.reshape(-1).view(f"uint{8 * out.itemsize}")
        pixels = np.ascontiguousarray(image).reshape(-1)
        return int(self._encode(self._pixels, self.reverse, pixels, self.table, flat))


def _look_up(images: np.ndarray, table: np.ndarray) -> np.ndarray:
    """table [1, 256, 3] applied to uint8 [N, height, width, 3]."""
    count, height, width, channels = images.shape
    flat = np.ascontiguousarray(images).reshape(count * height, width, channels)
    return np.asarray(cv2.LUT(flat, table)).reshape(images.shape)


def check_input(shape: tuple[int, ...], program: Program, scored: bool = True) -> None:
    """Raise UsageError for a program that no image set fits, DataError where its items do not.

    scored: classes are counted, which takes one output.
    """
    if scored and len(program.outputs) != 1:
        raise UsageError(
            f"{program.name} has {len(program.outputs)} outputs ({', '.join(program.outputs)}), "
            "eval needs one (cut the graph with the cfg's output)"
        )
    if len(program.inputs) > 1:
        size = sum(program.tensors[name].elements for name in program.inputs)
        if tuple(shape) != (size,):
            raise DataError(
                f"{program.name} has the inputs {', '.join(program.inputs)}: give one .npy for "
                "each, separated by commas, or one .npz with arrays of these names"
            )
        return
    spec = program.tensors[program.inputs[0]]
    if tuple(shape) != spec.shape:
        raise DataError(
            f"the images are {' x '.join(map(str, shape))} (height, width, channels), input "
            f"{spec.name!r} needs {' x '.join(map(str, spec.shape))}"
        )
