"""Seeded mutations that know the form of a file, so that they get behind the first check."""

from __future__ import annotations

import hashlib
import io
import json
import random
import re
import struct
import zipfile
from typing import Any

import onnx
from google.protobuf.message import Message

Rng = random.Random
_NUMBERS = (
    0, 1, -1, 2, 3, 7, 255, 256, -128, 65535, 65536, 2**31 - 1, -(2**31), 2**31, 2**32 - 1, 2**32,
    2**40, 2**62, 2**63 - 1, -(2**63),
)  # fmt: skip
_FLOATS = (0.0, -0.0, 1e-45, 1e38, -1e38, float("inf"), float("-inf"), float("nan"), 0.5, 1e300)
_WORDS = (
    "", " ", "x", "y", "0", "-1", "1e400", "[", "]", "{}", "[[", "\n", "\t", "=", ":", ",", "#",
    "\0", "\ud7ff", "\U0001f600", "None", "True", "nan", "../../etc/passwd",
    "/dev/zero", "[1, 3, 0, 0]",
    "[9999999999999999999999]", "a" * 5000, "(" * 300, "[" * 3000, "%s%s%n", "${x}", "1" * 5000,
)  # fmt: skip


def damaged(data: bytes, rng: Rng) -> bytes:
    """Any bytes: flipped, cut, doubled, overwritten, inserted."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        if not out:
            break
        at = rng.randrange(len(out))
        span = rng.randrange(1, 1 + min(64, len(out) - at))
        kind = rng.randrange(6)
        if kind == 0:
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[at] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
        elif kind == 2:
            del out[at : at + span]
        elif kind == 3:
            out[at:at] = out[at : at + span]
        elif kind == 4:
            number = struct.pack("<q", rng.choice(_NUMBERS))[: rng.choice((1, 2, 4, 8))]
            out[at : at + len(number)] = number
        else:
            out[at:at] = rng.randbytes(span)
    if rng.random() < 0.05:
        del out[rng.randrange(len(out) + 1) :]
    return bytes(out)


def text(data: bytes, rng: Rng) -> bytes:
    """Words, numbers and lines of a text exchanged for odd ones."""
    if rng.random() < 0.15:
        return damaged(data, rng)
    words = re.split(r"(\W+)", data.decode("utf-8", "surrogateescape"))
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(words))
        kind = rng.randrange(5)
        if kind == 0:
            words[at] = rng.choice(_WORDS)
        elif kind == 1:
            words[at] = str(rng.choice((*_NUMBERS, *_FLOATS)))
        elif kind == 2:
            words[at] = rng.choice(words)
        elif kind == 3:
            words[at : at + rng.randrange(1, 8)] = []
        else:
            words[at:at] = words[at : at + rng.randrange(1, 8)] * rng.choice((1, 1, 2, 50))
        words = words or [""]
    return "".join(words).encode("utf-8", "surrogatepass")


def cfg(data: bytes, rng: Rng) -> bytes:
    """A cfg whose keys, values and sections move, double and change."""
    if rng.random() < 0.5:
        return text(data, rng)
    lines = data.decode().split("\n")
    for _ in range(rng.choice((1, 2, 3))):
        at = rng.randrange(len(lines))
        key, equals, value = lines[at].partition("=")
        kind = rng.randrange(5)
        if kind == 0 and equals:
            lines[at] = f"{key}= {rng.choice((*_WORDS, *map(str, _NUMBERS), value * 2))}"
        elif kind == 1:
            lines.insert(rng.randrange(len(lines)), lines[at])
        elif kind == 2:
            lines.insert(rng.randrange(len(lines)), lines.pop(at))
        elif kind == 3:
            lines[at] = rng.choice(_WORDS) + lines[at]
        else:
            lines[at] = ""
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def value(item: Any, rng: Rng) -> Any:
    """A JSON value with one part of it exchanged for another of any type."""
    if isinstance(item, dict) and item and rng.random() < 0.9:
        key = rng.choice(list(item))
        changed = dict(item)
        kind = rng.randrange(8)
        if kind == 0:
            del changed[key]
        elif kind == 1:
            changed[rng.choice(_WORDS)] = changed.pop(key)
        else:
            changed[key] = value(item[key], rng)
        return changed
    if isinstance(item, list) and item and rng.random() < 0.9:
        changed_list = list(item)
        at = rng.randrange(len(item))
        kind = rng.randrange(8)
        if kind == 0:
            del changed_list[at]
        elif kind == 1:
            changed_list.append(changed_list[at])
        else:
            changed_list[at] = value(item[at], rng)
        return changed_list
    others: tuple[Any, ...] = (None, True, [], {}, [[]], {"a": 1}, [item], {"x": item})
    return rng.choice((*others, *_NUMBERS, *_FLOATS, *_WORDS))


def record(data: bytes, rng: Rng) -> bytes:
    """A JSON file with values of other types, or broken text."""
    if rng.random() < 0.3:
        return text(data, rng)
    item = json.loads(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        item = value(item, rng)
    return json.dumps(item).encode()


def npy(data: bytes, rng: Rng) -> bytes:
    """An array whose header says something else than its bytes."""
    if rng.random() < 0.3:
        return damaged(data, rng)
    start = data.index(b"\n") + 1
    header = data[10 : start - 1].decode("latin1")
    body = data[start:]
    shape = ", ".join(str(rng.choice(_NUMBERS)) for _ in range(rng.choice((0, 1, 2, 4, 40))))
    descr = rng.choice(
        ("'<f4'", "'|O'", "'<U99'", "'V4294967295'", "[('a', '<i4')]", "'<M8[ns]'", "'f'", "0",
         "'|b1'", "'>c16'", "[('a', '<i4', (2, 2))]", "'|S0'", "('<f4', (3,))", "'q'", "'<f4,<i8'")
    )  # fmt: skip
    kind = rng.randrange(5)
    if kind == 0:
        header = re.sub(r"'shape': \([^)]*\)", f"'shape': ({shape},)", header)
    elif kind == 1:
        header = re.sub(r"'descr': '[^']*'", f"'descr': {descr}", header)
    elif kind == 2:
        header = text(header.encode(), rng).decode("latin1")
    elif kind == 3:
        header = rng.choice(_WORDS) + header + rng.choice(_WORDS)
    else:
        body = body[: rng.randrange(len(body) + 1)] * rng.choice((1, 2))
    words = header.encode("latin1", "replace") + b"\n"
    version = rng.choice((1, 1, 1, 2, 3, 0, 9))
    length = struct.pack("<H" if version == 1 else "<I", len(words) & 0xFFFF)
    return b"\x93NUMPY" + bytes((version, rng.choice((0, 0, 0, 1)))) + length + words + body


def max_min(data: bytes, rng: Rng) -> bytes:
    """A pickled dict with other opcodes and arguments."""
    start = data.index(b"\n") + 1
    if rng.random() < 0.2:
        return npy(data, rng)
    body = data[start:]
    if rng.random() < 0.4:
        body = damaged(body, rng)
    else:
        at = rng.randrange(len(body))
        body = body[:at] + bytes((rng.randrange(256),)) + body[at + 1 :]
    if rng.random() < 0.1:
        names = (b"cos\nsystem\n", b"cbuiltins\neval\n", b"cnumpy\ndtype\n", b"(lp0\n", b"0", b"2")
        at = rng.randrange(len(body) + 1)
        body = body[:at] + rng.choice(names) + body[at:]
    return data[:start] + body


def zipped(data: bytes, rng: Rng) -> bytes:
    """A zip with entries that are damaged, missing, doubled, renamed; checksums are right."""
    if rng.random() < 0.35:
        return damaged(data, rng)
    entries = _entries(data)
    name = rng.choice(list(entries))
    kind = rng.randrange(4)
    if kind == 0:
        del entries[name]
    elif kind == 1:
        entries[rng.choice(("../x", "a/" * 99, "label.txt", name.upper(), "\n"))] = entries.pop(
            name
        )
    elif name.endswith(".npy"):
        entries[name] = npy(entries[name], rng)
    else:
        entries[name] = text(entries[name], rng)
    return _zip(entries)


def _entries(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _zip(entries: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return stream.getvalue()


def program(data: bytes, rng: Rng) -> bytes:
    """A .r329 whose table says something else, under the right hash of its header."""
    if rng.random() < 0.3:
        return zipped(data, rng)
    entries = _entries(data)
    header = json.loads(entries["header.json"])
    for _ in range(rng.choice((1, 1, 2, 3))):
        part = rng.choice(
            ("ops", "tensors", "layers", "options", "inputs", "outputs", "ops", "ops")
        )
        if not isinstance(header, dict) or part not in header:
            break
        header[part] = value(header[part], rng)
    header.pop("header_hash", None)
    words = json.dumps(header, sort_keys=True).encode()
    header["header_hash"] = hashlib.sha256(words).hexdigest()
    entries["header.json"] = json.dumps(header).encode()
    return _zip(entries)


def machine(data: bytes, rng: Rng) -> bytes:
    """What was measured of a machine, other values under a right checksum."""
    if rng.random() < 0.3:
        return record(data, rng)
    values = value(json.loads(data)["values"], rng)
    words = json.dumps(values, sort_keys=True).encode()
    return json.dumps({"values": values, "sha256": hashlib.sha256(words).hexdigest()}).encode()


def chunk_log(data: bytes, rng: Rng) -> bytes:
    """A log of chunks that says something else, under right checksums.

    A line of JSON with its sum, then records: magic, number, length, sum of number and payload.
    """
    if rng.random() < 0.2:
        return damaged(data, rng)
    line, _, rest = data.partition(b"\n")
    start = line.index(b"{")
    name, header = line[: start - 65], line[start:]
    records = _records(rest)
    kind = rng.randrange(5)
    if kind == 0:
        changed = value(json.loads(header), rng)
        header = json.dumps(changed).encode()
    elif kind == 1:
        at = rng.randrange(len(records))
        records[at] = (rng.choice(_NUMBERS) & 0xFFFFFFFF, records[at][1])
    elif kind == 2:
        records.insert(rng.randrange(len(records)), rng.choice(records))
        del records[rng.randrange(len(records))]
    else:
        at = rng.randrange(len(records))
        records[at] = (records[at][0], _bent_arrays(records[at][1], rng))
    out = name + hashlib.sha256(header).hexdigest().encode() + b" " + header + b"\n"
    for number, payload in records:
        check = hashlib.sha256(struct.pack("<I", number) + payload).digest()
        out += struct.pack("<4sIQ32s", b"CHNK", number, len(payload), check) + payload
    return out


def _records(data: bytes) -> list[tuple[int, bytes]]:
    found, place = [], 0
    while place < len(data):
        _, number, length, _ = struct.unpack_from("<4sIQ32s", data, place)
        place += 48
        found.append((number, data[place : place + length]))
        place += length
    return found


def _bent_arrays(data: bytes, rng: Rng) -> bytes:
    """Arrays in a zip, one of them with another shape, type or other bytes."""
    if rng.random() < 0.4:
        return zipped(data, rng)
    entries = _entries(data)
    name = rng.choice(list(entries))
    start = entries[name].index(b"\n") + 1
    body = bytearray(entries[name][start:])
    for _ in range(rng.choice((1, 2, 8)) if body else 0):
        body[rng.randrange(len(body))] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
    entries[name] = entries[name][:start] + bytes(body)
    return _zip(entries)


def words(data: bytes, rng: Rng) -> bytes:
    """A file of 32-bit words: some become odd numbers, or those of other places."""
    if rng.random() < 0.2:
        return damaged(data, rng)
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 9))):
        at = 4 * rng.randrange(len(out) // 4)
        other = 4 * rng.randrange(len(out) // 4)
        near = struct.unpack_from("<I", out, at)[0] + rng.choice((-4, -1, 1, 4, 256))
        number = rng.choice((*_NUMBERS, near, struct.unpack_from("<I", out, other)[0]))
        struct.pack_into("<I", out, at, number & 0xFFFFFFFF)
    return bytes(out)


def model(data: bytes, rng: Rng) -> bytes:
    """An ONNX file with fields of its messages changed, doubled, removed, exchanged."""
    if rng.random() < 0.1:
        return damaged(data, rng)
    proto = onnx.load_model_from_string(data)
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        _change(_somewhere(proto, rng), proto, rng)
    return bytes(proto.SerializeToString())


def _somewhere(message: Message, rng: Rng) -> Message:
    """A message inside `message`, or itself."""
    while True:
        inner = []
        for field, found in message.ListFields():
            if field.type == field.TYPE_MESSAGE:
                inner += list(found) if _repeated(field) else [found]
        if not inner or rng.random() < 0.15:
            return message
        message = rng.choice(inner)


def _repeated(field: Any) -> bool:
    repeated = getattr(field, "is_repeated", None)
    return bool(repeated) if repeated is not None else field.label == field.LABEL_REPEATED


def _change(message: Message, whole: Any, rng: Rng) -> None:
    fields = message.ListFields()
    if not fields or rng.random() < 0.1:
        fields = [(field, getattr(message, field.name)) for field in message.DESCRIPTOR.fields]
    field, found = rng.choice(fields)
    if _repeated(field):
        kind = rng.randrange(4)
        if len(found) and kind == 0:
            del found[rng.randrange(len(found))]
        elif field.type == field.TYPE_MESSAGE:
            if len(found) and kind < 3:
                found.add().CopyFrom(rng.choice(list(found)))
            elif len(found) > 1:
                items = list(found)
                rng.shuffle(items)
                copies = [type(item).FromString(item.SerializeToString()) for item in items]
                del found[:]
                found.extend(copies)
        elif len(found) and kind == 1:
            found[rng.randrange(len(found))] = _scalar(field, whole, rng)
        else:
            found.append(_scalar(field, whole, rng))
    elif field.type == field.TYPE_MESSAGE or rng.random() < 0.15:
        message.ClearField(field.name)
    else:
        setattr(message, field.name, _scalar(field, whole, rng))


def _scalar(field: Any, whole: Any, rng: Rng) -> Any:
    if field.type in (field.TYPE_FLOAT, field.TYPE_DOUBLE):
        return rng.choice(_FLOATS)
    if field.type == field.TYPE_BYTES:
        return rng.randbytes(rng.choice((0, 1, 4, 8, 16, 64)))
    if field.type == field.TYPE_STRING:
        nodes = whole.graph.node
        names = [name for node in nodes for name in (*node.input, *node.output, node.op_type)]
        kinds = ("Tile", "Expand", "ConstantOfShape", "Range", "If", "Loop", "ConvTranspose")
        odd = [word for word in _WORDS if len(word) < 99]
        return rng.choice([*names, *kinds, *odd] or [""])
    if field.type == field.TYPE_ENUM:
        return rng.choice(list(field.enum_type.values_by_number))
    number = rng.choice((*_NUMBERS, *range(-4, 24)))
    if field.type in (field.TYPE_INT32, field.TYPE_SINT32, field.TYPE_SFIXED32):
        return max(min(number, 2**31 - 1), -(2**31))
    if field.type in (field.TYPE_UINT64, field.TYPE_FIXED64):
        return abs(number)
    return number
