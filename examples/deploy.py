# %% [markdown]
# # From an ONNX model to its accuracy on the NPU
#
# The network and the images travel with the package, so this runs anywhere. Put your own model,
# calibration images and recipe in their place.

# %%
import numpy as np

import r329fast
from r329fast.deploy import bundled
from r329fast.images.dataset import build_dataset
from r329fast.images.preprocess import Preprocess
from r329fast.images.sets import ImageSet

# %% [markdown]
# ## 1. Is every operator supported?
#
# `load_model` raises `UnsupportedModelError` and names the node if not.

# %%
graph = r329fast.load_model(bundled.path("net.onnx"))
print(repr(graph))

# %% [markdown]
# ## 2. The calibration set
#
# The recipe (size, mean, scale, order of channels) must be the one that the network was trained
# with, and the same for calibration, evaluation and the application on the board.

# %%
recipe = Preprocess.from_json(bundled.path("preprocess.json"))
with ImageSet(bundled.path("calib.zip")) as images:
    dataset, _ = build_dataset(images, recipe)
print("calibration set:", dataset.shape, dataset.dtype, dataset.min(), "to", dataset.max())

# %% [markdown]
# ## 3. Calibrate and quantise

# %%
ranges = r329fast.calibrate(graph, dataset, scheme="aqt2021", method="EXTREME")
program = r329fast.quantize(graph, ranges, scheme="aqt2021")
print(repr(ranges))
print(repr(program))

# %% [markdown]
# ## 4. Run it: the integers that the NPU computes

# %%
with ImageSet(bundled.path("val.zip")) as images:
    x, labels = build_dataset(images, recipe)
simulator = r329fast.Simulator(program, threads=2)
logits = simulator.run(program.quantize_input(x))[program.outputs[0]].reshape(len(x), -1)
int8_top1 = float(np.mean(logits.argmax(axis=1) == labels))
print(f"{len(x)} images, {logits.dtype} logits {logits.shape}: top-1 {int8_top1:.1%}")

# %% [markdown]
# ## 5. What int8 costs, against the float network on the same images
#
# `evaluate` does all of this for a whole image set: decoding, batches, float baseline, confidence
# intervals, resume.

# %%
result = r329fast.evaluate(
    program,
    bundled.path("val.zip"),
    preprocess=recipe,
    float_model=bundled.path("net.onnx"),
    float_baseline=True,
)
print(repr(result))
assert result.best.accuracy.top1 == int8_top1  # the same integers, the same figure

# %% [markdown]
# ## 6. Keep the program
#
# `r329fast run`, `eval` and `profile` read it.

# %%
program.save("bundled.r329")
assert r329fast.load_program("bundled.r329").hash() == program.hash()
