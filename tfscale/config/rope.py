"""`RopeOptions`: what the rotary positions of a layer have besides their base."""

from dataclasses import dataclass
from typing import Literal

RopeScaling = Literal["none", "linear", "llama3"]


@dataclass(frozen=True)
class RopeOptions:
    """Options of rotary positions; the fields `rope_*` of `TransformerConfig` say what each does.

    Attributes:
        fraction: part of a head's numbers that are turned, above 0 to 1.
        scaling: how positions are stretched.
        factor: by how much.
        low_frequency_factor: with llama3, `original_length` over the longest wavelength that is not
            stretched in full.
        high_frequency_factor: with llama3, `original_length` over the longest one that is not
            stretched at all.
        original_length: with llama3, the context in tokens before it was stretched.
    """

    fraction: float = 1.0
    scaling: RopeScaling = "none"
    factor: float = 1.0
    low_frequency_factor: float = 1.0
    high_frequency_factor: float = 4.0
    original_length: int = 8192

    def turned(self, width: int) -> int:
        """Returns how many numbers of a head of this width are turned; the first of them are."""
        return int(width * self.fraction)
