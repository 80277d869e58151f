"""One AIFF descriptor (the job of the NPU's fixed-function unit) of an `aipu.bin`.

Word map: spec aipu_bin.md; a descriptor is 68 words, a layer has one or, where it is cut into
tiles (depthwise: 16 channels each), several.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from r329fast.quantization.fixed_point import MAX_MULTIPLIER

DESCRIPTOR_WORDS = 68
TILE_CHANNELS = 16  # of a depthwise convolution
FC_TILE_OUTPUTS = 32  # outputs of a fully connected layer, padded to this
WEIGHT_BUFFER_BYTES = 72 * 1024  # 260 of 260 layers

# Words that hold addresses.
INPUT, OUTPUT, WEIGHTS, BIAS, MULTIPLIERS, OTHER = 4, 5, 6, 38, 39, 47

# Four groups of register writes: word -> (first register, count).
REGISTER_GROUPS = {0: (0x080, 12), 16: (0x100, 11), 32: (0x180, 23), 60: (0x199, 3)}

_INPUT_UNSIGNED = 1 << 10
_RELU_BYPASS = 1 << 24
_OUTPUT_UNSIGNED = 1 << 18
_BIAS_FROM_MEMORY, _BIAS_16_BIT = 1 << 3, 1 << 10
_FROM_MEMORY, _VECTOR_16_BIT, _CONSTANT = 1, 1, 2
_WITHOUT_ELTWISE, _WITH_ELTWISE = 0x80100000, 0x00108800
_SECOND_MULTIPLIER_BYPASS = 0x80000000
_LARGEST_INT32 = 0x7FFFFFFF


@dataclass(frozen=True)
class EltwiseFields:
    """The fused addition: out = (conv * k_conv + other * k_other) * mult >> shift."""

    k_conv: int
    k_other: int
    mult: int
    shift: int


def _halves(word: int) -> tuple[int, int]:
    return word & 0xFFFF, word >> 16


@dataclass(frozen=True)
class Descriptor:
    """`words` is (68,) u32; the properties name what is understood of it."""

    words: npt.NDArray[np.uint32]

    def word(self, index: int) -> int:
        return int(self.words[index])

    @property
    def padded_input(self) -> tuple[int, int]:
        """(H, W) that the unit walks over, padding included."""
        return _halves(self.word(10))

    @property
    def output_size(self) -> tuple[int, int]:
        return _halves(self.word(14))

    @property
    def tensor_channels(self) -> tuple[int, int]:
        """(in, out) channels of the whole tensors."""
        return self.word(11), self.word(15)

    @property
    def tile_channels(self) -> tuple[int, int]:
        """(in, out) of this tile; depthwise 16, 16; fully connected K, 32."""
        return _halves(self.word(23))

    @property
    def kernel(self) -> tuple[int, int]:
        """(kh, kw)."""
        word = self.word(24)
        return (word >> 6) & 0x3F, word & 0x3F

    @property
    def stride(self) -> tuple[int, int]:
        """(sy, sx)."""
        word = self.word(24)
        return (word >> 16) & 0xF, (word >> 12) & 0xF

    @property
    def pads(self) -> tuple[int, int, int, int]:
        """(top, left, bottom, right)."""
        left, right, top, bottom = ((self.word(25) >> 4 * i) & 0xF for i in range(4))
        return top, left, bottom, right

    @property
    def taps(self) -> int:
        """K = kh kw Cin of the tile."""
        return self.word(28) & 0xFFFF

    @property
    def passes(self) -> int:
        """How often a convolution walks over its input: output blocks of 16 over those a pass."""
        per_pass = (self.word(20) >> 20) + 1
        blocks = -(-self.tile_channels[1] // TILE_CHANNELS)
        return -(-blocks // per_pass)

    @property
    def signed_input(self) -> bool:
        return not self.word(20) & _INPUT_UNSIGNED

    @property
    def signed_output(self) -> bool:
        return not self.word(54) & _OUTPUT_UNSIGNED

    @property
    def relu(self) -> bool:
        """In front of the last clamp: the output is then unsigned."""
        return not self.word(37) & _RELU_BYPASS

    @property
    def per_channel(self) -> bool:
        """Multipliers are a u16 vector at word 39 instead of one in the words."""
        return (self.word(37) >> 13) & 3 == _FROM_MEMORY

    @property
    def mult(self) -> int:
        """M of the layer's requantisation (0 when per channel)."""
        return self.word(40) >> 16

    @property
    def shift(self) -> int:
        """N of the layer's requantisation."""
        return (self.word(37) >> 15) & 0x3F

    @property
    def bias_shift(self) -> int:
        """Left shift of the int16 biases on their way to the accumulator."""
        return (self.word(37) >> 5) & 0x1F

    @property
    def eltwise(self) -> EltwiseFields | None:
        """The addition fused onto this convolution: there is one where a factor is set."""
        if self.word(48) == 0:
            return None
        return EltwiseFields(
            self.word(48), self.word(58) >> 16, self.word(53) & 0xFFFF, self.word(54) & 0x3F
        )

    def strange(self) -> str:
        """A complaint about a word that no binary seen holds, or ""."""
        for at, (first, count) in REGISTER_GROUPS.items():
            if (self.word(at), self.word(at + 1)) != (first, count):
                return f"words {at}, {at + 1} are {self.word(at):#x}, {self.word(at + 1):#x}"
        control, eltwise = self.word(37), self.eltwise is not None
        source, precision = (control >> 13) & 3, (control >> 22) & 3
        expected = (_FROM_MEMORY, _VECTOR_16_BIT) if self.per_channel else (0, _CONSTANT)
        form = control & 0x0C18
        if form != _BIAS_FROM_MEMORY | _BIAS_16_BIT or (source, precision) != expected:
            return f"word 37 is {control:#010x} (sources of bias and multiplier)"
        # The two bits are opposites in all layers seen, and no addition has a ReLU.
        if self.relu == self.signed_output or (eltwise and self.relu):
            return f"words 37, 54 are {control:#010x}, {self.word(54):#010x} (ReLU and signedness)"
        if self.word(41) != _SECOND_MULTIPLIER_BYPASS:
            return f"word 41 is {self.word(41):#010x} (second multiplier)"
        if self.word(45) != (_WITH_ELTWISE if eltwise else _WITHOUT_ELTWISE):
            return f"words 45, 48 are {self.word(45):#010x}, {self.word(48):#x} (Eltwise)"
        if (self.word(50), self.word(51)) != (_LARGEST_INT32, 0):
            return f"words 50, 51 are {self.word(50):#010x}, {self.word(51):#010x} (clamp)"
        factors = max(self.word(48), self.word(58) >> 16, self.word(53) & 0xFFFF)
        if factors > MAX_MULTIPLIER or self.mult > MAX_MULTIPLIER:
            return f"words 40, 48, 53, 58 hold {factors}, {self.mult}: multipliers of 16 bits"
        if not eltwise and (self.word(53) != 1 or self.word(54) & 0x3F):
            return f"words 53, 54 are {self.word(53):#x}, {self.word(54):#x} (last multiplier)"
        return ""
