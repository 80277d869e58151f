"""What tests of commands share."""

from __future__ import annotations

import pytest

from r329fast.cli import main as cli


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]):
    """Run a command: (exit code, stdout, stderr)."""

    def call(*argv: object) -> tuple[int, str, str]:
        code = cli.main([str(word) for word in argv])
        return code, *capsys.readouterr()

    return call
