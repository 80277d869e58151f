"""The image set and the float network that travel inside the package.

Files: ``val.zip`` (500 images), ``calib.zip`` (100 images), ``classes.txt``, ``net.onnx``,
``preprocess.json`` and ``README.md``, which describes them.  They are ordinary files beside this
module, so a path is enough to open them.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path


def path(name: str) -> Path:
    """The file ``name`` of the bundled data; FileNotFoundError if there is no such file."""
    found = Path(str(resources.files(__name__).joinpath(name)))
    if not found.is_file():
        raise FileNotFoundError(f"no bundled file {name!r}")
    return found
