"""Models of other frameworks: recognised by content, and the commands that convert them."""

from __future__ import annotations

CONVERTERS = {
    "tensorflow": "python -m tf2onnx.convert --graphdef MODEL.pb --inputs NAME:0 --outputs NAME:0 "
    "--output MODEL.onnx (--saved-model FOLDER for a SavedModel)",
    "tflite": "python -m tf2onnx.convert --tflite MODEL.tflite --output MODEL.onnx, or tflite2onnx "
    "MODEL.tflite MODEL.onnx",
    "caffe": "python -m caffe2onnx.convert --prototxt MODEL.prototxt --caffemodel "
    "MODEL.caffemodel --onnx MODEL.onnx",
    "pytorch": "torch.onnx.export(model, example_input, 'MODEL.onnx') in Python",
    "keras": "python -m tf2onnx.convert --keras MODEL.h5 --output MODEL.onnx",
}
_TITLES = {
    "tensorflow": "a TensorFlow graph",
    "tflite": "a TensorFlow Lite model",
    "caffe": "a Caffe model",
    "pytorch": "a PyTorch file",
    "keras": "a Keras (HDF5) model",
}


def foreign_model(data: bytes) -> str:
    """ "a TensorFlow Lite model, convert it with ..." for a file of another framework, else ''."""
    kind = _kind(data)
    return f"{_TITLES[kind]}, allowed ONNX: convert it with {CONVERTERS[kind]}" if kind else ""


def _kind(data: bytes) -> str:
    """The framework by magic number or by the first protobuf fields; '' for ONNX or unknown."""
    head = data[:4096]
    if head[4:8] == b"TFL3":
        return "tflite"
    if head[:4] == b"\x89HDF":
        return "keras"
    if head[:4] == b"PK\x03\x04" and b"data.pkl" in head:
        return "pytorch"
    if head.lstrip()[:6] in (b"name: ", b"layer ", b"layers", b"input:"):
        return "caffe"
    if head[:3] == b"\x08\x01\x12" and b"\x0a" in head[3:12] and b"serve" in data[:65536]:
        return "tensorflow"  # SavedModel: version 1, then graphs with tags
    first = _field(head, 0)
    if first is None or first[0] != 0x0A:
        return ""
    # field 1: of a GraphDef a node (name, op, ...), of a Caffe NetParameter the network's name
    body, after = first[1], first[2]
    name = _field(body, 0)
    if name is not None and name[0] == 0x0A:
        op = _field(body, name[2])
        if op is not None and op[0] == 0x12 and _is_word(op[1]) and _is_word(name[1]):
            return "tensorflow"
    if _is_word(body) and head[after : after + 2] in (b"\xa2\x06", b"\x12\xa2"):
        return "caffe"
    return ""


def _field(data: bytes, at: int) -> tuple[int, bytes, int] | None:
    """(tag, bytes, next position) of a length-delimited protobuf field with a one-byte tag."""
    if at >= len(data) or data[at] & 7 != 2:
        return None
    tag, size, shift = data[at], 0, 0
    for place in range(at + 1, min(at + 6, len(data))):
        size |= (data[place] & 0x7F) << shift
        shift += 7
        if data[place] < 0x80:
            return tag, data[place + 1 : place + 1 + size], place + 1 + size
    return None


def _is_word(text: bytes) -> bool:
    return bool(text) and text.isascii() and text.decode("ascii").isprintable()
