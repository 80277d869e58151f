"""The word that a wrong word was meant to be."""

from __future__ import annotations

import pytest

from r329fast.errors import nearest


@pytest.mark.parametrize(
    ("word", "allowed", "found"),
    [
        ("resnet20", ["resnet50", "resnet20_cifar"], "resnet20_cifar"),
        ("mobilenet_v3", ["mobilenet_v3_small", "mobilenet_v3_large_x", "other"],
         "mobilenet_v3_small"),
        ("imgs", ["images", "limit"], "images"),
        ("ab", ["abcdef", "xab"], "xab"),  # too little to say what was begun
        ("half_evn", ["half_even", "half_up"], "half_even"),
        ("extreme", ["MEAN", "EXTREME"], "EXTREME"),
    ],
)  # fmt: skip
def test_the_closest_word(word: str, allowed: list[str], found: str) -> None:
    assert nearest(word, iter(allowed)) == f", did you mean {found!r}?"


def test_none() -> None:
    assert nearest("quite", ["different"]) == ""
