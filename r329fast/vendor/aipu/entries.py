"""RO entries: what each of the binary's steps is, and which memory it reads and writes.

An entry has no name of its op. One with a link into Desc is a job of the fixed-function unit (its
layer block tells the form); otherwise the set of words that the loader patches tells it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from r329fast.errors import FileError, UnsupportedModelError
from r329fast.vendor.aipu.container import (
    DTYPES,
    LINK_TO_DESC,
    RO_ENTRY_BYTES,
    RO_ENTRY_WORDS,
    AipuBin,
    Buffer,
    Words,
)
from r329fast.vendor.aipu.descriptor import DESCRIPTOR_WORDS, INPUT, OTHER, OUTPUT, Descriptor

# Operand k of a descriptor may lie in a window instead of at its own address.
WINDOW_BASE, WINDOW_BYTES = 0xE0000000, 0x04000000
SRAM_BASE, SRAM_BYTES = 0xF0000000, 2 * 512 * 1024  # two halves
CODE_44 = DESCRIPTOR_WORDS  # stands in the layer block at a place that tells its form
LAYER_BLOCK_WORDS = 32

_CONCAT_OUTPUT, _CONCAT_FORM, _CONCAT_CHANNELS, _CONCAT_PLACES = 60, 61, 62, 63
_MOST_CONCAT_INPUTS = 20
_MOVES = {
    frozenset({6, 15}): "slice",
    frozenset({7, 8}): "mean",
    frozenset({11, 12, 13}): "transpose",
    frozenset({0, 2}): "constant",
}
# (input word, output word) of the entries that are no fixed-function job
_PLACES = {"slice": (6, 15), "mean": (7, 8), "transpose": (11, 12)}
_FORM_NAMES = {3: "plain", 2: "tiled", 4: "eltwise"}  # by the place of CODE_44
_STEP_DEPTHWISE, _STEPS_FC = (0x10, 0x10), (0, 0x20)


@dataclass(frozen=True)
class Operand:
    """Memory that a step reads or writes: `size` bytes at `address` (DDR or SRAM).

    shape: per image, without the batch axis; dtype: int8 or uint8, "" where the file does not give
    it (the writer of the file knows); buffer: as the loader knows it, None for SRAM alone.
    """

    address: int
    size: int
    shape: tuple[int, ...]
    dtype: str
    buffer: Buffer | None

    @property
    def in_sram(self) -> bool:
        return self.address >= SRAM_BASE


@dataclass(frozen=True)
class Entry:
    """One step, in execution order.

    op: conv, depthwise, fc, concat, slice, mean, transpose, constant, or "unknown"; index: of its
    RO entry; words: (64,); descriptors: one per tile; strange: why it is unknown.
    """

    index: int
    op: str
    words: Words
    inputs: tuple[Operand, ...] = ()
    output: Operand | None = None
    descriptors: tuple[Descriptor, ...] = ()
    strange: str = ""

    @property
    def made(self) -> Operand:
        """Its output; UnsupportedModelError for an entry whose form is not known."""
        if self.output is None:
            words = self.strange or f"an entry ({self.op}) without an output"
            raise UnsupportedModelError(f"{self.where}: {words}")
        return self.output

    @property
    def where(self) -> str:
        return f"aipu.bin: RO entry {self.index}"

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """(M, N): one per input of a concat, one of a mean."""
        if self.op == "mean":
            return ((int(self.words[9]), int(self.words[10])),)
        forms = [int(self.words[2 + 3 * i]) for i in range(len(self.inputs))]
        return tuple((form >> 16, (form >> 8) & 0xFF) for form in forms)

    @property
    def rescaled(self) -> bool:
        """A concat that holds inputs with other scales than its output."""
        return bool(self.words[_CONCAT_FORM] & 0xFF)

    @property
    def tiles(self) -> int:
        return len(self.descriptors)


def describe_words(words: Words) -> str:
    """Words that are not zero, for a message: "0: 0x1, 5: 0x3"."""
    filled = [f"{at}: {int(word):#x}" for at, word in enumerate(words) if word]
    return ", ".join(filled[:16]) + (" .." if len(filled) > 16 else "")


def read_entries(binary: AipuBin) -> list[Entry]:
    """All steps; one whose form is not known has op "unknown". Raises FileError."""
    if len(binary.ro) < 2:
        raise FileError(f"aipu.bin: {len(binary.ro)} RO entries, at least 2 are needed")
    targets: dict[int, int] = {}
    for link in binary.links:
        entry = link.offset // RO_ENTRY_BYTES
        if link.kind == LINK_TO_DESC and entry < len(binary.ro) - 1:
            targets[entry] = link.target
    patched: dict[int, set[int]] = {}
    for word in binary.patched:
        entry, at = divmod(word, RO_ENTRY_WORDS)
        patched.setdefault(entry, set()).add(at)
    entries = []
    for index in range(1, len(binary.ro) - 1):
        places = frozenset(patched.get(index, ()))
        if index in targets:
            entries.append(_job(binary, index, targets[index]))
        else:
            entries.append(_step(binary, index, places))
    return entries


def _unknown(binary: AipuBin, index: int, why: str) -> Entry:
    return Entry(index, "unknown", binary.ro[index], strange=why)


def known(entry: Entry) -> Entry:
    """The entry itself; raises UnsupportedModelError with the words of one that is unknown."""
    if entry.op == "unknown":
        raise UnsupportedModelError(f"{entry.where}: {entry.strange}")
    return entry


# --- operands ---------------------------------------------------------------------------------


def _operand(binary: AipuBin, address: int, word: int, where: str) -> Operand:
    """The buffer that `word` (of RO and Desc) is patched with, at `address`."""
    buffer = binary.patched.get(word)
    if buffer is None:
        raise FileError(f"{where}: no buffer belongs to word {word % RO_ENTRY_WORDS}")
    shape = _buffer_shape(buffer, where)
    return Operand(address, buffer.size, shape, DTYPES[buffer.dtype], buffer)


def _buffer_shape(buffer: Buffer, where: str) -> tuple[int, ...]:
    """Per image; a plain run of bytes is (bytes,)."""
    if DTYPES.get(buffer.dtype) not in ("uint8", "int8"):
        raise UnsupportedModelError(f"{where}: a feature map of dtype {buffer.dtype}")
    shape = buffer.shape[1:]
    if not buffer.size:
        raise FileError(f"{where}: a buffer of no bytes")
    if buffer.shape[0] != 1 or (any(shape) and prod(shape) != buffer.size):
        raise UnsupportedModelError(
            f"{where}: a buffer of shape {buffer.shape} and {buffer.size} bytes"
        )
    return shape if all(shape) else (buffer.size,)


def operand_at(binary: AipuBin, index: int, at: int) -> Operand:
    """The buffer whose address stands at word `at` of RO entry `index`."""
    address = int(binary.ro[index, at])
    return _operand(binary, address, index * RO_ENTRY_WORDS + at, f"aipu.bin: RO entry {index}")


def _step(binary: AipuBin, index: int, patched: frozenset[int]) -> Entry:
    """An entry that a program of its own carries out."""
    words = binary.ro[index]
    count = int(words[_CONCAT_FORM]) >> 16
    is_concat = 0 < count <= _MOST_CONCAT_INPUTS and patched == {
        *(1 + 3 * i for i in range(count)),
        _CONCAT_OUTPUT,
    }
    op = "concat" if is_concat else _MOVES.get(patched)
    if op is None:
        return _unknown(
            binary,
            index,
            f"addresses at words {sorted(patched)} are those of no known op (known: convolution, "
            f"depthwise, fully connected, Eltwise, Concat, Slice, Mean, Transpose); its words "
            f"are {describe_words(words)}",
        )
    if op == "concat":
        inputs = tuple(operand_at(binary, index, 1 + 3 * i) for i in range(count))
        entry = Entry(index, op, words, inputs, operand_at(binary, index, _CONCAT_OUTPUT))
    elif op == "constant":
        size, address = int(words[1]), int(words[2])
        return Entry(index, op, words, (), Operand(address, size, (size,), "", None))
    else:
        first, last = _PLACES[op]
        inputs = (operand_at(binary, index, first),)
        entry = Entry(index, op, words, inputs, operand_at(binary, index, last))
    complaint = _move_complaint(entry)
    if complaint:
        return _unknown(binary, index, f"{complaint}; its words are {describe_words(words)}")
    return entry


def _move_complaint(entry: Entry) -> str:
    """What in the words of a concat, slice, mean or transpose is not as in the binaries seen."""
    words = [int(word) for word in entry.words]
    output = entry.made
    if entry.op == "concat":
        channels = [words[3 * i] for i in range(len(entry.inputs))]
        signed = [words[2 + 3 * i] & 0xFF for i in range(len(entry.inputs))]
        places = words[_CONCAT_PLACES]
        sizes = [operand.size for operand in entry.inputs]
        if sizes != [count * places for count in channels] or any(flag > 1 for flag in signed):
            return f"a Concat of {channels} channels at {places} places and {sizes} bytes"
        if sum(channels) != words[_CONCAT_CHANNELS] or sum(sizes) != output.size:
            return f"a Concat of {channels} channels to {words[_CONCAT_CHANNELS]}"
        if [operand.dtype == "int8" for operand in entry.inputs] != [bool(f) for f in signed]:
            return f"a Concat whose input signs {signed} are not those of its buffers"
        if (words[_CONCAT_FORM] >> 8) & 0xFF != 1:
            return f"a Concat with form {words[_CONCAT_FORM]:#x}"
    elif entry.op == "slice":
        shape, begin, size = words[0:4], words[7:11], words[11:15]
        fits = all(b + n <= whole and n > 0 for b, n, whole in zip(begin, size, shape, strict=True))
        if words[4:6] != [4, 1] or not fits or shape[0] != 1 or size[0] != 1:
            return f"a Slice of {shape} from {begin} of {size}"
        if (entry.inputs[0].size, output.size) != (prod(shape), prod(size)):
            return f"a Slice of {shape} to {size} between other bytes"
    elif entry.op == "mean":
        view, axis = words[2:5], words[5] - 1
        if words[6] != 6 or words[11] != 1 or words[1] != 1 or axis not in (1, 2):
            return f"a Mean of form {words[6]}, {words[11]} over axis {axis}"
        if words[9] > 255 or words[10] > 31:
            return f"a Mean with M {words[9]}, N {words[10]}"
        if entry.inputs[0].size != prod(view) or output.size * view[axis - 1] != prod(view):
            return f"a Mean of {view} over axis {axis} between other bytes"
    elif entry.op == "transpose":
        shape, perm = words[0:4], words[5:9]
        if words[10] != 4 or sorted(perm) != [0, 1, 2, 3] or perm[0] != 0 or shape[0] != 1:
            return f"a Transpose of {shape} by {perm}"
        if entry.inputs[0].size != prod(shape) or output.size != prod(shape):
            return f"a Transpose of {shape} between other bytes"
    return ""


# --- jobs of the fixed-function unit ----------------------------------------------------------


def _job(binary: AipuBin, index: int, target: int) -> Entry:
    words, where = binary.ro[index], f"aipu.bin: RO entry {index}"
    block = [int(word) for word in binary.constants(int(words[0]), "<u4", LAYER_BLOCK_WORDS)]
    form = next((_FORM_NAMES[at] for at in (3, 2, 4) if block[at] == CODE_44), "")
    if block[0] != 1 or not form:
        return _unknown(binary, index, f"a layer block of {block[:12]}, known have 68 at 2, 3 or 4")
    tiles = block[1] if form == "tiled" else 1
    first = target // 4
    if target % 4 or not 0 < tiles <= 4096 or first + tiles * DESCRIPTOR_WORDS > len(binary.desc):
        raise FileError(f"{where}: {tiles} descriptors at {target:#x} are outside Desc")
    pointer = 8 if form == "eltwise" else 6
    if int(words[pointer]) != binary.desc_base + target:
        raise FileError(f"{where}: word {pointer} does not point at its descriptor")
    rows = binary.desc[first : first + tiles * DESCRIPTOR_WORDS].reshape(tiles, -1)
    descriptors = tuple(Descriptor(row) for row in rows)
    for tile in descriptors:
        if complaint := tile.strange():
            return _unknown(binary, index, f"a descriptor whose {complaint}")
    if (descriptors[0].eltwise is not None) != (form == "eltwise"):
        return _unknown(binary, index, f"a layer block of {form} form with other descriptors")
    op = _kind(block, form)
    if not op:
        return _unknown(binary, index, f"a tiled layer with steps {block[5]:#x}, {block[6]:#x}")
    places = [INPUT, OTHER, OUTPUT] if form == "eltwise" else [INPUT, OUTPUT]
    begin = 3 if form == "tiled" else 1
    operands = [
        _job_operand(
            binary, index, first, k, at, _job_view(op, descriptors[0], at), block[begin + k]
        )
        for k, at in enumerate(places)
    ]
    return Entry(index, op, words, tuple(operands[:-1]), operands[-1], descriptors)


def _job_view(op: str, tile: Descriptor, at: int) -> tuple[tuple[int, ...], str]:
    """(shape, dtype) of an operand as the descriptor gives them."""
    dtype = "int8" if tile.signed_output else "uint8"
    if at == INPUT:
        dtype = "int8" if tile.signed_input else "uint8"
    elif at == OTHER:
        dtype = ""
    if op == "fc":
        return (), dtype
    if at == INPUT:
        height, width = tile.padded_input
        top, left, bottom, right = tile.pads
        return (height - top - bottom, width - left - right, tile.tensor_channels[0]), dtype
    return (*tile.output_size, tile.tensor_channels[1]), dtype


def _kind(block: list[int], form: str) -> str:
    if form != "tiled":
        return "conv"
    steps = block[5], block[6]
    return {_STEP_DEPTHWISE: "depthwise", _STEPS_FC: "fc"}.get(steps, "")


def _job_operand(
    binary: AipuBin,
    index: int,
    first: int,
    k: int,
    at: int,
    view: tuple[tuple[int, ...], str],
    size: int,
) -> Operand:
    """Operand k of a job; its descriptor word may name a window, whose place the entry holds."""
    where = f"aipu.bin: RO entry {index}"
    address = int(binary.desc[first + at])
    word = binary.ro.size + first + at
    window = WINDOW_BASE + k * WINDOW_BYTES
    if window <= address < window + WINDOW_BYTES:
        place = 2 + 2 * k
        address += int(binary.ro[index, place]) - window
        word = index * RO_ENTRY_WORDS + place + 1
    elif address >= WINDOW_BASE:
        raise UnsupportedModelError(f"{where}: operand {k} lies in a window, {address:#x}")
    shape, dtype = view
    shape = shape or (size,)
    buffer = binary.patched.get(word)
    if buffer is None and address < SRAM_BASE:
        raise FileError(f"{where}: no buffer belongs to operand {k}")
    if buffer is not None:
        known_shape = _buffer_shape(buffer, where)
        if dtype not in ("", DTYPES[buffer.dtype]) or buffer.size != size:
            raise FileError(
                f"{where}: operand {k} is {dtype} of {size} bytes in its descriptor and layer "
                f"block, {DTYPES[buffer.dtype]} of {buffer.size} in its buffer"
            )
        dtype = DTYPES[buffer.dtype]
        if len(shape) == 3 and len(known_shape) == 3 and known_shape[:2] == shape[1::-1]:
            shape = known_shape  # the order of H and W in the descriptor is not proved
    if prod(shape) != size or min(shape) < 1:
        raise FileError(f"{where}: operand {k} has shape {shape} and {size} bytes")
    return Operand(address, size, shape, dtype, buffer)


def layer_block(binary: AipuBin, entry: Entry) -> np.ndarray:
    """The 32 words of a job's layer block."""
    return binary.constants(int(entry.words[0]), "<u4", LAYER_BLOCK_WORDS)
