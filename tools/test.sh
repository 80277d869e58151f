#!/usr/bin/env bash
# Sets up .venv (made when it is missing) and runs the tests; arguments go to pytest.
#   PYTHON=python3.12 tools/test.sh              the Python that makes a missing .venv
#   PIP_CONSTRAINT=lowest.txt tools/test.sh      with the versions that a constraints file names
set -euo pipefail
cd "$(dirname "$0")/.."
export PIP_DISABLE_PIP_VERSION_CHECK=1

python="${PYTHON:-python3}"
if [ ! -x .venv/bin/python ]; then
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
        echo "error: $python is $("$python" -V 2>&1); Python 3.11 or newer is needed: set PYTHON" >&2
        exit 2
    }
    "$python" -m venv .venv
fi
.venv/bin/python -m pip install --quiet --editable '.[test]'
exec .venv/bin/python -m pytest "$@"
