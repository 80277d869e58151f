"""What machine this is: figures are only worth something beside it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from contextlib import suppress
from pathlib import Path


def cores() -> int:
    """Cores that this process may use."""
    with suppress(AttributeError):  # not every system tells
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_model() -> str:
    """The CPU's model name, as the system tells it."""
    if sys.platform == "darwin":
        with suppress(OSError, subprocess.SubprocessError):
            words = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
            told = subprocess.run(words, capture_output=True, text=True, timeout=5, check=True)
            return told.stdout.strip()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        facts = {key.strip(): value.strip() for key, _, value in (x.partition(":") for x in lines)}
        if "model name" in facts:
            return facts["model name"]
        if "CPU part" in facts:  # of ARM
            made = f"implementer {facts.get('CPU implementer')} part {facts['CPU part']}"
            return f"{platform.machine()} {made}"
    return platform.processor() or platform.machine()
