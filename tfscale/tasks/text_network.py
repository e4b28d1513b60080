"""The network that writes a text for a text, on the weights of a run."""

import dataclasses
from typing import Any

import keras

from tfscale.config.tasks import TaskConfig
from tfscale.errors import ConfigError
from tfscale.models import build_network
from tfscale.models.encoder_decoder import EncoderDecoder
from tfscale.models.prefix import PrefixLM, check_base
from tfscale.tasks.network import TaskNetwork, add_low_rank


def text_lengths(run: Any, config: TaskConfig) -> dict[str, int]:
    """Tokens of the source and of the target part.

    Args:
        run: a `Run`.
        config: the options of a task that writes texts.

    Returns:
        `source_length` and `target_length`.

    Raises:
        ConfigError: the run cannot attend to a source, or its learned positions are too few.
    """
    architecture = config.architecture or "prefix"
    check_base(run.network, architecture)
    context, half = run.model_config.sequence_length, run.model_config.sequence_length // 2
    source, target = config.source_length or half, config.target_length or half
    # A stack of its own has positions of its own.
    needed = source + target if architecture == "prefix" else max(source, target)
    if run.model_config.positions == "learned" and needed > context:
        raise ConfigError(
            f"source_length={source} and target_length={target} need {needed} positions, and the"
            f" run has learned {context}; give less, or take a run with --model.positions rope"
        )
    if source < 3 or target < 2:
        raise ConfigError(
            f"the run's context of {context} tokens is too short to be halved; give both lengths"
        )
    return {"source_length": source, "target_length": target}


def in_float32(network: Any) -> Any:
    """A task's network that computes in float32, as an exported file does; itself if it does
    already."""
    base = getattr(network, "base", network)
    if base.precision == "float32":
        return network
    copy = type(base).from_config(base.get_config() | {"precision": "float32"})
    if isinstance(network, TaskNetwork):
        copy = TaskNetwork(copy, **network.options)
    elif network is not base:
        copy = PrefixLM(copy, end_id=network.end_id)
    copy.set_weights(network.get_weights())
    return copy


def text_network(run: Any, config: TaskConfig, encoder: Any) -> keras.Model:
    """The network of a task that writes texts, with the run's weights as its first ones.

    Args:
        run: a `Run` of a Transformer.
        config: the task's options.
        encoder: its `SequenceEncoder`.
    """
    sizes = dataclasses.replace(
        run.model_config, dropout=config.dropout, sequence_length=encoder.sequence_length
    )
    end = run.tokenizer.end_id
    if encoder.architecture == "encoder_decoder":
        network = EncoderDecoder(
            sizes,
            source_length=encoder.source_length,
            target_length=encoder.target_length,
            end_id=end,
            precision=config.precision,
            seed=config.seed,
        )
        network.start_from(run.network)
        return network
    base = build_network(sizes, config.precision, config.seed)
    # Of learned positions those are left out that no row has.
    values = zip(base.weights, run.network.get_weights(), strict=True)
    base.set_weights([value[: weight.shape[0]] for weight, value in values])
    if config.lora_rank:
        add_low_rank(base, config.lora_rank, config.seed)
    return PrefixLM(base, end_id=end)
