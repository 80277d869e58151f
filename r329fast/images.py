"""Images to arrays: decoding, preprocessing, calibration sets, the raw input file.

The defaults are the recipe of the article that the vendor's examples use. They reproduce its
`dataset.npy` and `input.bin` value for value.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
import numpy.typing as npt

from r329fast.errors import DataError, FileError, nearest
from r329fast.files import make_dir, write_atomic, write_npy
from r329fast.image_sets import ImageSet, decode

__all__ = [
    "ImageSet",
    "Preprocess",
    "build_dataset",
    "decode",
    "load_dataset",
    "load_labels",
    "raw_input",
    "write_dataset",
]

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Triple = tuple[float, float, float]

# what np.load raises for a damaged file, one with absurd dimensions, or none of its own
DAMAGED_NPY = (OSError, ValueError, EOFError, TypeError, OverflowError)
# the first bytes of a zip, which a .npz is
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
# in pixels
LARGEST_SIDE = 32768
IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocess:
    """From a decoded image to what the network sees: (x / scale - sub) / div per channel.

    `size` is (width, height). `resize` is `stretch` (both sides to `size`) or `crop` (the shorter
    side to `shorter`, or just enough to cover `size`, then the centre). `interpolation` is
    `linear`, or `area` (area when shrinking, linear when enlarging); by default linear when
    stretching and area when cropping. An image that has exactly `size` is used as it is.
    `sub` and `div` go with the channels in the given `order`. Raises DataError for values that
    do not go together.
    """

    size: tuple[int, int] = (224, 224)
    order: str = "RGB"
    sub: Triple = IMAGENET_MEAN
    div: Triple = IMAGENET_STD
    scale: float = 255.0
    resize: str = "stretch"
    shorter: int | None = None
    interpolation: str = ""

    def __post_init__(self) -> None:
        for name, allowed in (
            ("order", ("RGB", "BGR")),
            ("resize", ("stretch", "crop")),
            ("interpolation", ("linear", "area", "")),
        ):
            value = getattr(self, name)
            if value not in allowed:
                words = ", ".join(word for word in allowed if word)
                raise DataError(
                    f"preprocess {name}: found {value!r}, allowed {words}"
                    f"{nearest(str(value), allowed)}"
                )
        if len(self.size) != 2 or not all(_is_side(side) for side in self.size):
            raise DataError(
                f"preprocess size: found {_short(self.size)}, allowed: width and height from 1 to "
                f"{LARGEST_SIDE}"
            )
        if self.shorter is not None and not (
            _is_side(self.shorter) and self.shorter >= max(self.size)
        ):
            raise DataError(
                f"preprocess shorter side: found {_short(self.shorter)}, allowed: from the larger "
                f"side of size {self.size} to {LARGEST_SIDE}"
            )
        for name in ("sub", "div"):
            if len(getattr(self, name)) != 3:
                raise DataError(f"preprocess {name}: found {getattr(self, name)}, allowed 3 values")
        if 0 in self.div or self.scale == 0:
            raise DataError("preprocess div, scale: found 0, allowed: anything else")
        for name in ("sub", "div", "scale"):
            value = getattr(self, name)
            if not all(_is_finite(number) for number in np.ravel(np.array(value, dtype=object))):
                raise DataError(
                    f"preprocess {name}: found {_short(value)}, allowed: finite float32 numbers"
                )
        with np.errstate(all="ignore"):
            ends = self._normalised(np.array([[0.0] * 3, [255.0] * 3], dtype=np.float32))
        if not np.isfinite(ends).all():
            raise DataError(
                f"preprocess sub, div, scale: found {self.sub}, {self.div}, {self.scale}, which "
                "make pixels beyond float32, allowed: values that do not"
            )

    @classmethod
    def from_json(cls, path: Path | str, model: str = "") -> Preprocess:
        """Read one object, or the one named `model` from an object of such objects.

        Keys: `size` (a number or [width, height]), `order`, `sub`, `div`, `scale` (1 where
        absent: `sub` and `div` are then in pixel values), `interpolation` (`area` where absent),
        `shorter`, and `resize`: a mode, the length of the shorter side before cropping, or null
        for stretch. Raises FileError and DataError.
        """
        return cls._from_mapping(_select(path, model), str(path))

    @classmethod
    def _from_mapping(cls, values: Mapping[str, Any], where: str) -> Preprocess:
        known = ("size", "order", "sub", "div", "scale", "resize", "shorter", "interpolation")
        # words that describe a recipe and change nothing
        notes = ("formula", "classes", "text", "model")
        for key in values:
            if key not in (*known, *notes):
                raise DataError(f"{where}: unknown key {key!r}{nearest(key, known)}")
        try:
            size, resize = values["size"], values.get("resize")
            shorter = values.get("shorter")
            if isinstance(resize, int):
                resize, shorter = "crop", resize
            return cls(
                size=(size, size) if isinstance(size, int) else tuple(size),
                order=values.get("order", "RGB"),
                sub=tuple(float(value) for value in values["sub"]),  # type: ignore[arg-type]
                div=tuple(float(value) for value in values["div"]),  # type: ignore[arg-type]
                scale=float(values.get("scale", 1.0)),
                resize=resize or "stretch",
                shorter=shorter,
                interpolation=values.get("interpolation", "area"),
            )
        except KeyError as error:
            raise DataError(f"{where}: key {error} is missing") from error
        except (TypeError, ValueError, OverflowError) as error:
            raise DataError(f"{where}: a value has the wrong form ({error})") from error
        except DataError as error:
            raise DataError(f"{where}: {error.message}") from error

    def as_json(self) -> dict[str, object]:
        """The object that `from_json` reads back to the same recipe."""
        return {
            "size": list(self.size),
            "order": self.order,
            "scale": self.scale,
            "sub": list(self.sub),
            "div": list(self.div),
            "resize": self.resize,
            "shorter": self.shorter,
            "interpolation": self._interpolation(),
        }

    def with_size(self, width: int, height: int) -> Preprocess:
        """The same recipe for another size; a shorter side that is given grows in proportion."""
        shorter = self.shorter
        if shorter is not None:
            shorter = max(width, height, round(shorter * max(width, height) / max(self.size)))
        return replace(self, size=(width, height), shorter=shorter)

    def _interpolation(self) -> str:
        return self.interpolation or ("area" if self.resize == "crop" else "linear")

    def fit(self, image: Pixels) -> Pixels:
        """Resize and crop a decoded BGR image; uint8 [height, width, 3] in `order`."""
        height, width = image.shape[:2]
        if (width, height) != self.size:
            image = self._crop(image) if self.resize == "crop" else self._resized(image, self.size)
        # a turned view would be slow to read, value by value
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)) if self.order == "RGB" else image

    def _resized(self, image: Pixels, size: tuple[int, int]) -> Pixels:
        height, width = image.shape[:2]
        if (width, height) == size:
            return image
        shrinks = size[0] <= width and size[1] <= height
        area = shrinks and self._interpolation() == "area"
        method = cv2.INTER_AREA if area else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(image, size, interpolation=method), dtype=np.uint8)

    def _crop(self, image: Pixels) -> Pixels:
        height, width = image.shape[:2]
        if self.shorter is not None:
            ratio = self.shorter / min(width, height)
        else:
            ratio = max(self.size[0] / width, self.size[1] / height)
        # never below the size itself, whatever the rounding
        wide = max(round(width * ratio), self.size[0])
        high = max(round(height * ratio), self.size[1])
        image = self._resized(image, (wide, high))
        left, top = (wide - self.size[0]) // 2, (high - self.size[1]) // 2
        return image[top : top + self.size[1], left : left + self.size[0]]

    def apply(self, image: Pixels) -> Floats:
        """A decoded BGR image, uint8 [h, w, 3], to float32 [height, width, 3].

        Every operation is rounded to float32, in this order: that is what the stored calibration
        sets were made with, and other orders differ in the last bit.
        """
        return self._normalised(self.fit(image).astype(np.float32))

    def _normalised(self, pixels: Floats) -> Floats:
        if self.scale != 1.0:
            pixels /= np.float32(self.scale)
        pixels -= np.asarray(self.sub, dtype=np.float32)
        pixels /= np.asarray(self.div, dtype=np.float32)
        return pixels


def _is_side(value: object) -> bool:
    return isinstance(value, Integral) and 1 <= int(value) <= LARGEST_SIDE


def _is_finite(value: float) -> bool:
    try:
        with np.errstate(over="ignore"):
            return bool(np.isfinite(np.float32(value)))
    except OverflowError:
        return False


def _short(value: object) -> str:
    """A value for a message, cut where it is absurdly long."""
    try:
        text = str(value)
    except ValueError:  # beyond Python's own limit of digits
        text = "a number with thousands of digits"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _select(path: Path | str, model: str) -> Mapping[str, Any]:
    """The recipe in a JSON file, by model name where it holds several."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror}", path=str(path)) from error
    except (ValueError, RecursionError) as error:
        raise FileError(f"cannot read {path}: not JSON ({error})", path=str(path)) from error
    if not isinstance(content, dict) or not content:
        raise DataError(f"{path}: found no object, allowed: an object with size, sub, div")
    if not all(isinstance(value, dict) for value in content.values()):
        return content
    if not model:
        raise DataError(
            f"{path} holds the recipes of {len(content)} models, choose one of "
            f"{', '.join(sorted(content))}"
        )
    if model not in content:
        raise DataError(
            f"{path}: no recipe for {model!r}, it has {', '.join(sorted(content))}"
            f"{nearest(model, content)}"
        )
    return dict(content[model])


def raw_input(image: Pixels, size: tuple[int, int] = (224, 224)) -> npt.NDArray[np.int8]:
    """The article's input file: RGB, stretched, pixel - 127.5 cut towards zero.

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
    """Write `dataset.npy` and `label.npy`, both or none, one image in memory at a time.

    `on_image` is called with each float32 [height, width, 3]. Raises FileError where the folder
    cannot be written, DataError for an unreadable image.
    """
    folder = make_dir(Path(out_dir))
    targets = folder / "dataset.npy", folder / "label.npy"
    for target in targets:
        if target.is_dir():
            raise FileError(f"cannot write {target}: it is a folder", path=str(target))
    parts = folder / ".dataset.npy.part", folder / ".label.npy.part"
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

    try:
        write_atomic(parts[0], write)
        write_npy(parts[1], images.labels)
        for part, target in zip(parts, targets, strict=True):
            os.replace(part, target)
    except OSError as error:
        raise FileError(f"cannot write to {folder}: {error.strerror}", path=str(folder)) from error
    finally:
        for part in parts:
            part.unlink(missing_ok=True)
    return targets


def load_dataset(
    path: Path | str, expected_shape: Sequence[int] | None = None
) -> npt.NDArray[np.float32]:
    """Open a calibration set: float32 [N, H, W, C], mapped from the file and not copied.

    `expected_shape` is the network's input, channels last, with its batch (whose value is not
    compared); without it, four dimensions are asked for. Raises FileError for a file that is no
    plain .npy, DataError for another rank, dtype or size, channels first, NaN or infinity.
    """
    array = _open_npy(path)
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
        raise DataError(
            f"{path}: found {list(shape)}, the network's input needs [N, "
            f"{', '.join(str(size) for size in wanted)}]",
            path=str(path),
        )


def load_labels(path: Path | str, count: int | None = None) -> Labels:
    """Read `label.npy`: int64 [N]. Raises DataError for another rank, dtype or count."""
    array = _open_npy(path)
    if array.ndim != 1:
        raise DataError(f"{path}: found shape {list(array.shape)}, allowed [N]", path=str(path))
    if array.dtype.kind not in "iu":
        raise DataError(f"{path}: found dtype {array.dtype}, allowed int64", path=str(path))
    if count is not None and len(array) != count:
        raise DataError(
            f"{path}: found {len(array)} labels, the dataset has {count} images", path=str(path)
        )
    return np.asarray(array, dtype=np.int64)


def _open_npy(path: Path | str) -> np.ndarray:
    try:
        with open(path, "rb") as stream:
            archive = stream.read(4) in _ZIP
        if archive:
            raise FileError(f"cannot read {path}: a .npz, allowed one .npy array", path=str(path))
        # absurd dimensions overflow; the error that follows says it
        with np.errstate(all="ignore"):
            array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise FileError(f"file not found: {path}", path=str(path)) from error
    except DAMAGED_NPY as error:
        raise FileError(f"cannot read {path}: not a whole .npy array", path=str(path)) from error
    return np.asanyarray(array)
