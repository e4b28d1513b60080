"""The family "lstm": options of an LSTM."""

from dataclasses import dataclass
from typing import ClassVar

from tfscale.config.families._recurrent import RecurrentConfig
from tfscale.registry import register


@register
@dataclass(frozen=True, kw_only=True)
class LSTMConfig(RecurrentConfig):
    """Embedding, LSTM layers and a softmax (Mikolov et al. 2010; Zaremba et al. 2014; Merity et al.
    2018)."""

    family: ClassVar[str] = "lstm"
    network: ClassVar[str] = "tfscale.models.recurrent"
    optimizer: ClassVar[str] = "muon"
    learning_rate: ClassVar[float] = 1e-2
    gates: ClassVar[int] = 4
