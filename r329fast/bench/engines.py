"""The engines that are timed, behind one form: a name and a call that runs a batch.

Each gets its input in the layout and type it wants, prepared beforehand, and a session bound to a
number of threads and a batch. Peers are optional.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from r329fast.bench.cases import Case
from r329fast.bench.engine_trial import survives
from r329fast.bench.qdq import to_qdq
from r329fast.bench.static_form import static_form
from r329fast.simulator.simulator import Simulator

# family -> package that must be installed; the order is that of the tables
PEERS = {
    "onnxruntime int8": "onnxruntime",
    "OpenVINO int8": "openvino",
    "onnxruntime float": "onnxruntime",
}
INT8_PEERS = ("onnxruntime int8", "OpenVINO int8")
OURS = "r329fast"
STATIC = "static"  # what onnxruntime's own tool makes of the float model; all others are ours
# The forms of the int8 model that an engine is tried with; the fastest one counts.
_VARIANTS = {
    "onnxruntime int8": ("u8", "s8", STATIC),
    "OpenVINO int8": ("u8", "s8", "mixed", STATIC),
}


@dataclass(frozen=True)
class Engine:
    """family: as in the tables; variant: form of the int8 model, empty where there is only one.

    run: one batch; gives the outputs as float or integer [N, ...].
    """

    family: str
    variant: str
    run: Callable[[], np.ndarray]


def missing_peers() -> dict[str, str]:
    """Family -> why it is left out."""
    return {
        family: f"{package} is not installed"
        for family, package in PEERS.items()
        if importlib.util.find_spec(package) is None
    }


def versions() -> dict[str, str]:
    """Package -> version, of what is installed."""
    packages = ("r329fast", "numpy", "numba", "llvmlite", *dict.fromkeys(PEERS.values()))
    found = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def ours(case: Case, batch: int, threads: int) -> Engine:
    """r329fast on the case's program."""
    simulator = Simulator(case.program, threads=threads)
    x = case.program.quantize_input(case.images(batch))
    output = case.program.outputs[0]
    return Engine(OURS, "", lambda: simulator.run(x)[output])


def peers(
    case: Case, family: str, batch: int, threads: int, failed: dict[str, str]
) -> list[Engine]:
    """The engines of one family: one for each form of the int8 model that it is tried with.

    A form that the engine cannot run on this machine goes to `failed`, with the engine's word; each
    is tried once in a process of its own, since some end the process.
    """
    images = np.ascontiguousarray(case.images(batch).transpose(0, 3, 1, 2))
    if family == "onnxruntime float":
        run = _onnxruntime(case.onnx.SerializeToString(), images, threads)
        return [Engine(family, "", run)]
    engines = []
    for variant in _VARIANTS[family]:
        try:
            form = _form(case, variant, images)
            if ended := _trial(case, family, variant, form):
                failed[f"{family} ({variant})"] = ended
                continue
            run = MAKERS[family](*form, threads)
            run()
        except Exception as error:  # the engines raise what they like
            failed[f"{family} ({variant})"] = str(error).strip().splitlines()[-1][:200]
            continue
        engines.append(Engine(family, variant, run))
    return engines


def _trial(case: Case, family: str, variant: str, form: tuple[bytes, np.ndarray]) -> str:
    """How a process ended that ran this form; empty where it did not. Once for each case."""
    key = (family, variant)
    if key not in case.trials:
        case.trials[key] = survives(family, form[0], form[1])
    return case.trials[key]


def _form(case: Case, variant: str, images: np.ndarray) -> tuple[bytes, np.ndarray]:
    """One form of the int8 model, and the images as it takes them."""
    if variant == STATIC:
        return static_form(case), images
    model, how = to_qdq(case.graph, case.ranges, variant)
    return model.SerializeToString(), how.integers(images)


def _onnxruntime(model: bytes, x: np.ndarray, threads: int) -> Callable[[], np.ndarray]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_free_dimension_override_by_name("N", len(x))
    # its threads spin while a run lasts, as by default, but not into the next engine's turn
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feeds = {session.get_inputs()[0].name: x}

    def run() -> np.ndarray:
        return np.asarray(session.run(None, feeds)[0])

    return run


def _openvino(model: bytes, x: np.ndarray, threads: int) -> Callable[[], np.ndarray]:
    import openvino

    core = openvino.Core()
    network = core.read_model(model)
    network.reshape(list(x.shape))
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
    }
    request = core.compile_model(network, "CPU", settings).create_infer_request()
    tensor = openvino.Tensor(x, shared_memory=True)

    def run() -> np.ndarray:
        request.infer([tensor])
        return np.asarray(request.get_output_tensor(0).data)

    return run


# family of an int8 engine -> what binds (model, images, threads)
MAKERS = {"onnxruntime int8": _onnxruntime, "OpenVINO int8": _openvino}
