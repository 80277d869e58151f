"""Metrics: equal to sklearn and pycocotools on the same outputs, chunk by chunk, resumed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.evaluation_sets import RECIPE, image_zip, small_net, small_program
from support.metric_nets import BOX_CLASSES, MAP_CLASSES, detector, program_of, segmenter

from r329fast.errors import DataError, FileError, UsageError
from r329fast.evaluation import Metric, evaluate, measure
from r329fast.evaluation.metrics import METRICS, choose_metric
from r329fast.evaluation.metrics.boxes import decode_boxes
from r329fast.graph import load_model
from r329fast.graph.export.float_session import FloatSession
from r329fast.images.sets import ImageSet
from r329fast.simulator.simulator import Simulator

COUNT = 50
OPTIONS: dict[str, Any] = {"preprocess": RECIPE, "chunk": 16}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return image_zip(tmp_path_factory.mktemp("images") / "set.zip", COUNT)


def inputs(images: Path) -> np.ndarray:
    """The images of the set as the network takes them."""
    with ImageSet(images) as decoded:
        return np.stack([RECIPE.apply(image) for _, image in decoded])


def real_outputs(program, images: Path) -> np.ndarray:
    """What the program gives on the images of the set, as real numbers."""
    x = inputs(images)
    name = program.outputs[0]
    return program.tensors[name].dequantize(Simulator(program).run(program.quantize_input(x))[name])


def test_per_class_is_sklearns(images: Path, tmp_path: Path) -> None:
    from sklearn.metrics import balanced_accuracy_score, confusion_matrix

    program = small_program(tmp_path)
    found = evaluate(program, images, metric="per_class", **OPTIONS)
    figures = found.metrics[0]
    best = found.scores[0]["top"][:, 0]
    wanted = confusion_matrix(found.classes, best, labels=range(10))
    matrix = np.zeros((10, 10), dtype=np.int64)
    for row, column, count in figures["confusion"]:
        matrix[row, column] = count
    assert np.array_equal(matrix, wanted)
    expected = balanced_accuracy_score(found.classes, best)
    assert figures["mean_class_accuracy"] == pytest.approx(expected, rel=1e-12)
    assert found.as_json()["metrics"] == {found.variants[0].name: figures}


def test_the_float_network_is_measured_too(images: Path, tmp_path: Path) -> None:
    program = small_program(tmp_path)
    options = {**OPTIONS, "float_baseline": True, "float_model": small_net(tmp_path / "net.onnx")}
    found = evaluate(program, images, metric="per_class", **options)
    hits = (np.array([row[0] == row[1] for row in found.float_metric["confusion"]])) @ np.array(
        [row[2] for row in found.float_metric["confusion"]]
    )
    assert hits == round(found.float_accuracy.top1 * COUNT)


def margin(outputs: Mapping[str, np.ndarray], targets: Sequence[int]) -> np.ndarray:
    """A user's metric: the true class's value less the best one's."""
    (values,) = outputs.values()
    return values[np.arange(len(values)), list(targets)] - values.max(axis=1)


def test_a_function(images: Path, tmp_path: Path) -> None:
    program = small_program(tmp_path)
    found = evaluate(program, images, metric=margin, **OPTIONS)
    wanted = margin({"out": real_outputs(program, images)}, found.classes.tolist())
    assert found.metrics[0] == {
        "margin": pytest.approx(wanted.astype(np.float64).mean(), rel=1e-12)
    }


def test_a_function_by_name(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(
        "def first(outputs, targets):\n    return {'one': [1.0] * len(targets), 'two': targets}\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    found = evaluate(small_program(tmp_path), images, metric="mine:first", **OPTIONS)
    assert found.metrics[0] == {"one": 1.0, "two": pytest.approx(found.classes.mean())}


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("per_clas", r"found metric 'per_clas', allowed per_class, .*did you mean 'per_class'"),
        ("nowhere:f", "No module named 'nowhere'"),
        ("json:nothing", "nothing"),
        ("json:__name__", "found no function"),
        ("coco_map:yolov3", "found form 'yolov3', allowed yolov5"),
        ("miou", "needs targets"),
    ],
)
def test_metrics_that_are_refused(metric: str, message: str, images: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        evaluate(small_program(tmp_path), images, metric=metric, **OPTIONS)


def test_numbers_of_another_shape_are_refused(images: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="allowed a number for each of the 16 images"):
        evaluate(small_program(tmp_path), images, metric=lambda outputs, targets: 1.0, **OPTIONS)


def masks(folder: Path, palette: bool = False) -> dict[str, np.ndarray]:
    """Masks of twice the network's size, with places that do not count."""
    folder.mkdir()
    rng = np.random.default_rng(4)
    made = {}
    for index in range(COUNT):
        mask = rng.integers(0, MAP_CLASSES, (12, 16), dtype=np.uint8)
        mask[rng.random((12, 16)) < 0.1] = 255
        name = f"i{index:05d}"
        if palette:
            from PIL import Image

            image = Image.fromarray(mask, "L").convert("P")
            image.putpalette([value for n in range(256) for value in (n, 255 - n, n // 2)])
            image.putdata(mask.reshape(-1).tolist())
            image.save(folder / f"{name}.png")
        else:
            cv2.imwrite(str(folder / f"{name}.png"), mask)
        made[name] = mask
    return made


@pytest.mark.parametrize("palette", [False, True])
def test_miou_is_sklearns(palette: bool, images: Path, tmp_path: Path) -> None:
    from sklearn.metrics import jaccard_score

    program = program_of(segmenter(tmp_path / "net.onnx"))
    made = masks(tmp_path / "masks", palette)
    found = measure(program, images, tmp_path / "masks", "miou", **OPTIONS)
    maps = real_outputs(program, images)
    best = [
        np.stack([cv2.resize(plane, (16, 12)) for plane in np.moveaxis(one, -1, 0)]).argmax(axis=0)
        for one in maps.astype(np.float32)
    ]
    true, guess = np.stack(list(made.values())).reshape(-1), np.stack(best).reshape(-1)
    used = true != 255
    wanted = jaccard_score(true[used], guess[used], average=None, labels=range(MAP_CLASSES))
    (figures,) = found.figures.values()
    assert [figures["iou"][number] for number in range(MAP_CLASSES)] == pytest.approx(wanted)
    assert figures["mean_iou"] == pytest.approx(wanted.mean(), rel=1e-12)
    assert figures["pixel_accuracy"] == pytest.approx((true == guess)[used].mean(), rel=1e-12)


def test_masks_with_mistakes(images: Path, tmp_path: Path) -> None:
    program = program_of(segmenter(tmp_path / "net.onnx"))
    folder = tmp_path / "masks"
    masks(folder)
    (folder / "i00003.png").unlink()
    with pytest.raises(DataError, match=r"nothing for 1 of 50 images, such as i00003"):
        measure(program, images, folder, "miou", **OPTIONS)
    cv2.imwrite(str(folder / "i00003.png"), np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(DataError, match="found no mask"):
        measure(program, images, folder, "miou", **OPTIONS)
    with pytest.raises(FileError, match="no folder of masks"):
        measure(program, images, folder / "i00001.png", "miou", **OPTIONS)
    with pytest.raises(UsageError, match="takes class numbers"):
        measure(program, images, folder, "per_class", **OPTIONS)


def test_resume_and_shards(images: Path, tmp_path: Path) -> None:
    program = program_of(segmenter(tmp_path / "net.onnx"))
    masks(tmp_path / "masks")
    whole = measure(program, images, tmp_path / "masks", "miou", out=tmp_path / "out", **OPTIONS)
    again = measure(
        program, images, tmp_path / "masks", "miou", out=tmp_path / "out", resume=True, **OPTIONS
    )
    assert again.timing.images == 0
    assert again.figures == whole.figures
    record = json.loads((tmp_path / "out" / "measure.json").read_text(encoding="utf-8"))
    assert record["settings"].keys() == whole.figures.keys()


def annotations(path: Path) -> None:
    """Boxes near what the network finds, in images of twice the input's size."""
    rng = np.random.default_rng(5)
    table: dict[str, list[dict[str, Any]]] = {"images": [], "annotations": []}
    table["categories"] = [{"id": number * 10 + 1, "name": "x"} for number in range(BOX_CLASSES)]
    for index in range(COUNT):
        file = f"i{index:05d}.png"
        table["images"].append({"id": index + 7, "file_name": file, "width": 16, "height": 12})
        for _ in range(3):
            x, y, width, height = rng.uniform([2, 1, 5, 4], [6, 5, 8, 6])
            box = {"bbox": [x, y, width, height], "area": width * height, "iscrowd": 0}
            category = int(rng.integers(BOX_CLASSES)) * 10 + 1
            entry = {"id": len(table["annotations"]) + 1, "image_id": index + 7, **box}
            table["annotations"].append({**entry, "category_id": category})
    path.write_text(json.dumps(table), encoding="utf-8")


def test_coco_map_is_pycocotools(images: Path, tmp_path: Path) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    program = program_of(detector(tmp_path / "net.onnx"))
    annotations(tmp_path / "truth.json")
    found = measure(program, images, tmp_path / "truth.json", "coco_map:yolov8", **OPTIONS)
    rows = []
    for index, output in enumerate(real_outputs(program, images).astype(np.float64)):
        boxes, scores, classes = decode_boxes(output, "yolov8")
        keep = naive_suppression(boxes, scores, classes)
        for row in keep:
            x, y, width, height = boxes[row] * 2
            category = classes[row] * 10 + 1
            rows.append([index + 7, x, y, width, height, scores[row], category])
    truth = COCO(str(tmp_path / "truth.json"))
    run = COCOeval(truth, truth.loadRes(np.array(rows)), "bbox")
    run.evaluate()
    run.accumulate()
    run.summarize()
    (figures,) = found.figures.values()
    assert figures["boxes"] == len(rows)
    assert run.stats[1] > 0.01  # something is found
    names = ("map", "map50", "map75", "map_small")
    assert [figures[name] for name in names] == pytest.approx(run.stats[:4].tolist(), rel=1e-12)


def naive_suppression(boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray) -> list[int]:
    """Best first; out goes what overlaps a better box of its class by more than 0.65."""
    kept: list[int] = []
    for row in np.argsort(-scores, kind="stable"):
        if scores[row] > 0.001 and not any(
            classes[row] == classes[other] and overlap(boxes[row], boxes[other]) > 0.65
            for other in kept
        ):
            kept.append(int(row))
    return kept


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    sides = [
        max(0.0, min(a[axis] + a[axis + 2], b[axis] + b[axis + 2]) - max(a[axis], b[axis]))
        for axis in (0, 1)
    ]
    both = sides[0] * sides[1]
    return both / (a[2] * a[3] + b[2] * b[3] - both)


def test_forms_of_heads() -> None:
    rows = np.array([[10, 8, 4, 2, 0.5, 0.2, 0.8], [5, 5, 2, 2, 1.0, 0.9, 0.1]])
    boxes, scores, classes = decode_boxes(rows, "yolov5")
    assert boxes.tolist() == [[8, 7, 4, 2], [4, 4, 2, 2]]
    assert scores.tolist() == [0.4, 0.9]
    assert classes.tolist() == [1, 0]
    wide = np.concatenate([rows[:, :4], rows[:, 5:]], axis=1).repeat(5, 0)
    for table in (wide, wide.T[None]):
        assert decode_boxes(table, "yolov8")[2].tolist() == [1] * 5 + [0] * 5
    sides = np.array([[1, 2, 4, 6, 0.7, 2]])
    assert decode_boxes(sides, "boxes")[0].tolist() == [[1, 2, 3, 4]]
    with pytest.raises(UsageError, match="not of the form boxes"):
        decode_boxes(rows, "boxes")


@pytest.mark.parametrize("text", ["{}", "[]", '{"images": [{"id": "x"}]}', "3"])
def test_annotations_with_mistakes(text: str, images: Path, tmp_path: Path) -> None:
    program = program_of(detector(tmp_path / "net.onnx"))
    (tmp_path / "truth.json").write_text(text, encoding="utf-8")
    with pytest.raises(FileError, match="not COCO annotations"):
        measure(program, images, tmp_path / "truth.json", "coco_map", **OPTIONS)


@pytest.mark.parametrize("form", ["csv", "npy"])
def test_regression_is_sklearns(form: str, images: Path, tmp_path: Path) -> None:
    from sklearn.metrics import mean_absolute_error, root_mean_squared_error

    program = small_program(tmp_path)
    values = np.random.default_rng(6).normal(size=(COUNT, 10))
    path = tmp_path / f"truth.{form}"
    if form == "npy":
        np.save(path, values)
    else:
        rows = [",".join(map(repr, row)) for row in values.tolist()]
        lines = [f"i{index:05d}.png,{row}" for index, row in enumerate(rows)]
        path.write_text("file,a,b\n" + "\n".join(lines), encoding="utf-8")
    options = {**OPTIONS, "float_baseline": True, "float_model": small_net(tmp_path / "net.onnx")}
    found = measure(program, images, path, "regression", **options)
    outputs = real_outputs(program, images).reshape(COUNT, -1)
    (figures,) = found.figures.values()
    assert figures["mae"] == pytest.approx(mean_absolute_error(values, outputs), rel=1e-9)
    assert figures["rmse_per_value"] == pytest.approx(
        root_mean_squared_error(values, outputs, multioutput="raw_values"), rel=1e-9
    )
    x = inputs(images)
    (floats,) = FloatSession(load_model(tmp_path / "net.onnx")).run(x).values()
    expected = mean_absolute_error(values, floats.reshape(COUNT, -1))
    assert found.floats["mae"] == pytest.approx(expected, rel=1e-5)
    assert found.best in found.figures


def test_numbers_with_mistakes(images: Path, tmp_path: Path) -> None:
    program = small_program(tmp_path)
    path = tmp_path / "truth.csv"
    path.write_text("i00000.png,1\ni00001.png,x\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 2: found"):
        measure(program, images, path, "regression", **OPTIONS)
    path.write_text("".join(f"i{n:05d}.png,1\n" for n in range(COUNT)), encoding="utf-8")
    with pytest.raises(UsageError, match="found 1 values for each image, the network gives 10"):
        measure(program, images, path, "regression", **OPTIONS)
    np.save(tmp_path / "few.npy", np.zeros((3, 10)))
    with pytest.raises(DataError, match="a row of numbers for each of the 50 images"):
        measure(program, images, tmp_path / "few.npy", "regression", **OPTIONS)


def test_bundled_metrics_have_what_tables_need() -> None:
    for name in METRICS:
        metric = choose_metric(name)
        assert isinstance(metric, Metric)
        assert metric.name == name
        assert metric.headline
        assert metric.better in ("higher", "lower")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: 1, r"the function failed \(TypeError: .*it is called as f\(outputs, targets\)"),
        (lambda outputs, targets: 1 / 0, r"the function failed \(ZeroDivisionError"),
        (lambda outputs, targets: ["a"] * len(targets), "its result is no numbers"),
    ],
)
def test_a_function_that_fails(function: Any, message: str, images: Path, tmp_path: Path) -> None:
    with pytest.raises((UsageError, DataError), match=message):
        evaluate(small_program(tmp_path), images, metric=function, **OPTIONS)


def test_a_run_goes_on_with_the_same_metric_only(images: Path, tmp_path: Path) -> None:
    program, out = small_program(tmp_path), tmp_path / "out"
    for first, second in (("per_class", None), (None, "per_class")):
        evaluate(program, images, metric=first, out=out, overwrite=True, **OPTIONS)
        with pytest.raises(UsageError, match="made with another metric"):
            evaluate(program, images, metric=second, out=out, resume=True, **OPTIONS)
