"""A network that `tune` left: its weights aim at int8, so in float it gives something else."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from r329fast.base.reading import is_there, read_json
from r329fast.cfg import read_cfg
from r329fast.errors import R329Error

MODEL, RECORD = "tuned.onnx", "tune.json"


def was_tuned(network: str | Path) -> bool:
    """Whether a model file is what `tune` wrote, by its name and the record beside it."""
    path = Path(network)
    return path.name == MODEL and is_there(path.with_name(RECORD))


def float_warnings(network: str | Path) -> list[str]:
    """A line where the float outputs of `network` are not those that a user means."""
    if not was_tuned(network):
        return []
    return [
        f"{network} has been tuned: its weights aim at int8, so that its float outputs are not "
        "those of the network that it was made of; `eval RUN.cfg --images SET --float-model "
        f"{origin(network) or 'ORIGINAL.onnx'}` compares with that one"
    ]


def origin(network: str | Path) -> str:
    """The model file that a tuned network was made of, as its record has it; '' if unknown."""
    with suppress(R329Error, AttributeError):
        given = str(read_json(Path(network).with_name(RECORD)).get("model") or "")
        return model_file(given) if given else ""
    return ""


def model_file(given: str | Path) -> str:
    """The ONNX file of a command's model: itself, or what a cfg names."""
    if Path(given).suffix.lower() == ".onnx":
        return str(given)
    return read_cfg(given).parser.input_model
