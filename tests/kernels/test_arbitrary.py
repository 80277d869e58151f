"""What `verify` accepts runs: inside its buffers, and to the reference's integers.

`tools/arbitrary_programs.py` does the same for as many programs as one likes.
"""

from __future__ import annotations

import sys

import numpy as np
import pytest
from support import arbitrary_programs

from r329fast.kernels.runtime.isa import JIT
from r329fast.program.ops import OPS

pytestmark = pytest.mark.skipif(
    not JIT or not sys.platform.startswith("linux"), reason="needs mprotect and compiled kernels"
)
_PROGRAMS, _PARTS = 1000, 8  # about 600 of them are accepted


@pytest.mark.parametrize("part", range(_PARTS))
def test_what_verify_accepts_runs(part: int) -> None:
    accepted = 0
    for seed in range(part, _PROGRAMS, _PARTS):
        made_of, program = arbitrary_programs.arbitrary(seed)
        if arbitrary_programs.complaint(program) or not arbitrary_programs.affordable(program):
            continue
        accepted += 1
        wrong = arbitrary_programs.run(program, seed)
        assert not wrong, f"seed {seed}, {made_of}: {wrong}\n{program}"
    assert accepted > _PROGRAMS // _PARTS // 3  # a verify that refuses all would pass, too


@pytest.mark.parametrize("kind", OPS)
def test_every_kind_is_accepted_and_refused(kind: str) -> None:
    """Mutations of every registry case reach both sides of its rules."""
    found = set()
    for seed in range(100):
        rng = np.random.default_rng(seed)
        found.add(bool(arbitrary_programs.complaint(arbitrary_programs.mutated(rng, kind))))
        if len(found) == 2:
            return
    raise AssertionError(f"{kind}: all refused" if True in found else f"{kind}: all accepted")
