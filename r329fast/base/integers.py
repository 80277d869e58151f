"""The ends of int32, which is what the NPU accumulates in."""

from __future__ import annotations

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
