"""OpenCV with our limit of an image's pixels, which it reads from the environment once, on import.

Every other module takes cv2 from here. A program that has imported cv2 itself before keeps
OpenCV's own limit (2^30 pixels).
"""

from __future__ import annotations

import os

from r329fast.base.limits import PIXELS

_VARIABLE = "OPENCV_IO_MAX_IMAGE_PIXELS"
_given = os.environ.get(_VARIABLE)
if _given is None:
    os.environ[_VARIABLE] = str(PIXELS.get() * 1_000_000)
try:
    import cv2 as cv2
finally:
    if _given is None:
        del os.environ[_VARIABLE]
