"""The family "gru": options of a GRU."""

from dataclasses import dataclass
from typing import ClassVar

from tfscale.config.families._recurrent import RecurrentConfig
from tfscale.registry import register


@register
@dataclass(frozen=True, kw_only=True)
class GRUConfig(RecurrentConfig):
    """Embedding, GRU layers and a softmax (Cho et al. 2014)."""

    family: ClassVar[str] = "gru"
    network: ClassVar[str] = "tfscale.models.recurrent"
    optimizer: ClassVar[str] = "muon"
    gates: ClassVar[int] = 3
    # Products of input and of state have a bias each: the reset gate comes between them.
    bias_rows: ClassVar[int] = 2
