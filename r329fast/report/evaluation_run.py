"""An evaluation's folder (`eval --out`) as a part of a report: figures and its worst images."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from r329fast.base.limits import TENSOR
from r329fast.base.reading import check_size, faults_of, is_file, is_there, open_regular, read_text
from r329fast.base.sheets import from_cell
from r329fast.errors import R329Error
from r329fast.evaluation.files import results_stem
from r329fast.report.outputs import read_json
from r329fast.report.settings import all_settings, setting_names, settings_table, with_setting

WORST = 24
_THUMBNAIL = 128  # pixels of the longer side
_QUALITY = 80
_ACCURACY = (
    *("images", "top1", "float_top1", "top5", "float_top5", "agreement"),
    *("lost", "gained", "mcnemar_p"),
    *("saturated_values", "saturated_images", "tied_images", "top1_shared"),
)
_SHARES = (
    ("top1", "top-1 int8"),
    ("top5", "top-5 int8"),
    ("float_top1", "top-1 float"),
    ("float_top5", "top-5 float"),
    ("agreement", "agrees with float"),
)


def is_evaluation(run: Mapping[str, Any]) -> bool:
    """Whether a run.json is an evaluation's."""
    return "top1" in run and "images" in run


def evaluation_part(
    folder: Path,
    image_set: Path | None = None,
    labels: str | Path | None = None,
    worst: int = WORST,
    setting: str | None = None,
    program_hash: str | None = None,
    classes: Mapping[int, str] | None = None,
) -> dict[str, Any]:
    """{"setting", "figures": [(title, text)], "accuracy", "worst": [{name, text, thumbnail}],
    "settings", "top1_by_setting"}; "accuracy" has the figures as numbers.

    Figures and worst images are those of one setting: `setting`, else the one that made the program
    with `program_hash`, else the best. "settings" is the table of all (`settings_table`).
    classes: names by class number, for the texts of the images. Thumbnails come from `image_set`,
    or from the run's "image_set" where it still can be opened.
    Raises FileError for a folder without a run.json, UsageError for an unknown setting.
    """
    run = read_json(folder / "run.json")
    with faults_of(folder, "a folder of an evaluation"):
        shown = with_setting(run, setting, program_hash)
        return _part(shown, folder, image_set, labels, worst, classes or {})


def _part(
    run: Mapping[str, Any],
    folder: Path,
    image_set: Path | None,
    labels: str | Path | None,
    worst: int,
    classes: Mapping[int, str],
) -> dict[str, Any]:
    figures = [
        (title, f"{run[key]:.2%}") for key, title in _SHARES if isinstance(run.get(key), float)
    ]
    if run.get("images") is not None:
        figures.append(("images evaluated", f"{run['images']:,}"))
    place = image_set or run.get("image_set")
    label_file = labels if image_set is not None else run.get("label_file")
    rows = worst_images(folder, worst, run["name"] if len(setting_names(run)) > 1 else None)
    pictures = _thumbnails(place, label_file, [row["file"] for row in rows])
    shown = [
        {
            "name": Path(row["file"]).name,
            "text": _text(row, classes),
            "thumbnail": pictures.get(row["file"], ""),
        }
        for row in rows
    ]
    return {
        "setting": run["name"],
        "figures": figures,
        "accuracy": _numbers(run),
        "worst": shown,
        "settings": settings_table(run),
        "top1_by_setting": [
            [str(row.get("name") or ""), row.get("top1")] for row in all_settings(run)
        ],
    }


def _numbers(run: Mapping[str, Any]) -> dict[str, Any]:
    """What the sentences about accuracy need, as numbers."""
    found = {key: run[key] for key in _ACCURACY if isinstance(run.get(key), (int, float))}
    skipped = run.get("skipped")
    return {**found, "skipped": len(skipped) if isinstance(skipped, list) else 0}


def worst_images(
    folder: Path, count: int = WORST, setting: str | None = None
) -> list[dict[str, Any]]:
    """Rows of the images that lose most: those that float has right and int8 ranks lowest.

    setting: of a sweep, which has a table for each. Empty where the run has no table of results
    that can be read here.
    """
    found = _rows(folder, "results" if setting is None else results_stem(setting))
    rows = [row for row in found if row.get("status", "ok") == "ok" and row.get("rank")]
    lost = [row for row in rows if _number(row.get("float_rank"), 1) == 1]
    lost = [row for row in lost if _number(row["rank"], 0) > 1]
    lost.sort(key=lambda row: -_number(row["rank"], 0))
    return lost[:count]


def _text(row: Mapping[str, Any], classes: Mapping[int, str]) -> str:
    def named(value: Any) -> str:
        name = classes.get(_number(value, -1), "").split(",")[0]
        return f"{value} {name}".strip()

    words = f"class {named(row['label'])}, int8 gives {named(row['top1'])}"
    words += f" (true class has rank {row['rank']})"
    floats = row.get("float_top1")
    return words if floats in (None, "") else f"{words}, float gives {named(floats)}"


def _number(value: Any, other: int) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        return other


def _rows(folder: Path, stem: str) -> list[dict[str, Any]]:
    """The table of that name as .csv, or as .parquet where pyarrow is installed; newer first."""
    tables = [folder / f"{stem}{ending}" for ending in (".csv", ".parquet")]
    # a folder that was evaluated twice may hold both
    tables = sorted(filter(is_file, tables), key=lambda path: -path.stat().st_mtime_ns)
    for table in tables:
        if table.suffix == ".csv":
            with faults_of(table, "a table of results"):
                found = list(csv.DictReader(io.StringIO(read_text(table), newline="")))
                return [{**row, "file": from_cell(row["file"])} for row in found]
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError:
            continue
        return _parquet_rows(table)
    return []


def _parquet_rows(table: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    open_regular(table).close()
    with faults_of(table, "a table of results"):
        columns = [name for name in pq.read_schema(table).names if name != "logits"]
        about = pq.read_metadata(table)
        size = sum(about.row_group(group).total_byte_size for group in range(about.num_row_groups))
        check_size(table, size, TENSOR)
        rows: list[dict[str, Any]] = pq.read_table(table, columns=columns).to_pylist()
        return rows


def _thumbnails(
    place: str | Path | None, labels: str | Path | None, files: list[str]
) -> dict[str, str]:
    """File -> data URI of a small JPEG, for those that can still be read."""
    if not files or place is None or not is_there(place):
        return {}
    from r329fast.images.class_folders import Naming
    from r329fast.images.opencv import cv2
    from r329fast.images.sets import ImageSet

    found = {}
    try:
        with ImageSet(Path(place), labels, naming=Naming(needed=False)) as images:
            where = {name: index for index, name in enumerate(images.names)}
            for file in files:
                if file not in where:
                    continue
                image = images.image(where[file])
                scale = _THUMBNAIL / max(image.shape[:2])
                width, height = (max(round(side * min(scale, 1)), 1) for side in image.shape[1::-1])
                small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
                done, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
                if done:
                    text = base64.b64encode(data.tobytes()).decode()
                    found[file] = f"data:image/jpeg;base64,{text}"
    except R329Error:
        return found
    return found


def describe(run: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(title, value, status) from the run.json of an evaluation or of another run."""
    rows: list[tuple[str, str, str]] = []
    for key, title in (("images_per_second", "images per second"), ("seconds", "seconds")):
        value = run.get(key)
        if isinstance(value, Mapping):
            value = value.get("all")
        if isinstance(value, (int, float)):
            rows.append((title, f"{value:.4g}", "measured"))
    for key in ("macs", "weight_bytes"):
        if isinstance(run.get(key), int):
            rows.append((key, f"{run[key]:,}", "exact"))
    for name, scale in (run.get("output_scale") or {}).items():
        rows.append((f"output_scale of {name}", f"{scale:.7g}", "exact"))
    for key in ("backend", "threads", "calibration_method", "mode"):
        if run.get(key) is not None:
            rows.append((key, json.dumps(run[key]).strip('"'), "exact"))
    return rows
