"""A writer of the aipu.bin format for tests: the inverse of the reader.

It takes a program as the reader names it (gaps in the numbers become constant copies) and lays out
all sections as the vendor's files have them: buffers are reused, maps that only fixed-function jobs
touch live in SRAM, every second without a buffer in DDR. No core programs: it is no vendor binary.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import numpy as np

from r329fast.program.program import LayerRecord, Op, Program
from support.aipu_canonical import number_of

RO, DDR, STACK = 0x10000000, 0x20000000, 0x40400
SRAM, HALF = 0xF0000000, 512 * 1024
WINDOW, WINDOW_BYTES = 0xE0000000, 0x04000000
UNSEEN = 0xFFFFFFFF
DTYPE = {"uint8": 2, "int8": 3, "int16": 5, "int32": 7}


@dataclass
class Slot:
    """A reuse section: the maps that share it, one after the other."""

    size: int = 0
    busy_until: int = -1
    maps: list[str] = field(default_factory=list)
    address: int = 0


@dataclass
class Patch:
    """A sub-buffer: (section, offset, size, kind, index, dtype, shape) and its places in RO."""

    fields: tuple[int, ...]
    shape: tuple[int, ...]
    places: list[int] = field(default_factory=list)


class Writer:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.data = bytearray()
        self.static: list[tuple[int, int, list[Patch]]] = []  # (offset, size, sub-buffers)
        self.desc = np.zeros(0, np.uint32)
        self.links: list[tuple[int, int, int]] = []
        self.steps = self.grouped()
        self.entries = max(number for number, _ in self.steps) + 1
        self.ro = np.zeros((self.entries + 1, 64), np.uint32)
        self.buffers: dict[tuple[str, int, tuple[int, ...]], Patch] = {}
        self.slots: list[Slot] = []
        self.slot_of: dict[str, Slot] = {}
        self.half_of: dict[str, int] = {}
        self.work = 0  # address of the scratch that constant copies write to

    # -- which maps live where --------------------------------------------------------------------

    def grouped(self) -> list[tuple[int, list[LayerRecord]]]:
        """(RO entry, its layers): a convolution and the addition on it are one."""
        groups: dict[int, list[LayerRecord]] = {}
        for layer in self.program.layers:
            if layer.type != "Input":
                groups.setdefault(number_of(layer.name), []).append(layer)
        return sorted(groups.items())

    def plan(self) -> None:
        """A slot for every map, and a half of SRAM for some."""
        last: dict[str, int] = dict.fromkeys(self.program.outputs, self.entries)
        readers: dict[str, list[str]] = {}
        for number, layers in self.steps:
            for layer in layers:
                for name in layer.inputs:
                    last[name] = max(last.get(name, 0), number)
                    readers.setdefault(name, []).append(layer.type)
        for name in self.program.inputs:
            self.place(name, 0, last.get(name, 0))
        halves = [-1, -1]
        for number, layers in self.steps:
            name, made = layers[-1].name, layers[-1]
            fixed = made.type in ("Convolution", "DepthwiseConv", "Eltwise") and name in readers
            size = self.program.tensors[name].elements
            if (
                fixed
                and size <= HALF
                and name not in self.program.outputs
                and all(
                    kind in ("Convolution", "DepthwiseConv", "Eltwise") for kind in readers[name]
                )
            ):
                free = [half for half in (0, 1) if halves[half] < number]
                if free:
                    halves[free[0]] = last[name]
                    self.half_of[name] = free[0]
            self.place(name, number, last.get(name, number))
        address = DDR + STACK + (len(self.data) + 127) // 128 * 128
        for slot in self.slots:
            slot.address = address
            address += (slot.size + 127) // 128 * 128
        self.work = address

    def place(self, name: str, first: int, last: int) -> None:
        size = self.program.tensors[name].elements
        slot = next((slot for slot in self.slots if slot.busy_until < first), None)
        if slot is None:
            slot = Slot()
            self.slots.append(slot)
        slot.size, slot.busy_until = max(slot.size, size), max(last, first)
        slot.maps.append(name)
        self.slot_of[name] = slot

    # -- words ------------------------------------------------------------------------------------

    def constant(self, array: np.ndarray, place: int, dtype: str, shape: tuple[int, ...]) -> int:
        """Constants in Data with one sub-buffer, patched at byte `place` of RO; the address."""
        self.data += bytes(-len(self.data) % 128)
        offset = len(self.data)
        self.data += array.tobytes()
        patch = Patch((0, array.nbytes, 3, 0, DTYPE[dtype]), shape or (0, 0, 0, 0), [place])
        self.static.append((offset, array.nbytes, [patch]))
        return DDR + STACK + offset

    def tiled_constant(self, arrays: list[np.ndarray], places: list[int], dtype: str) -> list[int]:
        """One section with a sub-buffer for each tile."""
        self.data += bytes(-len(self.data) % 128)
        offset, patches, addresses = len(self.data), [], []
        for array, place in zip(arrays, places, strict=True):
            at = len(self.data) - offset
            addresses.append(DDR + STACK + len(self.data))
            self.data += array.tobytes()
            patches.append(Patch((at, array.nbytes, 3, 0, DTYPE[dtype]), (0, 0, 0, 0), [place]))
        self.static.append((offset, len(self.data) - offset, patches))
        return addresses

    def patch(self, name: str, place: int, step: int = 0, kind: int = 3, index: int = 0) -> int:
        """The address of a map (+ step), to stand at byte `place` of RO and Desc."""
        spec = self.program.tensors[name]
        shape = (1, *spec.shape) if len(spec.shape) == 3 else (1, 0, 0, 0)
        key = name, step, (kind, index)
        fields = (step, spec.elements, kind, index, DTYPE[spec.dtype])
        self.buffers.setdefault(key, Patch(fields, shape)).places.append(place)
        return self.slot_of[name].address + step

    # -- steps ------------------------------------------------------------------------------------

    def write(self) -> bytes:
        self.measure()
        self.plan()
        self.emit()
        return self.assemble()

    def measure(self) -> None:
        """The size of Data, by writing it once with addresses that are thrown away."""
        self.slot_of = {name: Slot() for name in self.program.tensors}
        self.emit()
        size = len(self.data)
        self.__init__(self.program)  # type: ignore[misc]
        self.data = bytearray(size)

    def emit(self) -> None:
        self.data = bytearray()
        numbers = {number for number, _ in self.steps}
        for number in range(1, self.entries):
            if number not in numbers:
                source = self.constant(np.zeros(4, np.int32), 256 * number, "int32", ())
                self.ro[number, :3] = source, 16, self.work
                patch = Patch((0, 16, 3, 0, DTYPE["int32"]), (1, 0, 0, 0), [256 * number + 8])
                self.buffers["", number, ()] = patch
        for number, layers in self.steps:
            kind = layers[0].type
            if kind in ("Convolution", "DepthwiseConv", "FullyConnected"):
                self.job(number, layers)
            else:
                self.move(number, layers[0])
        self.ends()

    def ops(self, layer: LayerRecord) -> Op:
        """The op that computes, behind any views."""
        return next(op for op in self.program.ops[slice(*layer.ops)] if op.kind != "reshape")

    def move(self, number: int, layer: LayerRecord) -> None:
        w, op, at = self.ro[number], self.ops(layer), 256 * number
        view = self.program.tensors[op.inputs[0]].shape
        output = self.program.tensors[layer.name]
        if layer.type == "Concat":
            rescaled = any(int(shift) for shift in op.consts["shift"])
            for i, (name, seen) in enumerate(zip(layer.inputs, op.inputs, strict=True)):
                mult = int(op.consts["mult"][i]) if rescaled else 255
                signed = self.program.tensors[name].dtype == "int8"
                w[3 * i] = self.program.tensors[seen].shape[-1]
                w[3 * i + 1] = self.patch(name, at + 4 * (3 * i + 1))
                w[3 * i + 2] = mult << 16 | 8 << 8 | signed
            w[60] = self.patch(layer.name, at + 240)
            w[61] = len(layer.inputs) << 16 | 1 << 8 | rescaled
            w[62], w[63] = output.shape[-1], output.elements // output.shape[-1]
        elif layer.type == "Slice":
            begin, end = op.integers("begin"), op.integers("end")
            w[0:6] = 1, *view, 4, 1
            w[7:11] = 0, *begin
            w[11:15] = 1, *(e - b for b, e in zip(begin, end, strict=True))
            w[6], w[15] = self.patch(layer.inputs[0], at + 24), self.patch(layer.name, at + 60)
        elif layer.type == "Reduce":
            (axis,) = op.integers("axes")
            w[0:7] = 1, 1, *view, axis + 2, 6
            w[7], w[8] = self.patch(layer.inputs[0], at + 28), self.patch(layer.name, at + 32)
            w[9:12] = op.consts["mult"][0], op.consts["shift"][0], 1
        else:
            perm = op.integers("perm")
            w[0:11] = 1, *view, 1, 0, *(p + 1 for p in perm), 1, 4
            w[11], w[12] = self.patch(layer.inputs[0], at + 44), self.patch(layer.name, at + 48)
            w[13] = self.patch(layer.name, at + 52)

    def job(self, number: int, layers: list[LayerRecord]) -> None:
        layer, op = layers[0], self.ops(layers[0])
        added = self.ops(layers[1]) if len(layers) > 1 else None
        depthwise, dense = layer.type == "DepthwiseConv", layer.type == "FullyConnected"
        x = self.program.tensors[op.inputs[0]]
        y = self.program.tensors[layers[-1].name]
        tiles = y.shape[-1] // 16 if depthwise else 1
        start = len(self.desc)
        size = -(-tiles * 0x110 // 0x100) * 0x100 // 4 if tiles > 1 else 0x200 // 4
        self.desc = np.concatenate([self.desc, np.zeros(size, np.uint32)])
        base = 4 * self.ro.size + 4 * start
        rows = self.desc[start : start + 68 * tiles].reshape(tiles, 68)
        rows[:] = self.descriptor(op, added, x.shape, y.shape, depthwise, dense)
        rows[:, 20] |= (x.dtype == "uint8") << 10
        rows[:, 54] |= (y.dtype == "uint8") << 18
        self.store_constants(rows, base, op, depthwise, dense)

        names = [layer.inputs[0], layers[-1].name]
        places = [4, 5]
        if added is not None:
            names.insert(1, layers[1].inputs[1])
            places.insert(1, 47)
        pointer = 8 if added is not None else 6
        self.ro[number, pointer] = RO + base
        self.links.append((256 * number + 4 * pointer, 1, 4 * start))
        for k, (name, place) in enumerate(zip(names, places, strict=True)):
            self.operand(number, rows, base, k, name, place, depthwise)
        sizes = [self.program.tensors[name].elements for name in names]
        block = np.zeros(32, np.uint32)
        if depthwise or dense:
            step = (16, 16) if depthwise else (0, 32)
            block[:8] = 1, tiles, 68, *sizes, *step, 1
        else:
            block[: 3 + len(sizes)] = 1, *sizes, 68, 1
            block[3 + len(sizes) : 7 + len(sizes)] = UNSEEN
        self.ro[number, 0] = self.constant(block, 256 * number, "uint8", ())

    def operand(
        self, number: int, rows: np.ndarray, base: int, k: int, name: str, place: int, tiled: bool
    ) -> None:
        step = 16 if tiled else 0
        half = self.half_of.get(name)
        for tile, row in enumerate(rows):
            if half is None:
                row[place] = self.patch(name, base + 4 * (68 * tile + place), step * tile)
            else:
                row[place] = WINDOW + k * WINDOW_BYTES + step * tile
        if half is not None:
            at = 2 + 2 * k
            self.ro[number, at] = self.ro[number, at + 1] = SRAM + half * HALF
            if number_of(name) % 2:  # a shadow in DDR, as half of the vendor's have
                self.ro[number, at + 1] = self.patch(name, 256 * number + 4 * (at + 1))

    def descriptor(
        self,
        op: Op,
        added: Op | None,
        x: tuple[int, ...],
        y: tuple[int, ...],
        depthwise: bool,
        dense: bool,
    ) -> np.ndarray:
        d = np.zeros(68, np.uint32)
        for at, group in {0: (0x80, 12), 16: (0x100, 11), 32: (0x180, 23), 60: (0x199, 3)}.items():
            d[at : at + 2] = group
        per_channel = op.consts["mult"].size > 1 or depthwise
        shift, mult = int(op.consts["shift"][0]), int(op.consts["mult"][0])
        relu = op.attrs["act"] == "RELU"
        d[37] = 1 << 3 | 1 << 10 | shift << 15 | (0 if relu else 1 << 24)
        d[37] |= 1 << 13 | 1 << 22 if per_channel else 2 << 22
        d[40] = 0 if per_channel else mult << 16
        d[[41, 45, 50, 53]] = 0x80000000, 0x80100000, 0x7FFFFFFF, 1
        if added is not None:
            scales = added.consts["scales"]
            d[[45, 48, 55, 58]] = 0x00108800, scales[0], 1, int(scales[1]) << 16
            d[53], d[54] = added.consts["mult"][0], added.consts["shift"][0]
        if dense:
            d[[10, 11, 12, 13, 14, 15]] = 0x10001, 1, 0x10001, 1, 0x10001, 1
            d[23] = 32 << 16 | x[-1]
            return d
        (top, left, bottom, right), (kh, kw) = op.integers("pads"), op.integers("kernel")
        sy, sx = op.integers("stride")
        inside, outside = (16, 16) if depthwise else (x[2], y[2])
        d[10] = x[0] + top + bottom | x[1] + left + right << 16
        d[11], d[12], d[13] = x[2], y[0] | y[1] << 16, outside
        d[14], d[15] = y[0] | y[1] << 16, y[2]
        blocks = min(-(-outside // 16), 73728 // (16 * kh * kw * inside))
        d[20] = max(blocks - 1, 0) << 20
        d[23] = outside << 16 | inside
        d[24] = kw | kh << 6 | sx << 12 | sy << 16
        d[25] = left | right << 4 | top << 8 | bottom << 12
        d[28] = kh * kw * inside * 0x10001
        return d

    def store_constants(
        self, rows: np.ndarray, base: int, op: Op, depthwise: bool, dense: bool
    ) -> None:
        """Weights, biases and multipliers of all tiles, and their addresses in the rows."""
        weights, bias = op.consts["weights"], op.consts["bias"].astype(np.int64)
        shift = 0
        while not ((bias >> shift).min() >= -32768 and (bias >> shift).max() < 32768):
            shift += 1
        assert np.array_equal((bias >> shift) << shift, bias)
        stored = (bias >> shift).astype("<i2")
        rows[:, 37] |= shift << 5

        def place(tile: int, at: int) -> int:
            return base + 4 * (68 * tile + at)

        if depthwise:
            tiles, channels = len(rows), len(weights)
            assert channels == 16 * tiles
            stored = stored.reshape(tiles, 16)
            mult = op.consts["mult"].astype("<u2").reshape(tiles, 16)
            wide = np.zeros((tiles, 16, *weights.shape[1:3], 16), np.int8)
            for channel in range(channels):
                tile, lane = divmod(channel, 16)
                wide[tile, lane, :, :, lane] = weights[channel, :, :, 0]
            for at, arrays, dtype in (
                (38, stored, "int16"),
                (39, mult, "int16"),
                (6, wide, "int8"),
            ):
                places = [place(tile, at) for tile in range(tiles)]
                rows[:, at] = self.tiled_constant(list(arrays), places, dtype)
            return
        shape = weights.shape
        if dense:
            padded = np.zeros((weights.shape[1], 32), np.int8)
            padded[:, : len(weights)] = weights.T
            weights, shape = padded, (0, 0, 0, 0)
            stored = np.pad(stored, (0, 32 - len(stored)))
        rows[0, 38] = self.constant(stored, place(0, 38), "int16", ())
        rows[0, 6] = self.constant(np.ascontiguousarray(weights), place(0, 6), "int8", shape)

    def ends(self) -> None:
        number = len(self.ro) - 1
        names = [*self.program.inputs, *self.program.outputs]
        for at, name in enumerate(names):
            kind = int(at >= len(self.program.inputs))
            index = at - kind * len(self.program.inputs)
            self.ro[number, at] = self.patch(name, 256 * number + 4 * at, 0, kind, index)

    # -- the file ---------------------------------------------------------------------------------

    def assemble(self) -> bytes:
        bss = [STACK, 16, len(self.static), len(self.slots) + 1]
        for offset, size, patches in self.static:
            bss += [offset, size, 128, len(patches)]
            for patch in patches:
                bss += self.sub_buffer(patch)
        for slot in self.slots:
            patches = [p for (name, *_), p in self.buffers.items() if name in slot.maps]
            bss += [slot.size, 128, len(patches)]
            for patch in patches:
                bss += self.sub_buffer(patch)
        scratch = [patch for (name, *_), patch in self.buffers.items() if not name]
        bss += [16, 128, len(scratch)]
        for patch in scratch:
            bss += self.sub_buffer(patch)
        links = struct.pack("<I", len(self.links))
        for place, kind, target in self.links:
            links += struct.pack("<4I", 0, place, kind, target)
        parts = [bytes(16), self.ro.tobytes(), self.desc.tobytes(), bytes(self.data)]
        parts += [struct.pack(f"<{len(bss)}I", *bss), b""]
        spans, offset = [], 0x68
        for part in parts:
            spans += [offset, len(part)]
            offset += len(part)
        spans[-2:] = 0, 0  # no misc section
        size = offset + len(links)
        header = [0x000102BD, 4 << 24, 175 << 16 | 2, 0x68, size, 0, 1 << 4, 0, *spans, 0, 0]
        head = b"AIPU BIN".ljust(16, b"\0") + struct.pack("<22I", *header)
        return head + b"".join(parts) + links

    def sub_buffer(self, patch: Patch) -> list[int]:
        offset, size, kind, index, dtype = patch.fields
        words = [offset, size, kind, index, dtype, 1, *patch.shape]
        return [*words, UNSEEN, len(patch.places), *patch.places]


def write_aipu(program: Program) -> bytes:
    """A file that reads back as `program` (as the reader names and scales it)."""
    return Writer(program).write()
