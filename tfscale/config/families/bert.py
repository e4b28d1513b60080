"""The family "bert": options of a Transformer that reads both sides of a token."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from tfscale.config.families.transformer import TransformerConfig
from tfscale.config.fields import rare
from tfscale.config.gpt2_parts import GPT2_PARTS
from tfscale.config.models import Masking, Predicts
from tfscale.errors import ConfigError, check_range
from tfscale.registry import register


@register
@dataclass(frozen=True, kw_only=True)
class BERTConfig(TransformerConfig):
    """Transformer whose tokens see both sides, trained to guess hidden tokens (Devlin et al. 2019):
    what tasks start from. It has one token more, the mask."""

    family: ClassVar[str] = "bert"
    has_presets: ClassVar[bool] = False
    network: ClassVar[str] = "tfscale.models.bert"
    optimizer: ClassVar[str] = "adamw"
    predicts: ClassVar[Predicts] = "masked"
    uses: ClassVar[tuple[str, ...]] = (
        "finetune RUN --task classify --train FILE.csv --output task",
    )

    mask_rate: float = 0.15
    """Part of the tokens of a training window that are to be guessed."""
    # The parts of BERT are GPT-2's; the defaults of the decoder were chosen for decoders alone.
    positions: Literal["learned", "rope"] = GPT2_PARTS["positions"]
    normalization: Literal["layer", "rms"] = GPT2_PARTS["normalization"]
    query_key_norm: bool = GPT2_PARTS["query_key_norm"]
    activation: Literal["gelu", "gelu_tanh", "relu_squared", "swiglu", "geglu"] = GPT2_PARTS[
        "activation"
    ]
    residual_initializer: Literal["scaled", "zeros"] = rare(GPT2_PARTS["residual_initializer"])

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
    def masking(self) -> Masking:
        """The way in which training windows hide tokens: the mask follows the vocabulary."""
        return Masking(mask_id=self.vocabulary_size, rate=self.mask_rate)
