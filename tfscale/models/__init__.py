"""Language models: one family a file, each a Keras model of token ids to logits, made from its
config."""

from tfscale.config import NetworkConfig, Precision
from tfscale.models.bert import BERT
from tfscale.models.bilstm import BiLSTMLM
from tfscale.models.capability import capabilities
from tfscale.models.network import LanguageNetwork, network_class
from tfscale.models.nnlm import NNLM
from tfscale.models.recurrent import GRULM, LSTMLM, RNNLM, RecurrentLM
from tfscale.models.transformer import TransformerLM


def build_network(
    config: NetworkConfig, precision: Precision = "float32", seed: int = 0
) -> LanguageNetwork:
    """Builds the Keras model of a config: token ids (B, T) int32 -> logits (B, T, V) float32.

    Args:
        config: a config of a registered family, with its vocabulary size.
        precision: "float32", "mixed_float16" or "mixed_bfloat16".
        seed: seed of the initial weights.

    Raises:
        ConfigError: the family has no network, or its vocabulary size is not set.

    Example:
        network = build_network(TransformerConfig(vocabulary_size=8192, sequence_length=128))
    """
    return network_class(type(config))(config, precision=precision, seed=seed)


def parameter_count(config: NetworkConfig) -> int:
    """Returns the number of trainable weights of a model, by formula, without building it.

    Example:
        parameter_count(TransformerConfig(vocabulary_size=8192))
    """
    return config.parameter_count()


__all__ = [
    "BERT",
    "GRULM",
    "LSTMLM",
    "NNLM",
    "RNNLM",
    "BiLSTMLM",
    "LanguageNetwork",
    "RecurrentLM",
    "TransformerLM",
    "build_network",
    "capabilities",
    "parameter_count",
]
