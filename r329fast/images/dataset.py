"""Calibration sets and raw input files: images to `dataset.npy`, `label.npy`, `input.bin`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import numpy.typing as npt

from r329fast.base.files import Writer, make_dir, npy_writer, write_all
from r329fast.base.npy import map_npy
from r329fast.errors import DataError
from r329fast.images.preprocess import Floats, Labels, Pixels, Preprocess
from r329fast.images.recipe import recipe_writer

if TYPE_CHECKING:
    from r329fast.images.sets import ImageSet


def raw_input(image: Pixels, size: tuple[int, int] = (224, 224)) -> npt.NDArray[np.int8]:
    """The input file of the vendor's tutorial: RGB, stretched, pixel - 127.5 cut towards zero.

    `image` is decoded BGR, uint8 [h, w, 3]; the result int8 [height, width, 3]. It is *not* on the
    input scale that calibration found: `Program.quantize_input` is.
    """
    pixels = Preprocess(size=size).fit(image)
    return (pixels - np.float32(127.5)).astype(np.int8)


def build_dataset(images: ImageSet, preprocess: Preprocess) -> tuple[Floats, Labels]:
    """A calibration set in memory: float32 [N, height, width, 3] and int64 [N]."""
    width, height = preprocess.size
    data = np.empty((len(images), height, width, 3), dtype=np.float32)
    for index, (_, image) in enumerate(images):
        data[index] = preprocess.apply(image)
    return data, images.labels


def write_dataset(
    out_dir: Path | str,
    images: ImageSet,
    preprocess: Preprocess,
    on_image: Callable[[Floats], object] | None = None,
) -> tuple[Path, Path]:
    """Write `dataset.npy`, `label.npy` and `preprocess.json`, all or none.

    One image is in memory at a time; `on_image` is called with each float32 [height, width, 3].
    Raises FileError where the folder cannot be written, DataError for an unreadable image and
    where another `preprocess.json` would be lost.
    """
    folder = Path(out_dir)
    noted = recipe_writer(folder, preprocess)
    make_dir(folder)
    targets = folder / "dataset.npy", folder / "label.npy"
    width, height = preprocess.size
    header = {
        "descr": "<f4",
        "fortran_order": False,
        "shape": (len(images), height, width, 3),
    }

    def write(stream: BinaryIO) -> None:
        np.lib.format.write_array_header_1_0(stream, header)
        for _, image in images:
            array = preprocess.apply(image)
            stream.write(array.astype("<f4", copy=False).tobytes())
            if on_image:
                on_image(array)

    files: list[tuple[Path, Writer]] = [
        (targets[0], write),
        (targets[1], npy_writer(images.labels)),
    ]
    write_all([*files, noted] if noted else files)
    return targets


def load_dataset(
    path: Path | str, expected_shape: Sequence[int] | None = None
) -> npt.NDArray[np.float32]:
    """Open a calibration set: float32 [N, H, W, C], mapped from the file and not copied.

    `expected_shape` is the network's input, channels last, with its batch (whose value is not
    compared); without it, four dimensions are asked for. Raises FileError for a file that is no
    plain .npy, DataError for another rank, dtype or size, channels first, NaN or infinity.
    """
    return checked_dataset(map_npy(path), path, expected_shape)


def checked_dataset(
    array: np.ndarray, path: Path | str, expected_shape: Sequence[int] | None = None
) -> npt.NDArray[np.float32]:
    """An array as `load_dataset` wants it; `path` names it in the DataError for any other."""
    rank = 4 if expected_shape is None else len(expected_shape)
    if array.ndim != rank:
        raise DataError(
            f"{path}: found {array.ndim} dimensions {list(array.shape)}, allowed {rank}"
            + (" (images, height, width, channels)" if rank == 4 else ""),
            path=str(path),
        )
    if array.dtype != np.float32:
        raise DataError(
            f"{path}: found dtype {array.dtype}, allowed float32 (array.astype('float32'))",
            path=str(path),
        )
    if not len(array):
        raise DataError(f"{path}: found no images, allowed: at least one", path=str(path))
    if not array.size:
        raise DataError(f"{path}: found {list(array.shape)}, images without pixels", path=str(path))
    _check_layout(path, array.shape, expected_shape)
    for index, item in enumerate(array):
        if not np.isfinite(item).all():
            kind = "NaN" if np.isnan(item).any() else "infinity"
            raise DataError(f"{path}: found {kind} in image {index}", path=str(path), image=index)
    return array


def _check_layout(
    path: Path | str, shape: tuple[int, ...], expected_shape: Sequence[int] | None
) -> None:
    """Tell channels first from a plain difference in size."""
    one = tuple(shape[1:])
    wanted = None if expected_shape is None else tuple(expected_shape[1:])
    if one == wanted:
        return
    if wanted is None:
        first = len(one) == 3 and one[0] in (1, 3) and one[2] not in (1, 3, 4)
    else:
        first = len(one) == 3 and one == (wanted[2], wanted[0], wanted[1])
    if first:
        raise DataError(
            f"{path}: found {list(shape)}, which is channels first (NCHW), allowed: channels last "
            f"(NHWC), array.transpose(0, 2, 3, 1)",
            path=str(path),
        )
    if wanted is not None:
        images = len(one) == len(wanted) == 3 and wanted[2] == one[2] == 3
        made = f" (`r329fast dataset IMAGES --size {wanted[1]}x{wanted[0]} --out DIR`)"
        raise DataError(
            f"{path}: found {list(shape)}, the network's input needs [N, "
            f"{', '.join(str(size) for size in wanted)}]{made if images else ''}",
            path=str(path),
        )


def load_labels(path: Path | str, count: int | None = None) -> Labels:
    """Read `label.npy`: int64 [N]. Raises DataError for another rank, dtype or count."""
    array = map_npy(path)
    if array.ndim != 1:
        raise DataError(f"{path}: found shape {list(array.shape)}, allowed [N]", path=str(path))
    if array.dtype.kind not in "iu":
        raise DataError(f"{path}: found dtype {array.dtype}, allowed int64", path=str(path))
    if count is not None and len(array) != count:
        raise DataError(
            f"{path}: found {len(array)} labels, the dataset has {count} images", path=str(path)
        )
    return np.asarray(array, dtype=np.int64)
