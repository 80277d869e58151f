"""OpenCV with our limit of an image's pixels, which it reads from the environment once, on import.

Every other module takes cv2 from here. Where a program has imported cv2 itself before, OpenCV's own
limit (2^30 pixels) holds and `LIMITED` is false: headers are looked at (`declared_size.py`).

Any of OpenCV's packages does; two of them installed over each other, and what is left when one of
the two is removed, raise MachineError that says what to do.
"""

from __future__ import annotations

import os
import sys

from r329fast.base.limits import PIXELS
from r329fast.errors import MachineError

_VARIABLE = "OPENCV_IO_MAX_IMAGE_PIXELS"
_MEND = (
    "; its packages share one folder and break each other: pip uninstall -y opencv-python "
    "opencv-contrib-python opencv-python-headless, then pip install opencv-python-headless"
)
LIMITED = "cv2" not in sys.modules
_given = os.environ.get(_VARIABLE)
if _given is None:
    os.environ[_VARIABLE] = str(PIXELS.get() * 1_000_000)
try:
    import cv2 as cv2
except ImportError as error:
    # such as libGL, which opencv-python needs and the headless package does not
    raise MachineError(f"OpenCV (cv2) cannot be loaded: {error}{_MEND}") from error
finally:
    if _given is None:
        del os.environ[_VARIABLE]
if not hasattr(cv2, "imdecode"):  # a folder without its library still imports
    raise MachineError(f"OpenCV (cv2) has no content: only its folder is there{_MEND}")
