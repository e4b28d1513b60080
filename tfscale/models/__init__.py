"""Language models: one family a file, each a builder from its config to a Keras model of token ids
to logits."""

from typing import Any

from tfscale.config import (
    BERTConfig,
    BiLSTMConfig,
    GRUConfig,
    LSTMConfig,
    NetworkConfig,
    NNLMConfig,
    Precision,
    RNNConfig,
    TransformerConfig,
)
from tfscale.errors import ConfigError
from tfscale.models.bert import BERT
from tfscale.models.bilstm import BiLSTMLM
from tfscale.models.nnlm import NNLM
from tfscale.models.recurrent import GRULM, LSTMLM, RNNLM, RecurrentLM
from tfscale.models.transformer import TransformerLM

Network = TransformerLM | RecurrentLM | NNLM
"""Networks that predict the next token and decode token by token; `BiLSTMLM` and `BERT` do
neither."""

_FAMILIES: dict[Any, Any] = {
    TransformerConfig: TransformerLM,
    LSTMConfig: LSTMLM,
    GRUConfig: GRULM,
    RNNConfig: RNNLM,
    NNLMConfig: NNLM,
    BiLSTMConfig: BiLSTMLM,
    BERTConfig: BERT,
}


def build_network(
    config: NetworkConfig, precision: Precision = "float32", seed: int = 0
) -> Network:
    """Builds the Keras model of a config: token ids (B, T) int32 -> logits (B, T, V) float32.

    Args:
        config: one of `tfscale.config.MODEL_CONFIGS`, with its vocabulary size.
        precision: "float32", "mixed_float16" or "mixed_bfloat16".
        seed: seed of the initial weights.

    Raises:
        ConfigError: the config's class has no builder, or its vocabulary size is not set.

    Example:
        network = build_network(TransformerConfig(vocabulary_size=8192, sequence_length=128))
    """
    if type(config) not in _FAMILIES:
        raise ConfigError(
            f"no model family for {type(config).__name__}; expected one of {sorted(families())}"
        )
    return _FAMILIES[type(config)](config, precision=precision, seed=seed)


def parameter_count(config: NetworkConfig) -> int:
    """Trainable weights of a model with this config, by formula, without building it."""
    return _FAMILIES[type(config)].parameter_count(config)


def network_classes() -> list[type]:
    """The classes that `build_network` makes, for Keras to find them when it loads a file."""
    return list(_FAMILIES.values())


def families() -> list[str]:
    """Names of the model families."""
    return [config.family for config in _FAMILIES]


__all__ = [
    "GRULM",
    "LSTMLM",
    "Network",
    "RNNLM",
    "RecurrentLM",
    "TransformerLM",
    "build_network",
    "families",
    "network_classes",
    "parameter_count",
]
