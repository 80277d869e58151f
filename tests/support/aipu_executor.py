"""An executor of an aipu.bin on a byte memory, from the words of the file alone.

It shares no code with the reader of the product but the outer container: it follows RO entries
and descriptors through one DDR and one SRAM memory, tile by tile, at the addresses that the file
names, so that reused buffers really are overwritten. Sums are exact (float64 products of bytes,
int64 behind them); shifts round half to even, as the product's default.
"""

from __future__ import annotations

import numpy as np

from r329fast.vendor.aipu.container import AipuBin

DDR, SRAM, SRAM_BYTES = 0x20000000, 0xF0000000, 1 << 20
WINDOW, WINDOW_BYTES = 0xE0000000, 0x04000000
RO, ENTRY = 0x10000000, 64


class Machine:
    """Memory with the binary's constants in it; `run` carries out all entries."""

    def __init__(self, binary: AipuBin) -> None:
        self.ro = binary.ro.astype(np.int64)
        self.desc = binary.desc.astype(np.int64)
        self.desc_base = RO + 4 * binary.ro.size
        self.links = {link.offset // 256: link.target for link in binary.links if link.kind == 1}
        data = DDR + binary.stack_bytes
        buffers = [*binary.static, *binary.reuse]
        ends = [
            binary.word(place // 4) + buffer.size
            for section in buffers
            for buffer in section.buffers
            for place in buffer.ro_offsets
        ]
        top = max(end for end in ends if DDR <= end < WINDOW)
        self.ddr = np.zeros(top - DDR, np.uint8)
        self.sram = np.zeros(SRAM_BYTES, np.uint8)
        self.bytes(data, len(binary.data))[:] = np.frombuffer(binary.data, np.uint8)
        last = self.ro[-1]
        ends_of: dict[int, dict[int, tuple[int, int, str]]] = {0: {}, 1: {}}
        for section in binary.reuse:
            for buffer in section.buffers:
                for place in buffer.ro_offsets:
                    entry, byte = divmod(place, 256)
                    if entry == len(self.ro) - 1 and buffer.kind in ends_of:
                        dtype = "uint8" if buffer.dtype == 2 else "int8"
                        where = int(last[byte // 4]), buffer.size, dtype
                        ends_of[buffer.kind][buffer.index] = where
        self.inputs = [ends_of[0][number] for number in sorted(ends_of[0])]
        self.outputs = [ends_of[1][number] for number in sorted(ends_of[1])]

    def bytes(self, address: int, size: int) -> np.ndarray:
        """A writable view of memory."""
        base, memory = (SRAM, self.sram) if address >= SRAM else (DDR, self.ddr)
        start = address - base
        assert 0 <= start <= start + size <= len(memory), hex(address)
        return memory[start : start + size]

    def array(self, address: int, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return self.bytes(int(address), size).view(dtype).reshape(shape)

    def run(self, inputs: list[np.ndarray]) -> dict[int, np.ndarray]:
        """One image; inputs: flat bytes by id. RO entry -> the bytes that it wrote, flat."""
        for (address, size, dtype), values in zip(self.inputs, inputs, strict=True):
            self.array(address, (size,), dtype)[:] = values.reshape(-1)
        trace = {}
        for index in range(1, len(self.ro) - 1):
            written = self.job(index) if index in self.links else self.program(index)
            trace[index] = written.reshape(-1).copy()
        return trace

    # -- entries with a program of their own ------------------------------------------------------

    def program(self, index: int) -> np.ndarray:
        w = self.ro[index]
        if w[10] == 4 and w[4] == 1 and w[9] == 1:
            shape = tuple(w[0:4])
            x = self.array(w[11], shape, "int8").transpose(tuple(w[5:9]))
            y = self.array(w[12], x.shape, "int8")
        elif w[4] == 4 and w[5] == 1 and w[15]:
            x = self.array(w[6], tuple(w[0:4]), "int8")
            cut = tuple(slice(b, b + n) for b, n in zip(w[7:11], w[11:15], strict=True))
            x = x[cut]
            y = self.array(w[15], x.shape, "int8")
        elif w[61] >> 16:
            return self.concat(w)
        elif w[6] == 6 and w[11] == 1:
            axis = int(w[5]) - 1
            x = self.array(w[7], (1, *w[2:5]), "uint8").astype(np.int64)
            x = np.clip(rounded(x.sum(axis=axis, keepdims=True) * w[9], w[10]), 0, 255)
            y = self.array(w[8], x.shape, "uint8")
        else:  # a constant copy
            x = self.bytes(int(w[0]), int(w[1]))
            y = self.bytes(int(w[2]), int(w[1]))
        y[:] = x.copy()
        return y

    def concat(self, w: np.ndarray) -> np.ndarray:
        parts = []
        for number in range(int(w[61]) >> 16):
            channels, address, form = w[3 * number : 3 * number + 3]
            mult, shift, signed = int(form) >> 16, (int(form) >> 8) & 0xFF, int(form) & 0xFF
            dtype = "int8" if signed else "uint8"
            x = self.array(address, (int(w[63]), int(channels)), dtype).astype(np.int64)
            if w[61] & 0xFF:
                x = rounded(x * mult, shift)
            parts.append(x)
        joined = np.clip(np.concatenate(parts, axis=1), -128, 127)
        y = self.array(w[60], joined.shape, "int8")
        y[:] = joined
        return y

    # -- jobs of the fixed-function unit ----------------------------------------------------------

    def job(self, index: int) -> np.ndarray:
        block = self.array(self.ro[index, 0], (32,), "<u4").astype(np.int64)
        tiled, eltwise = block[2] == 68, block[4] == 68
        tiles = int(block[1]) if tiled else 1
        first = self.links[index] // 4
        out_size = int(block[4]) if tiled else int(block[3]) if eltwise else int(block[2])
        start = None
        for tile in range(tiles):
            d = self.desc[first + 68 * tile : first + 68 * (tile + 1)]
            where = [self.operand(index, k, int(d[at])) for k, at in enumerate(
                (4, 47, 5) if eltwise else (4, 5)
            )]  # fmt: skip
            start = where[-1] if start is None else start
            if d[11] == 1 and d[10] == 0x10001:
                self.dense(d, where, out_size)
            else:
                self.convolution(d, where)
        assert start is not None
        return self.bytes(start, out_size)

    def operand(self, index: int, k: int, address: int) -> int:
        if address < WINDOW:
            return address
        return int(self.ro[index, 2 + 2 * k]) + address - (WINDOW + k * WINDOW_BYTES)

    def scaled(self, d: np.ndarray, total: np.ndarray, count: int) -> np.ndarray:
        """Bias, multiplier, shift and first clamp, for sums [.., count]."""
        bias = self.array(d[38], (count,), "<i2").astype(np.int64)
        total = total + (bias << ((int(d[37]) >> 5) & 31))
        mult: object = int(d[40]) >> 16
        if (int(d[37]) >> 13) & 3 == 1:
            mult = self.array(d[39], (count,), "<u2").astype(np.int64)
        y = rounded(total * mult, (int(d[37]) >> 15) & 63)
        return np.clip(y, 0, 255) if not (int(d[37]) >> 24) & 1 else np.clip(y, -128, 127)

    def convolution(self, d: np.ndarray, where: list[int]) -> None:
        height, width = int(d[10]) & 0xFFFF, int(d[10]) >> 16
        rows, columns = int(d[14]) & 0xFFFF, int(d[14]) >> 16
        inputs, outputs = int(d[23]) & 0xFFFF, int(d[23]) >> 16
        kw, kh = int(d[24]) & 63, (int(d[24]) >> 6) & 63
        sx, sy = (int(d[24]) >> 12) & 15, (int(d[24]) >> 16) & 15
        left, right, top, bottom = ((int(d[25]) >> 4 * i) & 15 for i in range(4))
        dtype = "uint8" if (int(d[20]) >> 10) & 1 else "int8"
        inner = height - top - bottom, width - left - right
        x = np.zeros((height, width, inputs))
        x[top : top + inner[0], left : left + inner[1]] = self.strided(
            where[0], inner[0] * inner[1], int(d[11]), inputs, dtype
        ).reshape(*inner, inputs)
        weights = self.array(d[6], (outputs, kh, kw, inputs), "int8").astype(np.float64)
        total = np.zeros((rows * columns, outputs))
        for i in range(kh):
            for j in range(kw):
                part = x[i : i + sy * rows : sy, j : j + sx * columns : sx][:rows, :columns]
                total += part.reshape(-1, inputs) @ weights[:, i, j].T
        y = self.scaled(d, total.astype(np.int64), outputs)
        if d[48]:
            other = self.strided(where[1], rows * columns, int(d[15]), outputs, "int8")
            y = y * int(d[48]) + other.astype(np.int64) * (int(d[58]) >> 16)
            y = np.clip(rounded(y * (int(d[53]) & 0xFFFF), int(d[54]) & 63), -128, 127)
        kind = "uint8" if (int(d[54]) >> 18) & 1 else "int8"
        self.strided(where[-1], rows * columns, int(d[15]), outputs, kind)[:] = y

    def strided(self, address: int, places: int, step: int, count: int, dtype: str) -> np.ndarray:
        """[places, count] of a map whose channels lie `step` bytes apart from place to place."""
        flat = self.bytes(address, (places - 1) * step + count).view(dtype)
        return np.lib.stride_tricks.as_strided(flat, (places, count), (step, 1))

    def dense(self, d: np.ndarray, where: list[int], outputs: int) -> None:
        inputs, padded = int(d[23]) & 0xFFFF, int(d[23]) >> 16
        dtype = "uint8" if (int(d[20]) >> 10) & 1 else "int8"
        x = self.array(where[0], (inputs,), dtype).astype(np.float64)
        weights = self.array(d[6], (inputs, padded), "int8").astype(np.float64)
        y = self.scaled(d, (x @ weights).astype(np.int64), padded)[:outputs]
        kind = "uint8" if (int(d[54]) >> 18) & 1 else "int8"
        self.array(where[-1], (outputs,), kind)[:] = y


def rounded(product: np.ndarray, shift: int) -> np.ndarray:
    """product / 2**shift to the nearest integer, ties to even, exactly."""
    half = (1 << int(shift)) // 2
    down = product >> int(shift)
    rest = product - (down << int(shift))
    return down + ((rest > half) | ((rest == half) & (half > 0) & (down % 2 == 1)))
