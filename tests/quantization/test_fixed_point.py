"""Multiplier, shift, rounding and requantise against exact rationals."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from r329fast.quantization.fixed_point import (
    MAX_MULTIPLIER,
    approximate,
    approximate_8bit,
    requantize,
    round_shift,
    unify_shifts,
)

ROUNDINGS = ("half_even", "half_up", "floor")
accumulators = st.integers(-(2**31), 2**31 - 1)
multipliers = st.integers(0, MAX_MULTIPLIER)
shifts = st.integers(-31, 46)


def exact_round(value: Fraction, rounding: str) -> int:
    """The rule itself, on rationals."""
    if rounding == "half_even":
        return round(value)
    if rounding == "half_up":
        return math.floor(value + Fraction(1, 2))
    return math.floor(value)


@given(accumulators, multipliers, shifts, st.sampled_from(ROUNDINGS))
def test_requantize_is_the_exact_rational(acc: int, mult: int, shift: int, rounding: str) -> None:
    value = Fraction(acc * mult) / Fraction(2) ** shift
    for zero, low, high in ((0, -128, 127), (-37, 0, 255), (127, -127, 127)):
        expected = min(max(exact_round(value, rounding) - zero, low), high)
        found = requantize(np.array([acc]), mult, shift, zero, low, high, rounding)
        assert found[0] == expected


@given(st.integers(-(2**20), 2**20), st.integers(1, 40), st.sampled_from(ROUNDINGS))
def test_ties_and_their_neighbours(quotient: int, shift: int, rounding: str) -> None:
    tie = (2 * quotient + 1) << (shift - 1)
    for product in (tie - 1, tie, tie + 1):
        expected = exact_round(Fraction(product, 2**shift), rounding)
        assert round_shift(np.array([product]), shift, rounding)[0] == expected


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_saturation_at_both_ends(rounding: str) -> None:
    ends = np.array([-(2**31), 2**31 - 1])
    assert list(requantize(ends, 32767, 0, 0, -128, 127, rounding)) == [-128, 127]
    assert list(requantize(ends, 1, -31, 0, 0, 255, rounding)) == [0, 255]
    assert list(requantize(ends, 32767, 31, 0, -128, 127, rounding)) == [-128, 127]


def test_unknown_rounding_is_refused() -> None:
    with pytest.raises(ValueError, match="half_even, half_up, floor"):
        round_shift(np.array([1]), 1, "nearest")


@given(st.floats(2**-30, 2**20, width=32), st.integers(2, 15))
def test_approximate_is_close_and_in_range(ratio: float, bits: int) -> None:
    mult, shift = approximate(ratio, bits)
    m, n = int(mult[0]), int(shift[0])
    assert n <= 31
    if (m, n) == (1, 0):
        # A multiplier that would be exactly 2**n stands for 1.
        assert abs(Fraction(ratio) - 1) <= Fraction(1, 2**bits)
        return
    # At the largest M the float32 logarithm may round a ratio a hair up, so 2**bits can appear.
    assert m <= 2**bits
    error = abs(Fraction(m) / Fraction(2) ** n - Fraction(ratio))
    assert error <= Fraction(1, 2) / Fraction(2) ** n * (1 + Fraction(1, 1000))
    if n < 31:
        assert m >= 2 ** (bits - 1) - 1


def test_approximate_one_passes_values_unchanged() -> None:
    mult, shift = approximate(np.ones(5, dtype=np.float32))
    assert set(mult) == {1}
    assert set(shift) == {0}
    # One channel that is not exactly 1 makes the whole vector use real multipliers.
    mult, shift = approximate(np.array([1, 0.9], dtype=np.float32))
    assert list(mult) == [128, 230]
    assert list(shift) == [7, 8]


def test_force_shift_positive() -> None:
    mult, shift = approximate(1000.0, 8)
    assert shift[0] < 0
    mult, shift = approximate(1000.0, 8, force_shift_positive=True)
    assert (mult[0], shift[0]) == (255, 0)


@given(st.floats(1e-8, 254.0))
def test_eight_bit_approximation_takes_the_largest_shift(ratio: float) -> None:
    mult, shift = approximate_8bit(ratio)
    m, n = int(mult[0]), int(shift[0])
    if n == 31:
        assert m <= 255
        return
    assert 128 <= m <= 255
    assert m == round(Fraction(ratio) * Fraction(2) ** n)
    assert round(Fraction(ratio) * Fraction(2) ** (n + 1)) > 255


def test_known_means() -> None:
    """1/7 is 146 / 2**10 in a real binary (spec A, Mean)."""
    assert [int(v[0]) for v in approximate_8bit(1 / 7)] == [146, 10]


@given(st.lists(st.tuples(st.integers(128, 255), st.integers(-4, 31)), min_size=1, max_size=40))
def test_unified_shifts_fit_the_hardware(pairs: list[tuple[int, int]]) -> None:
    mult, shift = (np.array(column, dtype=np.int64) for column in zip(*pairs, strict=True))
    new_mult, new_shift = unify_shifts(mult, shift)
    assert new_mult.max() <= MAX_MULTIPLIER
    assert len(set(new_shift)) == 1
    common = int(new_shift[0])
    for m, n, unified in zip(mult, shift, new_mult, strict=True):
        exact = Fraction(int(m)) / Fraction(2) ** int(n) * Fraction(2) ** common
        assert unified == math.floor(exact)
