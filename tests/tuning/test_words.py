"""What is said of a step: what it gained, and what spoke against it."""

from __future__ import annotations

from typing import Any

import pytest

from r329fast.tuning.verdict import verdict_words


@pytest.mark.parametrize(
    ("record", "end"),
    [
        ({"accepted": True}, "choose it, kept"),
        ({"gain_db": 0.01}, "choose it, not kept"),
        ({"gain_chosen_db": -0.2}, "choose it, but -0.20 dB on the others, not kept"),
        ({"gain_chosen_db": 0.2}, "choose it, but agreement falls, not kept"),
        ({"gain_db": -1.0, "gain_chosen_db": 0.2}, "choose it, not kept"),
        ({"own_gain_db": 0.01}, "+0.0 dB in the tensor itself, not kept"),
        ({"judged_gain_db": -0.1}, "(-0.10 dB as it is judged), not kept"),
        (
            {"judged_gain_db": 0.3},
            "(+0.30 dB as it is judged), but agreement falls or the budget is over, not kept",
        ),
        (
            {"judged_gain_db": 0.3, "tie": True, "predicted_gain_db": -0.2},
            "a tie; the model of the noise says -0.20 dB, not kept",
        ),
        ({"judged_gain_db": 0.3, "tie": True, "predicted_gain_db": None}, "a tie, not kept"),
        (
            {"judged_gain_db": 0.3, "tie": True, "predicted_gain_db": 0.2},
            "says +0.20 dB, but agreement falls or the budget is over, not kept",
        ),
    ],
)
def test_what_is_said(record: dict[str, Any], end: str) -> None:
    plain = {"accepted": False, "gain_db": 1.0, "gain_chosen_db": 1.0}
    assert verdict_words({**plain, **record}).endswith(end)


def test_nothing_to_do() -> None:
    assert verdict_words({"accepted": False, "gain_db": None}) == "nothing to do"
