"""What is said of words that are mistyped the way people do."""

from __future__ import annotations

import pytest

from r329fast.cli.main import main
from r329fast.deploy import bundled


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("tune run.cfg --ouy x", "required: --out; --ouy is no option, did you mean '--out'?"),
        ("eval run.cfg --image=x", "--image is no option, did you mean '--images'?"),
        ("aipu insepct aipu.bin", "did you mean 'inspect'?"),
        ("tune run.cfg --out x --scheme aqt201", "did you mean 'aqt2021'?"),
        ("eval run.cfg", "required: --images (see"),
        ("profile NET --no-time --method extreme", "did you mean 'EXTREME'?"),
        ("profile NET --no-time --scheme compass42 --method extrem", "did you mean 'extrema'?"),
        ("eval NET --images CALIB --method extreme", "did you mean 'EXTREME'?"),
    ],
)
def test_the_word_that_was_meant_is_named(
    words: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    named = {"NET": str(bundled.path("net.onnx")), "CALIB": str(bundled.path("calib.zip"))}
    assert main([named.get(word, word) for word in words.split()]) == 2
    assert text in capsys.readouterr().err
