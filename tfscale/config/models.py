"""The options of each model family, in the manner of `tfscale.config`, which hands them on."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from tfscale.config.options import Options
from tfscale.errors import ConfigError, check_range

_EXPORT = "export RUN --output export"
WRITES = ("generate RUN --prompt TEXT", f"{_EXPORT} --quantize int8")
"""What a run that writes text is used by."""


def _check(
    config: Any,
    *,
    positive: tuple[str, ...] = (),
    default_0: tuple[str, ...] = (),
    rates: tuple[str, ...] = (),
    weights: tuple[str, ...] = (),
) -> None:
    """Refuses options out of range; `vocabulary_size` is one of every family."""
    check_range(
        config.vocabulary_size >= 0,
        "vocabulary_size",
        config.vocabulary_size,
        "0 (the tokenizer's) or more",
    )
    for names, holds, expected in (
        (positive, lambda value: value >= 1, "1 or more"),
        (default_0, lambda value: value >= 0, "0 (its default) or more"),
        (rates, lambda value: 0 <= value < 1, "0 to below 1"),
        (weights, lambda value: value >= 0, "0 or more"),
    ):
        for name in names:
            check_range(
                holds(getattr(config, name)), f"model.{name}", getattr(config, name), expected
            )


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Options):
    """Base of the config classes of all model families, n-grams included."""

    section: ClassVar[str] = "model"
    family: ClassVar[str]
    """The name of the family, as in `--model.family`."""
    uses: ClassVar[tuple[str, ...]] = WRITES
    """Commands that make use of a trained run, RUN."""

    vocabulary_size: int = 0
    """Entries of the vocabulary; 0 takes the tokenizer's."""


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(ModelConfig):
    """Base of the config classes of the families that are networks: see
    `tfscale.LanguageNetwork`."""

    learning_rate: ClassVar[float] = 1e-3
    """Peak learning rate that is taken where the training options name none."""

    sequence_length: int = 128
    """Length of a training window in tokens."""

    @property
    def stateful(self) -> bool:
        """Whether a batch begins with the state that the one before it ended with."""
        return False


@dataclass(frozen=True, kw_only=True)
class TransformerConfig(NetworkConfig):
    """Decoder-only Transformer: as it is in the manner of GPT-2 (Radford et al. 2019); Llama's
    parts are options."""

    family: ClassVar[str] = "transformer"

    sequence_length: int = 128
    """Context in tokens: the length of a training window and the most that the model can look
    back."""
    hidden_dim: int = 128
    """Width of the residual stream."""
    num_layers: int = 4
    """Transformer blocks."""
    num_heads: int = 4
    """Attention heads; must divide hidden_dim where head_dim is 0."""
    head_dim: int = 0
    """Width of a head; 0 takes hidden_dim / num_heads."""
    feed_forward_dim: int = 0
    """Width of the feed-forward layer; 0 takes 4 x hidden_dim."""
    positions: Literal["learned", "rope"] = "learned"
    """A vector per position, or rotary positions in each attention layer (Su et al. 2021)."""
    rope_base: float = 10_000.0
    """Base of the rotary positions. No effect with positions=learned."""
    normalization: Literal["layer", "rms"] = "layer"
    """Layer normalization, or RMS normalization (Zhang and Sennrich 2019)."""
    norm_epsilon: float = 1e-5
    """Added to the variance in every normalization; Llama and Gemma have 1e-6."""
    activation: Literal["gelu", "gelu_tanh", "swiglu", "geglu"] = "gelu"
    """Of the feed-forward layer: GELU, its approximation by tanh (GPT-2), or SiLU (swiglu) or that
    approximation (geglu) with a gate per unit (Shazeer 2020), which has half as many weights
    more."""
    num_kv_heads: int = 0
    """Heads of keys and values, each read by several query heads (Ainslie et al. 2023); 0 takes
    num_heads."""
    attention_window: int = 0
    """Tokens that a token sees in each layer, itself included (Beltagy et al. 2020); 0 is all."""
    global_tokens: int = 0
    """With attention_window: first tokens of the context that every token sees besides (Zaheer et
    al. 2020; Xiao et al. 2024), so that the attention is block-sparse."""
    feed_forward_rank: int = 0
    """Rank of the two matrices of the feed-forward layer, each a product of two smaller ones; 0 is
    full rank."""
    embedding_rank: int = 0
    """Width of the token embedding, with a matrix between it and hidden_dim (Lan et al. 2020); 0
    takes hidden_dim."""
    dropout: float = 0.0
    """Dropout rate after the embedding, attention and feed-forward layers, 0 to below 1."""
    use_bias: bool = False
    """Biases in the dense and normalization layers (GPT-2 has them)."""
    tie_embeddings: bool = True
    """Use the token embedding as the output projection (Press and Wolf 2017)."""
    scale_embeddings: bool = False
    """Multiply the token embedding by the square root of hidden_dim before the first block (Vaswani
    et al. 2017)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(
            self,
            positive=("sequence_length", "hidden_dim", "num_layers", "num_heads"),
            rates=("dropout",),
            default_0=(
                "feed_forward_dim",
                "head_dim",
                "feed_forward_rank",
                "embedding_rank",
                "num_kv_heads",
                "attention_window",
                "global_tokens",
            ),
        )
        check_range(self.rope_base > 1, "model.rope_base", self.rope_base, "more than 1")
        check_range(self.norm_epsilon > 0, "model.norm_epsilon", self.norm_epsilon, "more than 0")
        if self.global_tokens and not 0 < self.global_tokens <= self.attention_window:
            raise ConfigError(
                f"model.global_tokens={self.global_tokens} goes with a model.attention_window of as"
                f" many tokens or more; it is {self.attention_window}"
            )
        if self.num_heads % self.kv_heads:
            raise ConfigError(
                f"model.num_heads={self.num_heads} is not divisible by"
                f" model.num_kv_heads={self.num_kv_heads}"
            )
        if not self.head_dim and self.hidden_dim % self.num_heads:
            raise ConfigError(
                f"model.hidden_dim={self.hidden_dim} is not divisible by"
                f" model.num_heads={self.num_heads}"
            )
        if self.positions == "rope" and self.head_width % 2:
            raise ConfigError(
                f"rotary positions turn pairs of numbers, and a head has {self.head_width} of them"
            )

    @property
    def table_rows(self) -> int:
        """Rows of the token embedding."""
        return self.vocabulary_size

    @property
    def feed_forward_width(self) -> int:
        """Width of the feed-forward layer."""
        return self.feed_forward_dim or 4 * self.hidden_dim

    @property
    def gated(self) -> bool:
        """Whether the feed-forward layer has a gate for each unit."""
        return self.activation in ("swiglu", "geglu")

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values."""
        return self.num_kv_heads or self.num_heads

    @property
    def head_width(self) -> int:
        """Width of a head."""
        return self.head_dim or self.hidden_dim // self.num_heads


@dataclass(frozen=True, kw_only=True)
class BERTConfig(TransformerConfig):
    """Transformer whose tokens see both sides, trained to guess hidden tokens (Devlin et al. 2019):
    what tasks start from. It has one token more, the mask."""

    family: ClassVar[str] = "bert"
    uses: ClassVar[tuple[str, ...]] = (
        "finetune RUN --task classify --train FILE.csv --output task",
    )

    mask_rate: float = 0.15
    """Part of the tokens of a training window that are to be guessed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(0 < self.mask_rate <= 0.5, "model.mask_rate", self.mask_rate, "above 0 to 0.5")
        if self.attention_window:
            raise ConfigError(
                "model.attention_window is for a model that looks back; bert sees all of both sides"
            )

    @property
    def table_rows(self) -> int:
        """Rows of the token embedding: the vocabulary, and the mask."""
        return self.vocabulary_size + 1

    @property
    def mask_id(self) -> int:
        """The token that stands for a hidden one."""
        return self.vocabulary_size

    @property
    def parts(self) -> int:
        """Passes in which every token is hidden once, as many at a time as in training."""
        return round(1 / self.mask_rate)


@dataclass(frozen=True, kw_only=True)
class RecurrentConfig(NetworkConfig):
    """What the recurrent families have in common: embedding, recurrent layers and a softmax."""

    family: ClassVar[str]
    learning_rate: ClassVar[float] = 5e-3
    gates: ClassVar[int]

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
    variational_dropout: bool = False
    """One dropout mask for all tokens of a window, in the place of one per token (Gal and
    Ghahramani 2016)."""
    embedding_dropout: float = 0.0
    """Rate at which whole words are dropped from the embedding table (Gal and Ghahramani 2016)."""
    recurrent_dropout: float = 0.0
    """Dropout rate on the state before it enters the next step, one mask per window (Gal and
    Ghahramani 2016)."""
    weight_drop: float = 0.0
    """Dropout rate on the recurrent kernel, drawn once per window batch (Merity et al. 2018,
    "AWD-LSTM")."""
    activation_regularization: float = 0.0
    """Weight of the mean square of the last layer's dropped output, added to the training loss
    (Merity et al. 2018)."""
    temporal_activation_regularization: float = 0.0
    """Weight of the mean square of that output's change from token to token, added likewise."""
    tie_embeddings: bool = False
    """Use the token embedding as the output projection, after a dense layer where hidden_dim is not
    embedding_dim."""
    output_rank: int = 0
    """Rank of the output projection, a product of two smaller matrices; 0 is full rank. No effect
    if it is tied."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(
            self,
            positive=("sequence_length", "embedding_dim", "hidden_dim", "num_layers"),
            default_0=("output_rank",),
            rates=("dropout", "embedding_dropout", "recurrent_dropout", "weight_drop"),
            weights=("activation_regularization", "temporal_activation_regularization"),
        )


@dataclass(frozen=True, kw_only=True)
class LSTMConfig(RecurrentConfig):
    """Embedding, LSTM layers and a softmax (Mikolov et al. 2010; Zaremba et al. 2014; Merity et al.
    2018)."""

    family: ClassVar[str] = "lstm"
    learning_rate: ClassVar[float] = 1e-2
    gates: ClassVar[int] = 4


@dataclass(frozen=True, kw_only=True)
class GRUConfig(RecurrentConfig):
    """Embedding, GRU layers and a softmax (Cho et al. 2014)."""

    family: ClassVar[str] = "gru"
    gates: ClassVar[int] = 3


@dataclass(frozen=True, kw_only=True)
class RNNConfig(RecurrentConfig):
    """Embedding, simple recurrent layers and a softmax (Elman 1990; Mikolov et al. 2010)."""

    family: ClassVar[str] = "rnn"
    gates: ClassVar[int] = 1


@dataclass(frozen=True, kw_only=True)
class BiLSTMConfig(NetworkConfig):
    """Two stacks of LSTM layers, one from each end, that predict the token between them: a cloze,
    no language model."""

    family: ClassVar[str] = "bilstm"
    learning_rate: ClassVar[float] = 5e-3
    uses: ClassVar[tuple[str, ...]] = (
        "fill RUN --text 'a text with a ___ in it'",
        f"{_EXPORT} --quantize int8",
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
        _check(self, positive=("embedding_dim", "hidden_dim", "num_layers"), rates=("dropout",))
        check_range(
            self.sequence_length >= 3, "model.sequence_length", self.sequence_length, "3 or more"
        )


@dataclass(frozen=True, kw_only=True)
class NNLMConfig(NetworkConfig):
    """Feed-forward model over a fixed number of tokens (Bengio et al. 2003)."""

    family: ClassVar[str] = "nnlm"

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
        _check(
            self, positive=("sequence_length", "embedding_dim", "hidden_dim"), rates=("dropout",)
        )
        check_range(
            self.context_tokens >= 2, "model.context_tokens", self.context_tokens, "2 or more"
        )


@dataclass(frozen=True, kw_only=True)
class NGramConfig(ModelConfig):
    """Counts of n-grams, smoothed by interpolated modified Kneser-Ney (Chen and Goodman 1998)."""

    family: ClassVar[str] = "ngram"
    uses: ClassVar[tuple[str, ...]] = ("generate RUN --prompt TEXT", f"{_EXPORT} --format ngram")

    order: int = 5
    """Tokens of the longest n-grams, 1 to 10."""
    min_counts: list[int] = field(default_factory=lambda: [1])
    """Least count of the n-grams that are kept, from order 1 up; the last number holds for the
    orders above it."""
    arpa: str = ""
    """An ARPA file to take the model from, in the place of counting; its words must be tokens of
    the data's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self)
        check_range(1 <= self.order <= 10, "model.order", self.order, "1 to 10")
        counts = self.min_counts
        rising = (
            bool(counts)
            and counts[0] == 1
            and all(a <= b for a, b in zip(counts, counts[1:], strict=False))
        )
        check_range(
            rising, "model.min_counts", counts, "1 and then numbers that do not fall, such as 1 1 2"
        )


MODEL_CONFIGS: dict[str, Any] = {
    config.family: config
    for config in (
        TransformerConfig,
        LSTMConfig,
        GRUConfig,
        RNNConfig,
        NNLMConfig,
        BiLSTMConfig,
        BERTConfig,
    )
}
