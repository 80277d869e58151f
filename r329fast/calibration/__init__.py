"""Graph + dataset -> ranges."""

from r329fast.calibration.calibrate import calibrate
from r329fast.calibration.ranges import Ranges

__all__ = ["Ranges", "calibrate"]
