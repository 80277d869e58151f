"""Watches the reference's int64 arithmetic: a product that leaves 62 bits is an error, not a wrap.

Beyond that size the reference would be no definition: it wraps, and kernels that wrap in the same
way would still equal it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from r329fast.program.program import Op, TensorSpec
from r329fast.quantization import fixed_point
from r329fast.reference import compute, movement, normalise, reduce, standardize, windows

_MODULES = (compute, movement, normalise, reduce, standardize, windows)
_LIMIT = float(1 << 62)
_finish, _requantize = compute.finish, fixed_point.requantize


def check_product(what: str, *factors: Any) -> None:
    """float64 never wraps, and is right to 15 digits."""
    product = np.ones(1)
    for factor in factors:
        product = product * np.asarray(factor).astype(np.float64)
    most = float(np.abs(product).max(initial=0))
    if most > _LIMIT * (1 + 1e-12):
        raise OverflowError(f"{what} reach {most:.4g}, past 62 bits")


def _checked_finish(op: Op, accumulator: np.ndarray, output: TensorSpec) -> np.ndarray:
    check_product("accumulators", accumulator)
    if op.attrs.get("act") == "CLIP":
        check_product("products", accumulator, op.consts["mult"])
    if op.attrs.get("act") == "LEAKY":
        check_product("slopes", np.minimum(accumulator, 0), op.consts["slope"])
    return _finish(op, accumulator, output)


def _checked_requantize(accumulator: Any, mult: Any, *rest: Any, **named: Any) -> Any:
    check_product("products", accumulator, mult)
    return _requantize(accumulator, mult, *rest, **named)


@contextmanager
def exact_steps() -> Iterator[None]:
    """While it lasts, the reference raises OverflowError where it would be no definition."""
    with pytest.MonkeyPatch.context() as patch:
        for module in _MODULES:
            for name, checked in (("finish", _checked_finish), ("requantize", _checked_requantize)):
                if hasattr(module, name):
                    patch.setattr(module, name, checked)
        yield
