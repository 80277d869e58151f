"""One AIFF descriptor (the job of the NPU's fixed-function unit) of an `aipu.bin`.

Word map: spec formats.md section 9; a descriptor is 68 words, a layer has one or, where it is
cut into tiles (depthwise: 16 channels each), several.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

DESCRIPTOR_WORDS = 68
TILE_CHANNELS = 16

_RELU = 0x40000
_PER_CHANNEL = 1 << 22
_SIGNED_OUTPUT = 1 << 24


@dataclass(frozen=True)
class EltwiseFields:
    """The fused addition: out = (conv * k_conv + other * k_other) * mult >> shift."""

    k_conv: int
    k_other: int
    mult: int
    shift: int


@dataclass(frozen=True)
class Descriptor:
    """`words` is (68,) u32; the properties name what is understood of it."""

    words: npt.NDArray[np.uint32]

    def word(self, index: int) -> int:
        return int(self.words[index])

    @property
    def input_size(self) -> tuple[int, int]:
        """(H, W) that the unit walks over: with the padding that it needs."""
        return self.word(10) & 0xFFFF, self.word(10) >> 16

    @property
    def output_size(self) -> tuple[int, int]:
        return self.word(14) & 0xFFFF, self.word(14) >> 16

    @property
    def channels(self) -> tuple[int, int]:
        """(in, out) channels of the layer; for FullyConnected the outputs are padded to 32."""
        if self.fully_connected:
            return self.word(23) & 0xFFFF, self.word(23) >> 16
        return self.word(11), self.word(15)

    @property
    def fully_connected(self) -> bool:
        """A 1x1x1 image: the channels then stand in word 23 [seen on one layer]."""
        return self.word(11) == 1 and self.word(10) == self.word(14) == 0x10001

    @property
    def weights_address(self) -> int:
        return self.word(6)

    @property
    def bias_address(self) -> int:
        return self.word(38)

    @property
    def per_channel(self) -> bool:
        """Multipliers are a u16 vector at `multiplier_address` instead of one in the words."""
        return bool(self.word(37) & _PER_CHANNEL)

    @property
    def multiplier_address(self) -> int:
        return self.word(39)

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
    def signed_output(self) -> bool:
        return bool(self.word(37) & _SIGNED_OUTPUT)

    @property
    def relu(self) -> bool:
        return self.eltwise is None and bool(self.word(54) & _RELU)

    @property
    def eltwise(self) -> EltwiseFields | None:
        """The addition fused onto this convolution: there is one where a factor is set."""
        if self.word(48) == 0:
            return None
        return EltwiseFields(
            self.word(48), self.word(58) >> 16, self.word(53), self.word(54) & 0x3F
        )
