# %% [markdown]
# # Which layer loses the accuracy, and what helps
#
# One layer of the bundled network is given a calibrated range that is far too narrow, as a bad
# calibration set would. The profile finds it, and says what to change.

# %%
import dataclasses

import r329fast
from r329fast.deploy import bundled
from r329fast.images.dataset import build_dataset
from r329fast.images.preprocess import Preprocess
from r329fast.images.sets import ImageSet
from r329fast.profile import Wanted, collect
from r329fast.profile.images import ArrayImages

graph = r329fast.load_model(bundled.path("net.onnx"))
recipe = Preprocess.from_json(bundled.path("preprocess.json"))
with ImageSet(bundled.path("calib.zip")) as images:
    dataset, _ = build_dataset(images, recipe)
with ImageSet(bundled.path("val.zip"), limit=64) as images:
    x, labels = build_dataset(images, recipe)
good = r329fast.calibrate(graph, dataset, scheme="aqt2021", method="EXTREME")

# %% [markdown]
# ## The fault: the range of one convolution is a sixth of what it should be

# %%
convolutions = [layer for layer in graph if layer.type == "Convolution"]
spoilt = convolutions[len(convolutions) // 2].outputs[0]
low, high = good[spoilt]
bad = dataclasses.replace(good, values={**good.values, spoilt: (low / 6, high / 6)})
program = r329fast.quantize(graph, bad, scheme="aqt2021")
print("spoilt:", spoilt)


# %% [markdown]
# ## Profile it
#
# Counters and errors of every layer over 64 labelled images, every layer quantised alone
# (`sensitivity`), and changes that were made and measured (`suggestions`).

# %%
wanted = Wanted(host_time=False, sensitivity=True, suggestions=True, sensitivity_images=16)
found = collect(
    program, graph=graph, ranges=bad, images=ArrayImages(x, labels), wanted=wanted, threads=2
)
record = r329fast.Record.of(found)
for item in record.findings():
    print("-", item.text)
    if item.action:
        print("    ->", item.action)

# %% [markdown]
# In a notebook a record shows these sentences by itself, and `record.show()` the whole page.

# %%
record

# %% [markdown]
# ## The numbers behind it
#
# The layer that cuts off the largest share of its outputs is the one that was spoilt.

# %%
rows = sorted(record["layers"], key=lambda row: row["saturated_high"] + row["saturated_low"])
worst = rows[-1]
print(f"{worst['name']}: {worst['saturated_high']:.1%} of its outputs are cut off")
assert worst["name"] == graph.producer(spoilt).name

# %% [markdown]
# ## The fix: its true range

# %%
fixed = r329fast.quantize(graph, good, scheme="aqt2021")
after = r329fast.Record.of(
    collect(fixed, graph=graph, images=ArrayImages(x, labels), wanted=Wanted(host_time=False))
)
for name, run in (("before", record), ("after", after)):
    errors = run["errors"]
    print(f"{name}: output SNR {errors['output_snr']:.1f} dB, top-1 {errors['top1']:.1%}")
assert after["errors"]["output_snr"] > record["errors"]["output_snr"]
record.save("find_the_layer.html")
