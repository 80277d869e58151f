"""ONNX -> `Graph`: layers in vendor terms, NHWC, shapes known, constants folded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from r329fast.base.lazy import loader

if TYPE_CHECKING:
    from r329fast.graph.export.float_session import FloatSession
    from r329fast.graph.issues import Issue
    from r329fast.graph.load import check_model, load_model

__all__ = ["FloatSession", "Issue", "check_model", "load_model"]

# Importing a part must not import the whole.
__getattr__ = loader(
    __name__,
    {
        "FloatSession": "export.float_session",
        "Issue": "issues",
        "check_model": "load",
        "load_model": "load",
    },
)
