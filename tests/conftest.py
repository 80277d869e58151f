"""What several test files share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("R329FAST_MEASURED", "0")  # the choices of kernels that tests expect
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of third-party models, images and vectors; the test skips where it is missing.

    With R329FAST_REQUIRE_SHARED=1 (CI) a missing folder is a failure, so that nothing skips there.
    """
    path = Path(os.environ.get("R329FAST_SHARED", ROOT.parent / "shared"))
    if not path.is_dir():
        reason = f"no shared folder at {path} (set R329FAST_SHARED)"
        if os.environ.get("R329FAST_REQUIRE_SHARED") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return path
