"""A cfg in memory for a model that comes alone, with its calibration set in a folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from r329fast.base.files import make_dir, npy_writer, write_all, write_bytes
from r329fast.base.reading import is_there
from r329fast.cfg import Optimizer, RunConfig, new_cfg, read_model_names
from r329fast.cfg.check import expected_shapes
from r329fast.cfg.new import LABEL_FILE
from r329fast.deploy.guess import Guess, find_recipe, recipe_near
from r329fast.deploy.pipeline import input_program, load_graph
from r329fast.deploy.settings import Settings
from r329fast.errors import DataError, FileError, UsageError
from r329fast.graph.ir import LINEAR_TYPES, Graph
from r329fast.graph.load import ModelPart
from r329fast.images.class_folders import Naming
from r329fast.images.dataset import write_dataset
from r329fast.images.preprocess import Preprocess
from r329fast.images.recipe import differences, recipe_text
from r329fast.images.several import load_datasets

CALIBRATION_IMAGES = 64
_RANDOM = 4  # items of random data
_BACKGROUND = 1001  # classes of networks whose class 0 is the background


@dataclass(frozen=True)
class ModelRun:
    """A model with a cfg made for it.

    recipe: how its images are prepared; None without images, where calibration is on random data.
    labelled: whether the images have classes. notes: sentences for the user on what was chosen.
    """

    config: RunConfig
    recipe: Preprocess | None
    labelled: bool
    notes: list[str] = field(default_factory=list)

    @property
    def random(self) -> bool:
        """Whether calibration had no images: then only cost and memory mean anything."""
        return self.recipe is None


@dataclass(frozen=True)
class ModelOptions:
    """What may be said about a model that comes alone.

    images: to calibrate on, labelled or not; labels: their label file. numbers: class by folder.
    preprocess: their recipe; without it one is looked for, then guessed. calibration_images: at
    most so many, evenly spaced. scheme: of the cfg. mode: "run" or "build". part: of the file that
    is the network, and the sizes that it leaves open.
    """

    images: str | Path | None = None
    labels: str | Path | None = None
    numbers: Mapping[str, int] | None = None
    preprocess: Preprocess | None = None
    calibration_images: int = CALIBRATION_IMAGES
    scheme: str = "aqt2021"
    mode: str = "build"
    threads: int = 1
    part: ModelPart = field(default_factory=ModelPart)


def is_model(path: object) -> bool:
    """Whether a path is that of a model, by its ending."""
    endings = (".onnx", ".pb", ".tflite", ".pt", ".pth", ".h5", ".caffemodel")
    return isinstance(path, str | Path) and Path(path).suffix.lower() in endings


@contextmanager
def calibration_folder(cfg: str | Path | None) -> Iterator[Path]:
    """Where the calibration set stands: beside a cfg that is kept, else a folder that goes."""
    if cfg is not None:
        path = Path(cfg)
        yield make_dir(path.with_name(f"{path.stem}-calibration"))
        return
    with tempfile.TemporaryDirectory(prefix="r329fast") as folder:
        yield Path(folder)


def config_of_model(model: str | Path, folder: Path, options: ModelOptions) -> ModelRun:
    """Write the calibration set of a model into `folder` and make the cfg that names it.

    Mode run also writes input.bin: the first image, or random integers. Raises FileError,
    DataError, CfgError, UsageError and UnsupportedModelError.
    """
    model = Path(model)
    count = _inputs(model, options.part)
    name = folder / ("dataset.npy" if count == 1 else "dataset.npz")
    config = new_cfg(
        model,
        mode=options.mode,
        scheme=options.scheme,
        calibration_data=str(name),
        calibration_label=str(folder / LABEL_FILE),
        inputs=_input_files(count, folder) if options.mode == "run" else (),
        input=options.part.inputs or (),
        output=options.part.outputs or (),
        input_shape=options.part.input_shapes or "",
    )
    graph = load_graph(config)
    if options.images is None:
        found = _random(config, graph, name)
    else:
        found = _on_images(model, config, graph, folder, options)
    if options.mode == "run":
        _write_inputs(found.config)
    return found


def save_cfg(made: ModelRun, path: Path, settings: Settings | None = None) -> Path:
    """Write the cfg that does the same, settings that overrule it included.

    Raises UsageError for a rounding, which a cfg has no word for, and FileError.
    """
    settings = settings or Settings()
    if settings.rounding is not None:
        raise UsageError(
            "a cfg cannot hold --rounding: leave it out, and give it with the cfg again"
        )
    config = replace(made.config)
    if config.quantization is not None:
        config.quantization = replace(config.quantization)
        if settings.method is not None:
            config.quantization.calibration_method = settings.method
        if settings.per_channel:
            config.quantization.ops_per_channel = LINEAR_TYPES
    elif config.optimizer is not None:
        changes = {}
        if settings.method is not None:
            changes["calibration_strategy_for_activation"] = settings.method
        if settings.per_channel:
            word = config.optimizer.text("quantize_method_for_weight")
            changes["quantize_method_for_weight"] = word.replace("per_tensor_", "per_channel_")
        config.optimizer = Optimizer({**config.optimizer.values, **changes})
    return config.write(path)


def _inputs(model: Path, part: ModelPart) -> int:
    """Inputs of the network."""
    if part.inputs:
        return len(part.inputs)
    names = read_model_names(model)
    return len(names.inputs_of(part.outputs) if part.outputs else names.inputs)


def _input_files(count: int, folder: Path) -> list[str]:
    names = ["input.bin"] if count == 1 else [f"input{number}.bin" for number in range(count)]
    return [str(folder / name) for name in names]


def _random(config: RunConfig, graph: Graph, path: Path) -> ModelRun:
    rng = np.random.default_rng(0)
    arrays = {
        word: rng.standard_normal((_RANDOM, *graph.shapes[name]), dtype=np.float32)
        for word, name in zip(config.parser.input, graph.inputs, strict=True)
    }
    if path.suffix == ".npy":
        write_all([(path, npy_writer(next(iter(arrays.values()))))])
    else:
        write_all([(path, lambda stream: np.savez(stream, allow_pickle=False, **arrays))])
    if config.quantization is not None:
        config.quantization.calibration_label = ""
    note = (
        "no images: calibrated on random data, so that cost and memory are right and accuracy, "
        "errors and outputs mean nothing"
    )
    return ModelRun(config, None, False, [note])


def _on_images(
    model: Path, config: RunConfig, graph: Graph, folder: Path, options: ModelOptions
) -> ModelRun:
    shape = graph.shapes[graph.inputs[0]]
    if len(graph.inputs) != 1 or len(shape) != 3 or shape[2] != 3:
        found = ", ".join(f"{name} {list(graph.shapes[name])}" for name in graph.inputs)
        raise UsageError(
            f"{model}: images need one input of height x width x 3, found {found}; without images "
            "it runs on random data, with a cfg on arrays (calibration_data)"
        )
    labelled, offset, notes = _labels(options, graph)
    naming = Naming(options.numbers, _classes(graph), offset, "train", labelled)
    from r329fast.images.sets import ImageSet  # here, not above: it takes a while

    path, most = Path(str(options.images)), options.calibration_images
    with ImageSet(path, options.labels, most, naming, spread=True) as images:
        if not len(images):
            raise DataError(f"{path}: found no images", path=str(path))
        recipe = options.preprocess
        if recipe is None:
            usable = images if labelled else None
            guess = find_recipe(model, graph, usable, offset, options.threads)
            recipe = guess.recipe
            notes.append(guess.text)
        else:
            if recipe.size != (shape[1], shape[0]):
                recipe = recipe.with_size(shape[1], shape[0])
            notes += other_recipe(model, recipe)
        write_dataset(folder, images, recipe)
        also = "" if "train" in images.note or not labelled else (
            "; accuracy counts them too, which may flatter it a little"
        )  # fmt: skip
        notes.append(f"calibrated on {len(images)} images of {path.name}{also}")
        if images.note:
            notes.append(images.note)
    config.recipe = recipe_text(recipe)
    if config.quantization is not None:
        config.quantization.label_id_offset = offset
    return ModelRun(config, recipe, labelled, notes)


def other_recipe(model: Path, recipe: Preprocess) -> list[str]:
    """A line where the recipe that was asked for is not the one near the model."""
    near = recipe_near(model, recipe.size)
    found = differences(recipe, near.recipe) if near else []
    if near is None or not found:
        return []
    return [f"recipe: as asked for, other than {near.source}: {', '.join(found)}"]


def guessed_recipe(model: Path, graph: Graph, options: ModelOptions) -> Guess:
    """How the images of `options` are prepared: as near the model, else guessed, by their labels
    where they have some. Raises DataError and FileError."""
    from r329fast.images.sets import ImageSet  # here, not above: it takes a while

    labelled, offset, _ = _labels(options, graph)
    naming = Naming(options.numbers, _classes(graph), offset, "train", labelled)
    path, most = Path(str(options.images)), options.calibration_images
    with ImageSet(path, options.labels, most, naming, spread=True) as images:
        usable = images if labelled else None
        return find_recipe(model, graph, usable, offset, options.threads)


def _classes(graph: Graph) -> int | None:
    """Values of the only output: the classes of a classifier."""
    return int(np.prod(graph.shapes[graph.outputs[0]])) if len(graph.outputs) == 1 else None


def _labels(options: ModelOptions, graph: Graph) -> tuple[bool, int, list[str]]:
    """(whether the images have classes of this network, what is added to them, notes)."""
    classes = _classes(graph)
    if classes is None:
        return False, 0, ["no accuracy: the network has several outputs"]
    background = classes == _BACKGROUND and options.numbers is None
    from r329fast.images.sets import ImageSet

    naming = Naming(options.numbers, classes, int(background))
    try:
        with ImageSet(Path(str(options.images)), options.labels, naming=naming) as images:
            highest = int(images.labels.max())
    except (DataError, FileError) as error:
        if options.labels is not None or not is_there(str(options.images)):
            raise
        return False, 0, [f"no accuracy: {error.message}"]
    offset = int(background and highest < classes - 1)
    if highest + offset >= classes:
        return False, 0, [f"no accuracy: label {highest}, the network has {classes} classes"]
    notes = [f"{classes} classes: taken as 0 for the background (label_id_offset 1)"]
    return True, offset, notes if offset else []


def _write_inputs(config: RunConfig) -> None:
    """The files that a run reads: the first item of the calibration set as integers."""
    program = input_program(config)
    names = config.parser.input
    data = load_datasets(config.calibration_data, expected_shapes(config.parser))
    for file, word, name in zip(config.gbuilder.inputs, names, program.inputs, strict=True):
        write_bytes(Path(file), program.quantize_input(data[word][:1], name).tobytes())
