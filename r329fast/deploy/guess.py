"""The recipe of a model that comes alone: from a file near it, or guessed among conventions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from r329fast.base.reading import is_file, read_json
from r329fast.errors import R329Error
from r329fast.graph.export.float_session import FloatSession
from r329fast.graph.ir import Graph
from r329fast.images.preprocess import Preprocess
from r329fast.images.recipe import RECIPE_FILE, KnownRecipe, pixel_table

if TYPE_CHECKING:
    from r329fast.images.sets import ImageSet

_IMAGES = 24  # that choose among the conventions
_CROPPED = 96  # from this side on, networks are usually tested on the centre of a larger image
# what people train with: (x - sub) / div per channel, on pixels from 0 to 255
CONVENTIONS = {
    "RGB, ImageNet mean and std (torchvision)": Preprocess(),
    "RGB, -1 to 1 (TensorFlow)": Preprocess(sub=(127.5,) * 3, div=(127.5,) * 3, scale=1.0),
    "RGB, 0 to 1": Preprocess(sub=(0.0,) * 3, div=(1.0,) * 3, scale=255.0),
    "RGB, 0 to 255": Preprocess(sub=(0.0,) * 3, div=(1.0,) * 3, scale=1.0),
    "BGR, minus 104, 117, 123 (Caffe)": Preprocess(
        order="BGR", sub=(104.0, 117.0, 123.0), div=(1.0,) * 3, scale=1.0
    ),
}


@dataclass(frozen=True)
class Guess:
    """A recipe, and a sentence on where it comes from; `guessed` where no file says so."""

    recipe: Preprocess
    text: str
    guessed: bool


def recipe_near(model: Path, size: tuple[int, int]) -> KnownRecipe | None:
    """`MODEL.preprocess.json`, or `preprocess.json` beside the model or in the folder above.

    A file with several recipes counts where one bears the model's name; one with a single recipe
    where it stands beside the model and makes the size that the network takes.
    """
    beside = model.absolute().parent
    for path in (
        beside / f"{model.stem}.{RECIPE_FILE}",
        beside / RECIPE_FILE,
        beside.parent / RECIPE_FILE,
    ):
        if not is_file(path):
            continue
        try:
            content = read_json(path)
            entry = content.get(model.stem) if isinstance(content, dict) else None
            if isinstance(entry, dict):
                return KnownRecipe(Preprocess.from_json(path, model.stem), f"{path}:{model.stem}")
            if path.parent == beside and (recipe := Preprocess.from_json(path)).size == size:
                return KnownRecipe(recipe, str(path))
        except R329Error:
            continue  # a file of that name for something else
    return None


def find_recipe(
    model: Path, graph: Graph, images: ImageSet | None, offset: int, threads: int = 1
) -> Guess:
    """The recipe for a network with one image as input.

    images: labelled ones, over which the float network is right most often with the right recipe;
    None where there are no labels. offset: of the labels.
    """
    height, width = graph.shapes[graph.inputs[0]][:2]
    near = recipe_near(model, (width, height))
    if near is not None:
        recipe = near.recipe
        if recipe.size != (width, height):
            recipe = recipe.with_size(width, height)
        return Guess(recipe, f"recipe: {near.source}", False)
    if images is None or len(graph.outputs) != 1:
        name, plain = next(iter(CONVENTIONS.items()))
        text = f"recipe guessed: {name}, without labels to try it; --preprocess gives another"
        return Guess(_sized(plain, width, height), text, True)
    return _tried(graph, images, offset, threads)


def _tried(graph: Graph, images: ImageSet, offset: int, threads: int) -> Guess:
    """The convention with which the float network is right most often, then most certain."""
    height, width = graph.shapes[graph.inputs[0]][:2]
    count = min(_IMAGES, len(images))
    places = [number * len(images) // count for number in range(count)]
    fit = _sized(Preprocess(), width, height).fit
    pixels = np.stack([fit(images.image(place)) for place in places])
    classes = images.labels[places] + offset
    session = FloatSession(graph, threads=threads)
    scores = {}
    for name, recipe in CONVENTIONS.items():
        ordered = pixels if recipe.order == "RGB" else pixels[..., ::-1]
        table = pixel_table(recipe)
        values = np.stack([table[ordered[..., channel], channel] for channel in range(3)], axis=-1)
        (logits,) = session.run(values.astype(np.float32)).values()
        logits = logits.reshape(count, -1).astype(np.float64)
        right = int((logits.argmax(axis=1) == classes).sum())
        own = np.take_along_axis(logits, classes[:, None], axis=1)[:, 0]
        # of equals the one whose true classes stand out most, whatever the scale of the logits
        spread = logits.std(axis=1) + 1e-12
        scores[name] = (right, float(((own - logits.mean(axis=1)) / spread).mean()))
    best = max(scores, key=lambda name: scores[name])
    second = max(value[0] for name, value in scores.items() if name != best)
    text = (
        f"recipe guessed: {best}, with which the float network is right on {scores[best][0]} of "
        f"{count} images (next best convention: {second}); --preprocess gives another"
    )
    return Guess(_sized(CONVENTIONS[best], width, height), text, True)


def _sized(recipe: Preprocess, width: int, height: int) -> Preprocess:
    """At the network's size: cropped from 8/7 of it where networks usually are, else stretched."""
    if min(width, height) < _CROPPED:
        return replace(recipe, size=(width, height), resize="stretch", shorter=None)
    shorter = round(max(width, height) * 256 / 224)
    return replace(recipe, size=(width, height), resize="crop", shorter=shorter)
