"""ONNX -> `Graph`: layers in vendor terms, NHWC, shapes known, constants folded."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from r329fast.graph.float_run import FloatSession
    from r329fast.graph.issues import Issue
    from r329fast.graph.load import check_model, load_model

__all__ = ["FloatSession", "Issue", "check_model", "load_model"]


def __getattr__(name: str) -> object:
    """Load the public names on first use, so that importing a part does not import the whole."""
    homes = {
        "FloatSession": "float_run",
        "Issue": "issues",
        "check_model": "load",
        "load_model": "load",
    }
    if name not in homes:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{homes[name]}"), name)
