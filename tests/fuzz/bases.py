"""A sound file for each reader, from which mutations start. All are built here."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
import zipfile
from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from support.aipu_canonical import canonical
from support.aipu_networks import small_program as small_aipu_program
from support.aipu_writer import write_aipu
from support.cfg_files import GOOD, OPTIMIZER
from support.evaluation_sets import small_net, small_program

_HARDWARE = """about = "a board"
inherits = "Z1_0701"
[figures]
macs_per_cycle = { value = 512, unit = "MACs", status = "assumed", source = "a guess" }
clock_mhz = 600
"""
_COUNTS = {"macs": 9, "parameters": 9, "weight_bytes": 9, "ops_count": 9}


def onnx_models(folder: Path) -> list[bytes]:
    """A small network, and one that uses most kinds of fields and constant subgraphs."""
    return [small_net(folder / "small.onnx").read_bytes(), _busy().SerializeToString()]


def _busy() -> onnx.ModelProto:
    rng = np.random.default_rng(3)
    consts = {
        "w": rng.standard_normal((8, 3, 3, 3)).astype(np.float32),
        "dw": rng.standard_normal((8, 1, 3, 3)).astype(np.float32),
        **{name: rng.random(8).astype(np.float32) + 0.5 for name in ("s", "b", "m", "v")},
        "lo": np.array(0, np.float32), "hi": np.array(6, np.float32),
        "rows": np.array([2, 2, 2]), "c": np.ones((8, 1, 1), np.float32),
        "perm": np.array([0, -1]), "fc": rng.standard_normal((32, 5)).astype(np.float32),
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "none": np.zeros(0, np.float32),
        "double": np.array([1, 1, 2, 2], np.float32), "from": np.array([0]), "to": np.array([8]),
        "axis": np.array([1]),
    }  # fmt: skip
    node = helper.make_node
    nodes = [
        node("Pad", ["x", "pads"], ["p"], mode="constant"),
        node("Conv", ["p", "w"], ["c1"], kernel_shape=[3, 3], strides=[1, 1], pads=[0, 0, 0, 0]),
        node("BatchNormalization", ["c1", "s", "b", "m", "v"], ["n1"], epsilon=1e-5),
        node("Clip", ["n1", "lo", "hi"], ["a1"]),
        node("Conv", ["a1", "dw"], ["c2"], group=8, pads=[1, 1, 1, 1], dilations=[1, 1]),
        node("Sigmoid", ["c2"], ["g"]),
        node("Mul", ["c2", "g"], ["a2"]),
        node("Expand", ["c", "to_shape"], ["big"]),
        node("Concat", ["to", "axis", "axis"], ["to_shape"], axis=0),
        node("Add", ["a2", "big"], ["a3"]),
        node("Twice", ["a3"], ["f"], domain="own"),
        node("MaxPool", ["f"], ["mp"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=0),
        node("Resize", ["mp", "none", "double"], ["up"], mode="nearest"),
        node("Concat", ["up", "a3"], ["cc"], axis=1),
        node("Slice", ["cc", "from", "to", "axis"], ["sl"]),
        node("AveragePool", ["sl"], ["ap"], kernel_shape=[4, 4], strides=[4, 4]),
        node("Transpose", ["ap"], ["t"], perm=[0, 2, 3, 1]),
        node("Reshape", ["t", "perm"], ["r"]),
        node("Gemm", ["r", "fc"], ["fco"], alpha=1.0),
        node("Softmax", ["fco"], ["y"], axis=1),
    ]
    twice = helper.make_function(
        "own", "Twice", ["a"], ["b"],
        [node("Add", ["a", "a"], ["t"]), node("Relu", ["t"], ["b"])],
        [helper.make_opsetid("", 13)],
    )  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "busy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 5])],
        [numpy_helper.from_array(value, name) for name, value in consts.items()],
    )
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=opsets, functions=[twice], ir_version=9)


def npy_files() -> list[bytes]:
    arrays = (
        np.linspace(0, 1, 96, dtype=np.float32).reshape(2, 4, 4, 3),
        np.arange(6),
        np.asfortranarray(np.arange(6, dtype=np.int8).reshape(2, 3)),
    )
    return [_saved(array) for array in arrays]


def _saved(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def npz_files() -> list[bytes]:
    stream = io.BytesIO()
    np.savez_compressed(stream, a=np.arange(6, dtype=np.int8), b=np.zeros((2, 3), np.int16))
    return [stream.getvalue()]


def max_min_files() -> list[bytes]:
    box = np.empty((), dtype=object)
    box[()] = {"x": np.array([1.5], np.float32), "y": np.float64(2), "z": 3.5}
    head = _saved(box)
    start = head.index(b"\n") + 1
    return [head] + [head[:start] + pickle.dumps(box, protocol=p) for p in (0, 2, 3, 5)]


def programs(folder: Path) -> list[bytes]:
    small_program(folder).save(folder / "small.r329")
    return [(folder / "small.r329").read_bytes()]


def aipu_files() -> list[bytes]:
    return [write_aipu(canonical(small_aipu_program()))]


def pictures() -> list[bytes]:
    """One image in each form that OpenCV writes here."""
    image = np.random.default_rng(1).integers(0, 256, (40, 36, 3), dtype=np.uint8)
    forms = (".png", ".jpg", ".bmp", ".webp", ".tiff", ".ppm", ".gif", ".jp2")
    return [cv2.imencode(form, image)[1].tobytes() for form in forms if cv2.haveImageWriter(form)]


def archives() -> list[bytes]:
    """A labelled set as a zip, a tar and compressed tars."""
    files = {"a.png": pictures()[0], "d/b.jpg": pictures()[1], "label.txt": b"a.png 0\nb.jpg 1\n"}
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    result = [zipped.getvalue()]
    for mode in ("w", "w:gz", "w:bz2", "w:xz"):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode=mode) as tar:  # type: ignore[call-overload]
            for name, data in files.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
        result.append(stream.getvalue())
    return result


def cfgs() -> list[bytes]:
    extra = "calibration_strategy_for_activation = mean & <[Convolution]:extrema>"
    return [GOOD.encode(), OPTIMIZER.format(extra).encode()]


def labels() -> list[bytes]:
    return ["a.png 0\r\nb b.jpg 1\n\n\N{DIAERESIS}.png 2\n".encode()]


def classes() -> list[bytes]:
    texts = ("tench\nshark, white\n", "n01440764 tench\n", "{0: 'tench', 1: 'shark'}", "['a', 'b']")
    return [text.encode() for text in texts]


def name_maps() -> list[bytes]:
    return [b'{"conv": "Conv_0"}', b"conv Conv_0\nfc x, Gemm 1\n# no\n"]


def recipes() -> list[bytes]:
    recipe = {"size": [8, 6], "order": "RGB", "sub": [0.4, 0.5, 0.6], "div": [1, 1, 1], "resize": 9}
    return [json.dumps(recipe).encode(), json.dumps({"a": recipe, "b": recipe}).encode()]


def hardware() -> list[bytes]:
    return [_HARDWARE.encode()]


def records() -> list[bytes]:
    """A profile's record and the run.json of an evaluation."""
    row = {"name": "conv", "op": "Convolution", "macs": 9, "snr_single": 31.5, **_COUNTS}
    errors = {"images": 3, "output_snr": 30.1, "output_cosine": 0.99, "agreement": 1.0,
              "worst_single": "conv", "top1": 0.5, "float_top1": 0.6}  # fmt: skip
    cost = {"hardware": "r329", "milliseconds": 1.5, "cycles": 9, "bound": "compute",
            "bound_cycles": {"compute": 9}, "ddr_read": 1, "ddr_write": 1, "sensitivity": {},
            "frames_per_second": 9.0}  # fmt: skip
    profile = {"kind": "profile", "version": 1, "model": "m", "scheme": "aqt2021", "images": 3,
               "layers": [row], "options": {"rounding": "x"},
               "totals": {**_COUNTS, "host_us": 5.0, "host_bound_us": 2.0},
               "host_rates": {"gmac": 9.0, "cache": 8.0, "memory": 7.0},
               "errors": errors, "cost": cost, "machine": {"cpu": "c"}}  # fmt: skip
    run = {"r329fast": "1", "model": "m.onnx", "top1": 0.5, "images": 3, "seconds": {"all": 1.0},
           "settings": [{"name": "a"}], "output_scale": {"y": 0.5}, "threads": 1}  # fmt: skip
    return [json.dumps(profile).encode(), json.dumps(run).encode()]


def results() -> list[bytes]:
    return [
        b"image,file,label,status,rank,tied,top1,float_rank,float_top1\n"
        b"0,'=a.png,1,ok,3,0,2,1,1\n1,b.png,0,ok,1,0,0,1,0\n"
    ]
