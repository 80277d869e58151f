"""Any run's folder or record as what the page shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from r329fast.base.reading import faults_of, is_file, is_folder
from r329fast.errors import DataError, FileError, UsageError
from r329fast.report.evaluation_run import describe, evaluation_part, is_evaluation
from r329fast.report.outputs import PROFILE_FILE, read_json
from r329fast.report.settings import with_setting
from r329fast.report.vendor_folder import is_vendor_folder, vendor_record
from r329fast.vendor.aipu.load import is_aipu_file

RUN_FILE = "run.json"
Part = Callable[..., dict[str, Any]]  # evaluation_part of a folder, its sources given


def load_run(
    path: Path,
    image_set: Path | None = None,
    labels: str | Path | None = None,
    setting: str | None = None,
    classes: Mapping[int, str] | None = None,
) -> dict[str, Any]:
    """The record of a profile, `run` or `eval`: a folder that one of them wrote, or its JSON file.

    A folder with a profile.json is a profile's; a run.json beside it adds its evaluation. One
    with neither may hold what the vendor's tool left; an aipu.bin file stands for itself.
    image_set, labels: where the thumbnails of an evaluation come from, if not from where it ran.
    setting: the one of a sweep that is shown (by default that of the profile beside it, else the
    best). classes: names by class number. Raises FileError where there is neither, DataError for
    a file that is no record and UsageError for a setting that is not there.
    """
    with faults_of(path, "a run that can be shown"):
        part = partial(evaluation_part, image_set=image_set, labels=labels, classes=classes)
        record = _load(path, partial(part, setting=setting), setting)
        if setting is not None and "evaluation" not in record:
            raise UsageError(f"--setting: {path} is no evaluation", option="setting")
        return record


def _load(path: Path, part: Part, setting: str | None) -> dict[str, Any]:
    if is_folder(path):
        profile, run = path / PROFILE_FILE, path / RUN_FILE
        if is_file(profile):
            record = _profile(profile)
            if is_file(run) and is_evaluation(read_json(run)):
                record["evaluation"] = part(path, program_hash=record.get("hash"))
            return record
        if is_file(run):
            return _run(path, read_json(run), part, setting)
        if is_vendor_folder(path):
            return vendor_record(path)
        raise FileError(
            f"{path}: found neither {PROFILE_FILE} nor {RUN_FILE}, nor files of the vendor's tool "
            "(graph.json, max_min, a log, output.bin, aipu.bin)",
            path=str(path),
        )
    if is_aipu_file(path):
        return vendor_record(path)
    value = read_json(path)
    if value.get("kind") == "profile" or "layers" in value:
        return _profile(path)
    return _run(path.parent, value, part, setting)


def _profile(path: Path) -> dict[str, Any]:
    record = read_json(path)
    missing = [key for key in ("model", "layers", "totals") if key not in record]
    if missing:
        raise DataError(f"{path}: found no {', '.join(missing)}: not a profile", path=str(path))
    if record.get("version") != 1:
        raise DataError(
            f"{path}: found version {record.get('version')!r}, allowed 1", path=str(path)
        )
    rows = record["layers"]
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path}: found no list of layers: not a profile", path=str(path))
    return record


def _run(folder: Path, run: dict[str, Any], part: Part, setting: str | None) -> dict[str, Any]:
    """A run.json of `run` or `eval` in the record's form, without layers."""
    if not any(key in run for key in ("outputs", "top1", "model", "model_name")):
        raise DataError(f"{folder / RUN_FILE}: not a run of this program", path=str(folder))
    if is_evaluation(run):
        run = with_setting(run, setting)
    record: dict[str, Any] = {
        "kind": "run",
        "tool": f"r329fast {run.get('r329fast', '')}".strip(),
        "model": str(run.get("model_name") or run.get("model") or folder.name),
        "layers": [],
        "totals": {},
        "images": run.get("images") or 0,
        "facts": describe(run),
    }
    for key in ("scheme", "options"):
        if run.get(key):
            record[key] = run[key]
    if is_evaluation(run):
        record["evaluation"] = part(folder)
    return record
