"""Constraints that pin every dependency to the lowest version that pyproject.toml allows.

    python tools/lowest_versions.py > lowest.txt && PIP_CONSTRAINT=lowest.txt tools/test.sh

Read are the dependencies and the extras that the tests install. The tools of the extra `lint` stay
as they are: their findings differ from version to version.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = ("eval", "dask", "test")
_BOUNDED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*>=\s*([0-9][0-9a-z.]*)\s*(;.*)?")


def lowest(requirements: list[str], project: str) -> list[str]:
    """`name==version` per requirement; raises ValueError for one without a plain `>=` bound."""
    pins = []
    for requirement in requirements:
        if requirement.startswith(f"{project}["):
            continue  # an extra that names other extras of the same project
        match = _BOUNDED.fullmatch(requirement.strip())
        if match is None:
            raise ValueError(f"{requirement!r} in pyproject.toml: expected NAME>=VERSION")
        name, version, marker = match.groups()
        pins.append(f"{name}=={version}{marker or ''}")
    return pins


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pyproject", type=Path, default=ROOT / "pyproject.toml")
    path = parser.parse_args().pyproject
    project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    requirements = list(project["dependencies"])
    for extra in EXTRAS:
        requirements += project["optional-dependencies"][extra]
    print("\n".join(sorted(set(lowest(requirements, project["name"])))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
