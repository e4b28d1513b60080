"""The family "nnlm": options of a feed-forward model over a fixed number of tokens.

Shapes: N context_tokens, E embedding_dim, U hidden_dim, V vocabulary.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from tfscale.config.costs import Costs
from tfscale.config.models import NetworkConfig
from tfscale.errors import check_range
from tfscale.registry import register


@register
@dataclass(frozen=True, kw_only=True)
class NNLMConfig(NetworkConfig):
    """Feed-forward model over a fixed number of tokens (Bengio et al. 2003)."""

    family: ClassVar[str] = "nnlm"
    network: ClassVar[str] = "tfscale.models.nnlm"
    compared_as: ClassVar[Mapping[str, int | float | bool]] = {
        "hidden_dim": 512,
        "embedding_dim": 128,
        "context_tokens": 6,
        "dropout": 0.2,
    }

    sequence_length: int = 128
    """Length of a training window in tokens; before its first token stand zeros."""
    context_tokens: int = 5
    """Tokens that the model sees, the last one included."""
    embedding_dim: int = 64
    """Width of the token embedding."""
    hidden_dim: int = 256
    """Units of the hidden layer."""
    direct_connections: bool = False
    """The output also reads the embedded tokens themselves, not through the hidden layer alone."""
    dropout: float = 0.0
    """Dropout rate on what the output layer reads, 0 to below 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_options(
            positive=("sequence_length", "embedding_dim", "hidden_dim"), rates=("dropout",)
        )
        tokens = self.context_tokens
        check_range(tokens >= 2, "model.context_tokens", tokens, "2 or more")

    @property
    def embedding_width(self) -> int:
        return self.embedding_dim

    @property
    def _window(self) -> int:
        """Width of the embedded tokens side by side, N E."""
        return self.context_tokens * self.embedding_dim

    @property
    def _output_width(self) -> int:
        """Width of the input of the output layer."""
        return self.hidden_dim + self._window * self.direct_connections

    def parameter_count(self) -> int:
        v = self.vocabulary_size
        hidden = (self._window + 1) * self.hidden_dim
        return v * self.embedding_dim + hidden + (self._output_width + 1) * v

    def matmul_shapes(self, tokens: int) -> Iterator[tuple[int, int, int]]:
        yield tokens, self._window, self.hidden_dim
        yield tokens, self._output_width, self.vocabulary_size

    def lookup_tables(self) -> list[tuple[int, int]]:
        return [(self.vocabulary_size, self.embedding_dim)]

    def costs(self) -> Costs:
        return Costs(
            parameters=self.parameter_count(),
            forward_flops=self.product_flops(),
            layers=1,
            block_values=self.hidden_dim,
            block_float32=0.0,
            kept_values=self._window,
            # The embedded tokens side by side, their gradient, and the input of the output layer.
            edge_values=2 * self._window + self._output_width,
            vocabulary_size=self.vocabulary_size,
        )
