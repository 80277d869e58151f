"""What no weights can give back: figures behind docs/tuning.md.

    python benchmarks/tuning_bounds.py budget MODEL [CFG] [--threads 2]
    python benchmarks/tuning_bounds.py ties squeezenet_v1.0_227 [CFG] [--threads 2]

budget: how the noise of rounding to 8 bits is shared among the tensors: a twelfth of a squared step
for each value, times what of it arrives at the output (derivatives of the float network, over
calibration images). "alone": the output's SNR with the rounding of that tensor and nothing else.
Weights, multipliers and cut-off values come on top; fitted weights make some of it good.
ties: how much of a loss is the 8 bits of a network's last average: images whose first classes tie,
and accuracy if the average of the same integer map were exact.
CFG: of a tuned network (default: EXTREME ranges, nothing tuned).
"""

from __future__ import annotations

import argparse
from contextlib import closing

import numpy as np
from tuning import METHODS, Network, figures

from r329fast.calibration import calibrate
from r329fast.deploy.pipeline import load_config, prepare
from r329fast.graph import load_model
from r329fast.graph.ir import ReduceAttrs
from r329fast.program import Program
from r329fast.quantization import Options, quantize
from r329fast.simulator.simulator import Simulator
from r329fast.tuning.arrivals import arrivals

_SCHEME = "aqt2021"
_BATCH = 32


def program_of(network: Network, cfg: str) -> Program:
    if cfg:
        return prepare(cfg, scheme=_SCHEME).program
    x, method = network.calibration, METHODS[_SCHEME]
    ranges = calibrate(network.graph, x, _SCHEME, method, threads=network.threads)
    return quantize(network.graph, ranges, _SCHEME, Options())


def budget(network: Network, program: Program, model: str) -> None:
    """model: the ONNX whose channels have the sizes that the program's have."""
    graph, x = load_model(model), network.calibration
    arriving = arrivals(graph, x, 0, network.threads, order=False)
    shares = {}
    for layer in graph:
        name = layer.outputs[0]
        rounded = layer.is_input or layer.facts.free_range or layer.type == "Pooling"
        rounded = rounded or isinstance(layer.attrs, ReduceAttrs)
        if name in arriving and rounded:
            step = 1 / program.tensors[name].scale
            shares[name] = float(step**2 / 12 * arriving[name].sum())
    signal = np.mean([np.square(part[3]).sum(axis=1).mean() for part in network.parts])
    total = sum(shares.values())
    for name, share in shares.items():
        alone = 10 * np.log10(signal / max(share, 1e-30))
        print(f"{name:40} {share / total:6.1%}  alone {alone:5.1f} dB")
    print(
        f"{network.name}: roundings of all tensors together {10 * np.log10(signal / total):.2f} dB"
    )


def ties(network: Network, program: Program) -> None:
    """Of the last map of a network and its average."""
    shapes = network.graph.shapes
    maps = [layer for layer in network.graph if np.prod(shapes[layer.outputs[0]][:-1]) > 1]
    last = maps[-1]
    spec = program.tensors[last.outputs[0]]
    for part, x, labels, expected in network.parts:
        found, exact = [], []
        with closing(Simulator(program, threads=network.threads)) as simulator:
            for first in range(0, len(x), _BATCH):
                q = simulator.run(
                    program.quantize_input(x[first : first + _BATCH]),
                    keep=[last.outputs[0], program.outputs[0]],
                )
                found.append(q[program.outputs[0]].reshape(len(q[program.outputs[0]]), -1))
                values = spec.dequantize(q[last.outputs[0]])
                exact.append(values.mean(axis=(1, 2), dtype=np.float64))
        whole = program.tensors[program.outputs[0]].dequantize(np.concatenate(found))
        step = 1 / program.tensors[program.outputs[0]].scale
        rounded = np.rint(expected / step) * step
        tied = (whole == whole.max(axis=1, keepdims=True)).sum(axis=1) > 1
        for word, values in (
            ("8-bit average", whole),
            ("exact average of the same map", np.concatenate(exact)),
            ("float, its outputs rounded to the same step", rounded),
            ("float", expected),
        ):
            print(f"{part}, {word}: {figures(values, expected, labels)}")
        print(f"{part}: {tied.mean():.1%} of the images have tied first classes, step {step:.3g}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("budget", "ties"))
    parser.add_argument("model")
    parser.add_argument("cfg", nargs="?", default="")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    network = Network(args.model, args.threads)
    program = program_of(network, args.cfg)
    if args.what == "ties":
        ties(network, program)
    else:
        model = load_config(args.cfg).parser.input_model if args.cfg else str(network.path)
        budget(network, program, model)


if __name__ == "__main__":
    main()
