"""Bases of the recurrent families: their common options, and what follows from them.

Shapes: T tokens of a window, U hidden_dim (units), E embedding_dim, V vocabulary.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from tfscale.config.costs import Costs
from tfscale.config.fields import rare
from tfscale.config.models import NetworkConfig
from tfscale.config.shrinking import ShrinkConfig, fraction_of, rank_of

# Fractions of units, of the embedding's width, and of the remaining units as rank of the output
# projection.
_LADDER = [
    (1.0, 1.0, 1.0),
    (1.0, 1.0, 0.75),
    (1.0, 1.0, 0.5),
    (0.75, 1.0, 0.5),
    (1.0, 0.5, 0.5),
    (0.75, 0.5, 0.5),
    (0.5, 0.5, 0.5),
    (0.5, 0.25, 0.5),
    (0.25, 0.25, 0.5),
]


def loop_values(gates: int) -> float:
    """Returns the values per unit and token of a recurrent layer.

    They are its output, gates before and after their activation and two factors of their gradient,
    of which about half of one is gone by then (what XLA assigns).
    """
    return 3.5 * gates + 1


class SequentialConfig(NetworkConfig):
    """Base of the families whose layers read one token after the other, by cuDNN on a GPU."""

    learning_rate: ClassVar[float] = 5e-3
    sequential: ClassVar[bool] = True
    xla_on_gpu: ClassVar[bool] = False
    embedding_dim: int
    hidden_dim: int
    num_layers: int

    @property
    def embedding_width(self) -> int:
        return self.embedding_dim

    def product_flops(self) -> float:
        # Products of one row are taken T times.
        t = self.sequence_length
        once = 0.0
        for m, k, n in self.matmul_shapes(t):
            once += 2.0 * m * k * n * (t if m == 1 and t > 1 else 1)
        return once / t


@dataclass(frozen=True, kw_only=True)
class RecurrentConfig(SequentialConfig):
    """Options of the families of an embedding, recurrent layers and a softmax."""

    compared_as: ClassVar[Mapping[str, int | float | bool]] = {
        "hidden_dim": 512,
        "embedding_dim": 256,
        "tie_embeddings": True,
        "dropout": 0.2,
    }
    gates: ClassVar[int]
    """Products of a layer's input and state, per unit."""
    bias_rows: ClassVar[int] = 1
    """Biases per gate."""

    sequence_length: int = 128
    """Length of a training window in tokens; the state starts at zero in each, unless the model is
    stateful."""
    stateful: bool = False
    """Carry the state from each window to the next, in training and in evaluation (Mikolov et al.
    2010; Zaremba et al. 2014): the training split is read in order as train.global_batch_size
    streams, and gradients stop at a window's edge."""
    embedding_dim: int = 128
    """Width of the token embedding."""
    hidden_dim: int = 256
    """Units of each recurrent layer."""
    num_layers: int = 1
    """Recurrent layers."""
    dropout: float = 0.0
    """Dropout rate on the embedding and on each recurrent layer's output, 0 to below 1."""
    variational_dropout: bool = rare(False)
    """One dropout mask for all tokens of a window instead of one per token (Gal and Ghahramani
    2016)."""
    embedding_dropout: float = rare(0.0)
    """Rate at which whole words are dropped from the embedding table (Gal and Ghahramani 2016)."""
    recurrent_dropout: float = rare(0.0)
    """Dropout rate on the state before it enters the next step, one mask per window (Gal and
    Ghahramani 2016)."""
    weight_drop: float = rare(0.0)
    """Dropout rate on the recurrent kernel, drawn once per window batch (Merity et al. 2018,
    "AWD-LSTM")."""
    activation_regularization: float = rare(0.0)
    """Weight of the mean square of the last layer's dropped output, added to the training loss
    (Merity et al. 2018)."""
    temporal_activation_regularization: float = rare(0.0)
    """Weight of the mean square of that output's change from token to token, added likewise."""
    tie_embeddings: bool = False
    """Use the token embedding as the output projection, after a dense layer where hidden_dim is not
    embedding_dim."""
    output_rank: int = rare(0)
    """Rank of the output projection, a product of two smaller matrices; 0 is full rank. No effect
    if it is tied."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_options(
            positive=("sequence_length", "embedding_dim", "hidden_dim", "num_layers"),
            default_0=("output_rank",),
            rates=("dropout", "embedding_dropout", "recurrent_dropout", "weight_drop"),
            weights=("activation_regularization", "temporal_activation_regularization"),
        )

    def parameter_count(self) -> int:
        units, width, rank = self.hidden_dim, self.embedding_dim, self.output_rank
        inputs = [width] + [units] * (self.num_layers - 1)
        recurrent = sum(self.gates * units * (size + units + self.bias_rows) for size in inputs)
        embedding = self.vocabulary_size * width
        if self.tie_embeddings:
            return embedding + recurrent + (units * width if units != width else 0)
        return embedding + recurrent + units * rank + ((rank or units) + 1) * self.vocabulary_size

    def matmul_shapes(self, tokens: int) -> Iterator[tuple[int, int, int]]:
        # A recurrent layer multiplies one time step at once.
        rows = max(1, tokens // self.sequence_length)
        units, width, rank = self.hidden_dim, self.embedding_dim, self.output_rank
        for layer in range(self.num_layers):
            yield rows, (units if layer else width), self.gates * units
            yield rows, units, self.gates * units
        if self.tie_embeddings and units != width:
            yield tokens, units, width
        if not self.tie_embeddings and rank:
            yield tokens, units, rank
        yield tokens, (width if self.tie_embeddings else rank or units), self.vocabulary_size

    def lookup_tables(self) -> list[tuple[int, int]]:
        embedding = [] if self.tie_embeddings else [(self.vocabulary_size, self.embedding_dim)]
        biases = [(self.bias_rows, self.gates * self.hidden_dim)] * self.num_layers
        return embedding + (biases if self.bias_rows > 1 else [])

    def costs(self) -> Costs:
        return Costs(
            parameters=self.parameter_count(),
            forward_flops=self.product_flops(),
            layers=self.num_layers,
            block_values=loop_values(self.gates) * self.hidden_dim,
            block_float32=0.0,
            kept_values=self.hidden_dim,
            edge_values=3 * self.embedding_dim,
            vocabulary_size=self.vocabulary_size,
        )

    def shrink_ladder(self) -> list[ShrinkConfig]:
        ladder = []
        may_lose_units = not (self.tie_embeddings and self.hidden_dim == self.embedding_dim)
        for units, table, output in _LADDER:
            left = fraction_of(self.hidden_dim, units) if may_lose_units else 0
            kept = left or self.hidden_dim
            rank = 0 if self.tie_embeddings or self.output_rank else fraction_of(kept, output)
            if rank * (kept + self.vocabulary_size) >= kept * self.vocabulary_size:
                rank = 0  # It would save nothing.
            width = rank_of(self.embedding_dim, table, self.vocabulary_size)
            if self.tie_embeddings and (width == kept or left == self.embedding_dim):
                # There would be no projection, and on the way none, to keep what the output has
                # learned.
                continue
            ladder.append(ShrinkConfig(lstm_units=left, embedding_rank=width, output_rank=rank))
        return list(dict.fromkeys(ladder)) or [ShrinkConfig()]

    def shrunken(self, shrink: ShrinkConfig) -> "RecurrentConfig":
        return dataclasses.replace(
            self,
            hidden_dim=shrink.lstm_units or self.hidden_dim,
            embedding_dim=shrink.embedding_rank or self.embedding_dim,
            output_rank=shrink.output_rank or self.output_rank,
        )
