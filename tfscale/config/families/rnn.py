"""The family "rnn": options of a simple recurrent network."""

from dataclasses import dataclass
from typing import ClassVar

from tfscale.config.families._recurrent import RecurrentConfig
from tfscale.registry import register


@register
@dataclass(frozen=True, kw_only=True)
class RNNConfig(RecurrentConfig):
    """Embedding, simple recurrent layers and a softmax (Elman 1990; Mikolov et al. 2010)."""

    family: ClassVar[str] = "rnn"
    network: ClassVar[str] = "tfscale.models.recurrent"
    gates: ClassVar[int] = 1
