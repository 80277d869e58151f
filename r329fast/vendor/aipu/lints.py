"""What is worth knowing about a binary before an app is written for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from r329fast.vendor.aipu.dataflow import Dataflow, Value
from r329fast.vendor.aipu.program import value_name

_COPYING = ("slice", "transpose", "mean")  # scale of the output = scale of the input
_PIXEL_CHANNELS = (1, 3, 4)


def lints_of(
    flow: Dataflow, layers: Sequence[Mapping[str, Any]], names: Mapping[str, str]
) -> list[dict[str, str]]:
    """Objects with kind (dead_channels, recurrent_scale, input), layer and text."""
    return [*_dead(layers), *_recurrent(flow, names), *_inputs(flow, names)]


def _lint(kind: str, layer: str, text: str) -> dict[str, str]:
    return {"kind": kind, "layer": layer, "text": text}


def _dead(layers: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    found = []
    for layer in layers:
        dead, lost = layer.get("dead_channels", 0), layer.get("bits_lost_to_dead", 0)
        if lost:
            text = (
                f"{layer['name']}: {dead} channel{'s' * (dead > 1)} cannot reach the output "
                f"(multiplier 0), and {'their biases cost' if dead > 1 else 'its bias costs'} all "
                f"others {lost} low bits (bias shift {layer['bias_shift']}); a bias of zero there "
                "gives them back"
            )
            found.append(_lint("dead_channels", layer["name"], text))
    return found


def source_of(flow: Dataflow, value: Value) -> Value:
    """The map that `value` is a part or another order of, scale and all."""
    while value.maker is not None and flow.steps[value.maker].op in _COPYING:
        value = flow.sources[value.maker][0]
    return value


def recurrent_pairs(flow: Dataflow) -> list[tuple[Value, Value, float]]:
    """(input, output, scale of the output over that of the input) of states carried over.

    A state is an input that a Concat joins to a part of map x while another part of x, as large as
    the input, is an output: the app copies the output's bytes to the input for the next image.
    The ratio is that of the Concat's two multipliers.
    """
    pairs = []
    for number, entry in enumerate(flow.steps):
        if entry.op != "concat":
            continue
        origins = [source_of(flow, value) for value in flow.sources[number]]
        for i, state in enumerate(origins):
            if state.maker is not None:
                continue
            for j, other in enumerate(origins):
                outputs = [
                    output
                    for output in flow.outputs
                    if other.maker is not None
                    and source_of(flow, output) == other
                    and output.operand.size == state.operand.size
                ]
                if outputs:
                    (state_mult, _), (other_mult, _) = entry.pairs[i], entry.pairs[j]
                    pairs.append((state, outputs[0], state_mult / max(other_mult, 1)))
    return pairs


def _recurrent(flow: Dataflow, names: Mapping[str, str]) -> list[dict[str, str]]:
    found = []
    for state, output, ratio in recurrent_pairs(flow):
        source, target = (
            names.get(plain, plain) for plain in (value_name(flow, output), value_name(flow, state))
        )
        if state.operand.dtype != output.operand.dtype:
            text = (
                f"{target} is {state.operand.dtype}, the output {source} that is copied to it "
                f"{output.operand.dtype}: the app has to convert"
            )
        elif ratio != 1:
            text = (
                f"{target}: bytes copied from the output {source} come back at {ratio:.3g} of "
                "their value, the two scales differ; give both the same range when calibrating"
            )
        else:
            continue
        found.append(_lint("recurrent_scale", target, text))
    return found


def _inputs(flow: Dataflow, names: Mapping[str, str]) -> list[dict[str, str]]:
    found = []
    states = {state.number for state, _, _ in recurrent_pairs(flow)}
    for value in flow.inputs:
        plain = value_name(flow, value)
        name, shape = names.get(plain, plain), value.operand.shape
        transposed = any(
            entry.op == "transpose" and sources[0] == value
            for entry, sources in zip(flow.steps, flow.sources, strict=True)
        )
        if transposed:
            text = (
                f"{name}: bytes lie as {' x '.join(map(str, shape))} and are transposed first: "
                "an app that feeds height x width x channels feeds another image"
            )
            found.append(_lint("input", name, text))
        is_image = len(shape) == 3 and (transposed or shape[-1] in _PIXEL_CHANNELS)
        if value.number in states or not is_image:
            continue
        if value.operand.dtype == "int8":
            text = (
                f"{name} is int8: raw pixel bytes (0 to 255) above 127 are read as negative "
                "numbers; feed the normalised image times its scale, rounded"
            )
        else:
            text = (
                f"{name} is uint8: (pixel - 127.5) cast to int8, as many apps feed it, is read as "
                "128 to 255 for the dark half; feed the image times its scale, rounded"
            )
        found.append(_lint("input", name, text))
    return found
