"""Every reader of files that somebody else made: its sound files, how they are bent, its call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuzz import bases, image_sets, leavings, mutators
from fuzz.commands import commands


@dataclass(frozen=True)
class Target:
    """name; the file's name, which some readers look at; what builds, bends and reads it."""

    name: str
    file: str
    base: Callable[[Path], list[bytes]]
    bend: Callable[[bytes, mutators.Rng], bytes]
    read: Callable[[Path], Any]


def _model(path: Path) -> None:
    from r329fast.cfg.new import new_cfg
    from r329fast.errors import R329Error
    from r329fast.graph import load_model

    try:
        new_cfg(path)
    except R329Error as error:
        _expected(error)
    load_model(path)


def _network(path: Path) -> None:
    """On to the integers, for networks of a size that takes no time."""
    import numpy as np

    from r329fast.calibration import calibrate
    from r329fast.graph import load_model
    from r329fast.quantization import quantize
    from r329fast.simulator.simulator import Simulator

    graph = load_model(path)
    sizes = [np.prod(shape, dtype=np.float64) for shape in graph.shapes.values()]
    weights = [array.size for layer in graph for array in layer.consts.values()]
    if sum(sizes) > 1e6 or sum(weights) > 1e6 or len(graph.inputs) != 1:
        return
    shape = graph.shapes[graph.inputs[0]]
    images = np.random.default_rng(1).standard_normal((2, *shape)).astype(np.float32)
    for scheme in ("aqt2021", "compass42"):
        program = quantize(graph, calibrate(graph, images, scheme), scheme)
        Simulator(program, "reference").run(program.quantize_input(images[:1]))


def _expected(error: Any) -> None:
    """A first reader's error, where a second reads on."""
    if error.exit_code not in (2, 3):
        raise error


def _npy(path: Path) -> None:
    from r329fast.comparison.result_files import read_tensors
    from r329fast.errors import R329Error
    from r329fast.images.dataset import load_dataset, load_labels

    for read in (load_dataset, load_labels, lambda path: read_tensors(path.parent)):
        try:
            read(path)
        except R329Error as error:
            _expected(error)


def _npz(path: Path) -> None:
    from r329fast.comparison.dumps import read_dump

    read_dump(path)


def _max_min(path: Path) -> None:
    from r329fast.calibration.ranges import Ranges

    Ranges.load_max_min(path, path)


def _program(path: Path) -> None:
    from r329fast.program.storage import load_program

    program = load_program(path)
    _figures(program)


def _figures(program: Any) -> None:
    """What commands tell of a program without running it."""
    from r329fast.program.counters import layer_counters
    from r329fast.vendor import graph_json, vendor_log

    layer_counters(program)
    graph_json(program)
    vendor_log(program, "file")
    str(program)


def _aipu(path: Path) -> None:
    from r329fast.vendor.aipu.program import load_program_of

    load_program_of(path)


def _image(path: Path) -> None:
    from r329fast.images import Preprocess, decode

    Preprocess(size=(8, 6)).apply(decode(path))


def _archive(path: Path) -> None:
    from r329fast.images import ImageSet

    with ImageSet(path) as images:
        list(images)


def _labels(path: Path) -> None:
    from r329fast.images import ImageSet

    for name in ("a.png", "b b.jpg", "\N{DIAERESIS}.png"):
        (path.parent / name).touch()
    ImageSet(path.parent, path)


def _sheet(path: Path) -> None:
    from r329fast.images import ImageSet
    from r329fast.images.class_folders import Naming

    for name in ("a.png", "b.jpg"):
        (path.parent / name).touch()
    ImageSet(path.parent, path, naming=Naming({"n00000001": 0, "n00000002": 1}, 2))


def _cfg(path: Path) -> None:
    from r329fast.cfg import read_cfg
    from r329fast.cfg.check import check_cfg
    from r329fast.errors import R329Error

    try:
        check_cfg(path)
    except R329Error as error:
        _expected(error)
    read_cfg(path).to_text()


def _classes(path: Path) -> None:
    from r329fast.comparison.classes import read_classes

    read_classes(path)


def _name_map(path: Path) -> None:
    from r329fast.comparison.dumps import read_name_map

    read_name_map(path)


def _recipe(path: Path) -> None:
    from r329fast.images import Preprocess

    Preprocess.from_json(path, "a")


def _hardware(path: Path) -> None:
    from r329fast.profile.hardware import load_hardware

    load_hardware(path)


def _record(path: Path) -> None:
    """The command itself: what it shows is a part of reading a record."""
    (path.parent / "results.csv").write_bytes(bases.results()[0])
    (path.parent / "run.json").write_bytes(path.read_bytes())
    commands(["report", path, "--html", path.parent / "out.html"])


def _results(path: Path) -> None:
    (path.parent / "run.json").write_text('{"top1": 0.5, "images": 3}')
    commands(["report", path.parent, "--html", path.parent / "out.html"])


_set = image_sets.read


_counted, _measured = leavings.Evaluation(), leavings.Evaluation("--metric", "per_class")
_pixels = leavings.Pixels()
_step, _state = leavings.Steps(".json"), leavings.Steps(".npz")


def _plain(make: Callable[[], list[bytes]]) -> Callable[[Path], list[bytes]]:
    return lambda folder: make()


TARGETS = (
    Target("onnx", "m.onnx", bases.onnx_models, mutators.model, _model),
    Target("network", "m.onnx", bases.onnx_models, mutators.model, _network),
    Target("npy", "a.npy", _plain(bases.npy_files), mutators.npy, _npy),
    Target("npz", "a.npz", _plain(bases.npz_files), mutators.zipped, _npz),
    Target("max_min", "m_max.npy", _plain(bases.max_min_files), mutators.max_min, _max_min),
    Target("r329", "m.r329", bases.programs, mutators.program, _program),
    Target("aipu", "aipu.bin", _plain(bases.aipu_files), mutators.words, _aipu),
    Target("image", "a.png", _plain(bases.pictures), mutators.damaged, _image),
    Target("archive", "set.zip", _plain(bases.archives), mutators.zipped, _archive),
    Target("labels", "label.txt", _plain(bases.labels), mutators.text, _labels),
    Target("sheet", "label.csv", _plain(image_sets.sheets), mutators.text, _sheet),
    Target("cifar", "test_batch", _plain(image_sets.cifar_batches), mutators.damaged, _set),
    Target("records", "test_batch.bin", _plain(image_sets.cifar_records), mutators.damaged, _set),
    Target("idx", "t10k-images-idx3-ubyte.gz", _plain(image_sets.digits), mutators.damaged, _set),
    Target("pixels", "p.npz", _plain(image_sets.pixels), mutators.zipped, _set),
    Target("parquet", "p.parquet", _plain(image_sets.tables), mutators.damaged, _set),
    Target("shard", "p.tar", _plain(image_sets.shards), mutators.damaged, _set),
    Target("tree", "set.zip", _plain(leavings.class_trees), mutators.zipped, _set),
    Target(
        "dev kit", "devkit.tar", _plain(leavings.dev_kits), mutators.damaged, leavings.read_dev_kit
    ),
    Target("cfg", "run.cfg", _plain(bases.cfgs), mutators.cfg, _cfg),
    Target("classes", "classes.txt", _plain(bases.classes), mutators.text, _classes),
    Target("name map", "map.json", _plain(bases.name_maps), mutators.text, _name_map),
    Target("recipe", "recipe.json", _plain(bases.recipes), mutators.record, _recipe),
    Target("hardware", "board.toml", _plain(bases.hardware), mutators.text, _hardware),
    Target("record", "profile.json", _plain(bases.records), mutators.record, _record),
    Target("results", "results.csv", _plain(bases.results), mutators.text, _results),
    Target("chunks", "chunks.log", _counted.base, mutators.chunk_log, _counted.read),
    Target("measured", "chunks.log", _measured.base, mutators.chunk_log, _measured.read),
    Target("pixel log", "chunks.log", _pixels.base, mutators.chunk_log, _pixels.read),
    Target("step", "a.json", _step.base, mutators.record, _step.read),
    Target("step state", "a.npz", _state.base, mutators.zipped, _state.read),
    Target(
        "dump",
        "index.json",
        _plain(leavings.dump_indexes),
        mutators.record,
        leavings.read_dump_index,
    ),
    Target(
        "outputs",
        "run.json",
        _plain(leavings.result_records),
        mutators.record,
        leavings.read_result_record,
    ),
    Target(
        "boxes",
        "boxes.json",
        _plain(leavings.truths),
        mutators.record,
        leavings.read_truth,
    ),
    Target(
        "numbers", "y.csv", _plain(leavings.number_sheets), mutators.text, leavings.read_numbers
    ),
    Target("mask", "1.png", _plain(leavings.masks), mutators.damaged, leavings.read_mask),
    Target(
        "graph.json",
        "graph.json",
        _plain(leavings.vendor_graphs),
        mutators.record,
        leavings.read_vendor_folder,
    ),
    Target("machine", "m.json", _plain(leavings.machines), mutators.machine, leavings.read_machine),
)
