"""Every kernel gives the integers of the reference, on the path of this process.

R329FAST_ISA forces another path; NUMBA_DISABLE_JIT=1 with -k small runs the un-jitted twins.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import kernel_cases, kernel_cases_words
from support.kernel_cases_check import check

from r329fast.bench.cases import make_case
from r329fast.kernels import REGISTRY, warm_up, warmup
from r329fast.kernels.runtime.isa import JIT
from r329fast.kernels.runtime.kernel import KERNELS
from r329fast.kernels.runtime.team import run_pieces
from r329fast.program.ops import OPS
from r329fast.program.program import Program
from r329fast.simulator.simulator import Simulator


def test_registry_covers_the_spec() -> None:
    assert set(REGISTRY) == set(OPS) == set(kernel_cases.CASES)


@pytest.mark.parametrize("kind", kernel_cases.CASES)
def test_kernel_equals_reference(kind: str) -> None:
    for seed in range(60):
        rng = np.random.default_rng([seed, len(kind)])
        program = kernel_cases.CASES[kind](rng)
        check(program, kernel_cases.feeds(rng, program, int(rng.integers(1, 4))))


@pytest.mark.parametrize("kind", kernel_cases_words.KINDS)
def test_kernel_of_16_bits_equals_reference(kind: str) -> None:
    for seed in range(60):
        rng = np.random.default_rng([seed, len(kind), 16])
        program = kernel_cases_words.widened(rng, kind)
        check(program, kernel_cases.feeds(rng, program, int(rng.integers(1, 4))))


@pytest.mark.skipif(not JIT, reason="nothing is compiled")
def test_warmup_compiles_every_kernel() -> None:
    told = []
    assert warmup(lambda name, seconds: told.append(name)) > 0
    assert told == [kernel.__name__ for kernel in KERNELS]
    assert all(kernel.ready for kernel in KERNELS)
    (signature,) = run_pieces.signatures
    case = make_case("resnet18_v2", 64)
    Simulator(case.program, threads=2).run(case.program.quantize_input(case.images(1)))
    assert run_pieces.signatures == [signature]  # threads that share an image compile nothing more


class _Broken(ProcessPoolExecutor):
    """Processes that die before they do anything."""

    def submit(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        raise BrokenProcessPool("a process ended abruptly")


@pytest.mark.skipif(not JIT, reason="nothing is compiled")
@pytest.mark.parametrize("pool", [ProcessPoolExecutor, _Broken])
def test_warmup_beside_other_processes(
    monkeypatch: pytest.MonkeyPatch, pool: type[ProcessPoolExecutor]
) -> None:
    monkeypatch.setattr(warm_up, "_LOADED", -1.0)  # as where the cache is empty
    monkeypatch.setattr(warm_up, "ProcessPoolExecutor", pool)
    told: list[str] = []
    assert warmup(lambda name, seconds: told.append(name), processes=2) > 0
    assert told == [kernel.__name__ for kernel in KERNELS]
    assert all(kernel.ready for kernel in KERNELS)


@pytest.mark.parametrize("kind", kernel_cases.CASES)
def test_small(kind: str) -> None:
    rng = np.random.default_rng(11)
    program = kernel_cases.CASES[kind](rng)
    check(program, kernel_cases.feeds(rng, program, 1))


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[Program, np.random.Generator]:
    """conv2d over tails in every direction; hypothesis shrinks the geometry, numpy fills it."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kernel = (draw(st.integers(1, 5)), draw(st.integers(1, 5)))
    dilation = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    group = draw(st.sampled_from([1, 1, 1, 2, 5]))
    shape = (
        (kernel[0] - 1) * dilation[0] + draw(st.integers(1, 9)),
        (kernel[1] - 1) * dilation[1] + draw(st.integers(1, 9)),
        group * draw(st.integers(1, 70)),
    )
    program = kernel_cases.convolution(
        rng,
        shape,
        group * draw(st.integers(1, 70)),
        kernel,
        (draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        dilation,
        (
            *(draw(st.integers(0, 6)) for _ in range(2)),
            *(draw(st.integers(0, 6)) for _ in range(2)),
        ),
        group,
        draw(st.sampled_from(kernel_cases.ACTS)),
        wide=draw(st.integers(0, 9)) == 0,
    )
    return program, rng


@settings(max_examples=60, deadline=None)
@given(convolutions(), st.integers(1, 3))
def test_any_convolution(case: tuple[Program, np.random.Generator], count: int) -> None:
    program, rng = case
    check(program, kernel_cases.feeds(rng, program, count))


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("inner", [1, 3, 639, 640, 641, 1280, 1283, 4608])
def test_every_cut_of_k(dtype: str, inner: int) -> None:
    """Lengths of K around the tile's chunks, with extreme weights and activations."""
    rng = np.random.default_rng(inner)
    program = kernel_cases.convolution(rng, (1, 5, inner), 37, (1, 1), dtype=dtype)
    program.ops[0].consts["weights"][...] = -128
    check(program, kernel_cases.feeds(rng, program, 3))


def test_accumulators_past_int32_take_the_wide_path() -> None:
    rng = np.random.default_rng(0)
    program = kernel_cases.convolution(rng, (1, 2, 1200), 3, (1, 1), wide=True, dtype="uint8")
    program.ops[0].consts["weights"][...] = -32768
    assert check(program, kernel_cases.feeds(rng, program, 2)) == "int64-conv"


def test_padding_outside_the_dtype_takes_the_wide_path() -> None:
    rng = np.random.default_rng(0)
    program = kernel_cases.convolution(rng, (4, 4, 5), 3, (3, 3), pads=(1, 1, 1, 1), dtype="int8")
    program.ops[0].consts["pad_values"] = np.array([0, 300, -1000, 5, 6], dtype=np.int32)
    assert check(program, kernel_cases.feeds(rng, program, 2)) == "int64-conv"
