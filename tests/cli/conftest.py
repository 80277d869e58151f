"""What tests of commands share."""

from __future__ import annotations

import pytest
from support.advised import missing

from r329fast.cli import main as cli


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]):
    """Run a command: (exit code, stdout, stderr). What it advises must be an option of it."""

    def call(*argv: object) -> tuple[int, str, str]:
        words = [str(word) for word in argv]
        code = cli.main(words)
        out, err = capsys.readouterr()
        for command in (word for word in words[:2] if word in cli.COMMANDS):
            for line in err.splitlines():
                if line.startswith(("r329fast: warning:", "r329fast: error:")) and (
                    "unrecognized" not in line and "unknown" not in line
                ):
                    assert missing(line, (command,)) == set()
        return code, out, err

    return call
