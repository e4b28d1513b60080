"""The family "bilstm": options of two stacks of LSTM layers, one from each end.

Shapes: T tokens of a window, U hidden_dim (units of a direction), E embedding_dim, V vocabulary.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from tfscale.config.costs import Costs
from tfscale.config.families._recurrent import SequentialConfig, loop_values
from tfscale.config.models import EXPORT_USE, Predicts
from tfscale.errors import check_range
from tfscale.registry import register

_GATES = 4


@register
@dataclass(frozen=True, kw_only=True)
class BiLSTMConfig(SequentialConfig):
    """Two stacks of LSTM layers, one from each end, that predict the token between them: a cloze,
    no language model."""

    family: ClassVar[str] = "bilstm"
    network: ClassVar[str] = "tfscale.models.bilstm"
    predicts: ClassVar[Predicts] = "cloze"
    uses: ClassVar[tuple[str, ...]] = (
        "fill RUN --text 'a text with a ___ in it'",
        f"{EXPORT_USE} --quantize int8",
    )

    sequence_length: int = 128
    """Length of a training window in tokens; both states start at zero at its ends."""
    embedding_dim: int = 128
    """Width of the token embedding, and of the layer that joins the two directions."""
    hidden_dim: int = 256
    """Units of each LSTM layer of a direction."""
    num_layers: int = 1
    """LSTM layers of a direction."""
    dropout: float = 0.0
    """Dropout rate on the embedding and on each LSTM layer's output, 0 to below 1."""
    tie_embeddings: bool = True
    """Use the token embedding as the output projection (Press and Wolf 2017)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_options(
            positive=("embedding_dim", "hidden_dim", "num_layers"), rates=("dropout",)
        )
        length = self.sequence_length
        check_range(length >= 3, "model.sequence_length", length, "3 or more")

    def parameter_count(self) -> int:
        units, width, v = self.hidden_dim, self.embedding_dim, self.vocabulary_size
        inputs = [width] + [units] * (self.num_layers - 1)
        recurrent = 2 * sum(_GATES * units * (size + units + 1) for size in inputs)
        output = 0 if self.tie_embeddings else (width + 1) * v
        return v * width + recurrent + (2 * units + 1) * width + output

    def matmul_shapes(self, tokens: int) -> Iterator[tuple[int, int, int]]:
        # Both directions multiply one time step at once.
        rows = max(1, tokens // self.sequence_length)
        units, width = self.hidden_dim, self.embedding_dim
        for layer in range(self.num_layers):
            yield rows, (units if layer else width), 2 * _GATES * units
            yield rows, units, 2 * _GATES * units
        yield tokens, 2 * units, width
        yield tokens, width, self.vocabulary_size

    def lookup_tables(self) -> list[tuple[int, int]]:
        return [] if self.tie_embeddings else [(self.vocabulary_size, self.embedding_dim)]

    def costs(self) -> Costs:
        units = self.hidden_dim
        return Costs(
            parameters=self.parameter_count(),
            forward_flops=self.product_flops(),
            layers=self.num_layers,
            block_values=2 * loop_values(_GATES) * units,
            block_float32=0.0,
            kept_values=2 * units,
            edge_values=4 * self.embedding_dim,
            vocabulary_size=self.vocabulary_size,
        )
