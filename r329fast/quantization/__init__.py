"""Graph + ranges + scheme -> program.

Names are loaded on first use: kernels need the arithmetic of this room alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from r329fast.base.lazy import loader, names

if TYPE_CHECKING:
    from r329fast.quantization.options import SCHEMES, Options
    from r329fast.quantization.quantizing import quantize

_HOMES = {"SCHEMES": "options", "Options": "options", "quantize": "quantizing"}

__all__ = ["SCHEMES", "Options", "quantize"]

__getattr__ = loader(__name__, _HOMES)
__dir__ = names(__all__)
