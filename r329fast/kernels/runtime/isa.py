"""The kernel path of this process: which dot-product instruction the register tile is made of.

Chosen once, at import, from the features that Numba compiles for (never from the host's: the
two differ under NUMBA_CPU_NAME, and code for a missing feature kills the process).
`R329FAST_ISA` forces a path; one that is not possible is a UsageError.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, replace
from typing import Any

import numba
from numba.core.registry import cpu_target

from r329fast.errors import R329Warning, UsageError, nearest
from r329fast.kernels.runtime.aarch64 import has_dotprod, tell_numba


@dataclass(frozen=True)
class Isa:
    """One dot-product step and the register tile built of it.

    lanes: int32 results of one vector; kgroup: products summed into each lane by one step
    (neighbours in K, which the weights are packed for);
    element: bytes of one packed operand; signed: packed activations are int8/int16 (else uint8);
    rows, vectors: the tile is rows x (vectors * lanes); needs: alternative sets of target features.
    """

    name: str
    lanes: int
    kgroup: int
    element: int
    signed: bool
    rows: int
    vectors: int
    needs: tuple[frozenset[str], ...]
    emulated: bool = False

    @property
    def family(self) -> str:
        """The path that a variant of its tile belongs to."""
        return self.name.removeprefix("emulated-").split("-")[0]

    @property
    def width(self) -> int:
        """Columns of a full tile (a narrow one has half of them)."""
        return self.lanes * self.vectors

    @property
    def slim(self) -> int:
        """Columns of a tile of vectors half as long, for the last outputs; 0: there is none."""
        return self.lanes // 2 if self.lanes == 16 else 0

    def possible(self, features: frozenset[str]) -> bool:
        """Whether a target with `features` can execute it."""
        return any(need <= features for need in self.needs)


def _all(*features: str) -> frozenset[str]:
    return frozenset(features)


_VNNI512 = Isa(
    "vnni512", 16, 4, 1, False, 14, 2, (_all("avx512f", "avx512bw", "avx512vl", "avx512vnni"),)
)
_AVXVNNI = Isa(
    "avxvnni", 8, 4, 1, False, 6, 2, (_all("avx2", "avxvnni"), _all("avx512vl", "avx512vnni"))
)
_NEON = Isa("neon", 4, 4, 1, True, 6, 4, (_all("dotprod"),))  # which implies Neon
# In order of preference.
ISAS = (
    _VNNI512,
    _AVXVNNI,
    Isa("avx512", 16, 2, 2, True, 14, 2, (_all("avx512f", "avx512bw"),)),
    Isa("avx2", 8, 2, 2, True, 6, 2, (_all("avx2"),)),
    _NEON,
    Isa("plain", 8, 2, 2, True, 4, 2, (_all(),)),
)
# The tile, packing and tails of a path whose instruction this machine lacks; only tests ask for it.
EMULATED = tuple(
    replace(isa, name=f"emulated-{isa.name}", needs=(_all(),), emulated=True)
    for isa in (_VNNI512, _AVXVNNI, _NEON)
)


def words(isa: Isa) -> Isa:
    """The same path multiplying pairs of int16: itself, or its byte tile's twin for 16 bits."""
    if isa.element == 2:
        return isa
    return replace(isa, name=f"{isa.name}-words", kgroup=2, element=2, signed=True)


def target_features() -> frozenset[str]:
    """Features that Numba compiles for, e.g. {"avx2", "fma", ...}."""
    tell_numba()
    listed = cpu_target.target_context.codegen().magic_tuple()[2].split(",")
    return frozenset(word[1:] for word in listed if word.startswith("+"))


def choose(features: frozenset[str], forced: str = "", jit: bool = True) -> Isa:
    """The best path for `features`, or the `forced` one; raises UsageError if impossible."""
    if not jit:
        return next(isa for isa in ISAS if isa.name == "plain")
    possible = [isa for isa in ISAS if isa.possible(features)]
    if not forced:
        return possible[0]
    for isa in (*possible, *EMULATED):
        if isa.name == forced:
            return isa
    names = [isa.name for isa in ISAS]
    missing = [sorted(isa.needs[0] - features) for isa in ISAS if isa.name == forced]
    why = f"this target lacks {', '.join(missing[0])}" if missing else "unknown path"
    raise UsageError(
        f"R329FAST_ISA={forced}: {why}; possible here: "
        f"{', '.join(isa.name for isa in possible)}{nearest(forced, names) if not missing else ''}",
        option="R329FAST_ISA",
    )


def _warn_of_lost_dotprod(isa: Isa) -> None:
    """Numba reads its target once: another library may have had it compile before."""
    if isa.name == "plain" and has_dotprod() and not _CONFIG.CPU_NAME:
        warnings.warn(
            "this processor has dot products, but Numba compiled something before r329fast was "
            "imported, so that kernels run on the slow path plain; import r329fast first",
            R329Warning,
            stacklevel=2,
        )


_CONFIG: Any = numba.config
JIT = not _CONFIG.DISABLE_JIT
_FORCED = os.environ.get("R329FAST_ISA", "")
ISA = choose(target_features() if JIT else frozenset(), _FORCED, JIT)
if JIT and not _FORCED:
    _warn_of_lost_dotprod(ISA)
# Whether the target permutes the bytes of whole vectors by one instruction.
PERMUTES_BYTES = JIT and "avx512vbmi" in target_features()
# What byte tiles multiply without a change: the dtype that a simulator keeps all tensors in.
STORED = "" if ISA.element > 1 else "int8" if ISA.signed else "uint8"
