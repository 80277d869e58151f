"""Images to arrays: stores and labelled sets, decoding, preprocessing, calibration sets."""

from typing import TYPE_CHECKING

from r329fast.base.lazy import loader, moved
from r329fast.images.dataset import (
    build_dataset,
    load_dataset,
    load_labels,
    raw_input,
    write_dataset,
)
from r329fast.images.preprocess import Preprocess

if TYPE_CHECKING:
    from r329fast.images.sets import ImageSet, decode

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

__getattr__ = moved(
    __name__,
    dict.fromkeys(
        ("IMAGENET_MEAN", "IMAGENET_STD", "LARGEST_SIDE", "Floats", "Labels", "Pixels", "Triple"),
        "r329fast.images.preprocess",
    ),
    # with the readers of all forms, and OpenCV: a run on arrays needs none of them
    loader(__name__, {"ImageSet": "sets", "decode": "sets"}),
)
