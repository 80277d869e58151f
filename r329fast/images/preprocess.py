"""Preprocessing: how a decoded image becomes the array that a network takes.

The defaults are the recipe of the vendor's tutorial. They reproduce its
`dataset.npy` and `input.bin` value for value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from r329fast.base.reading import read_json
from r329fast.errors import DataError, nearest

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Triple = tuple[float, float, float]

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
        return cls.from_values(_select(path, model), str(path))

    @classmethod
    def from_values(cls, values: Mapping[str, Any], where: str) -> Preprocess:
        """One recipe in the form of `from_json`; `where` names its source. Raises DataError."""
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
        if self.order != "RGB":
            return image
        from r329fast.images.opencv import cv2  # here, not above: it takes a while

        # a turned view would be slow to read, value by value
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))

    def _resized(self, image: Pixels, size: tuple[int, int]) -> Pixels:
        height, width = image.shape[:2]
        if (width, height) == size:
            return image
        from r329fast.images.opencv import cv2

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
    content = read_json(path)
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
