"""The network that writes a text for a text, on the weights of a run."""

import dataclasses

import keras

from tfscale.config.tasks import TaskConfig
from tfscale.errors import ConfigError
from tfscale.models import build_network
from tfscale.models.encoder_decoder import EncoderDecoder
from tfscale.models.prefix import PrefixLM, check_base
from tfscale.runs.folder import Run
from tfscale.tasks.network import add_low_rank


def text_lengths(run: Run, config: TaskConfig) -> tuple[int, int]:
    """Returns the tokens of the source part and of the target part.

    Args:
        run: the run that is fine-tuned.
        config: the options of a task that writes texts.

    Raises:
        ConfigError: the run cannot attend to a source, or its learned positions are too few.
    """
    architecture = config.architecture or "prefix"
    sizes = check_base(run.network, architecture)
    context, half = run.model_config.sequence_length, run.model_config.sequence_length // 2
    source, target = config.source_length or half, config.target_length or half
    # A stack of its own has positions of its own.
    needed = source + target if architecture == "prefix" else max(source, target)
    if sizes.positions == "learned" and needed > context:
        raise ConfigError(
            f"source_length={source} and target_length={target} need {needed} positions, and the"
            f" run has learned {context}; give less, or take a run with --model.positions rope"
        )
    if source < 3 or target < 2:
        raise ConfigError(
            f"the run's context of {context} tokens is too short to be halved; give both lengths"
        )
    return source, target


def in_float32(network: keras.Model) -> keras.Model:
    """Returns a task's network that computes in float32, as an exported file does; itself if it
    does already."""
    config = network.get_config()
    # A network on a language model takes that one's precision.
    owner = config["base"]["config"] if "base" in config else config
    if owner.get("precision", "float32") == "float32":
        return network
    owner["precision"] = "float32"
    copy = type(network).from_config(config)
    copy.set_weights(network.get_weights())
    return copy


def text_network(
    run: Run,
    config: TaskConfig,
    architecture: str,
    *,
    sequence_length: int,
    source_length: int,
    target_length: int,
) -> keras.Model:
    """Returns the network of a task that writes texts, with the run's weights as its first ones.

    Args:
        run: a run of a Transformer.
        config: the task's options.
        architecture: "prefix" or "encoder_decoder".
        sequence_length: tokens of a row, source and target together.
        source_length: most tokens of a source.
        target_length: most tokens of a target.
    """
    end_id = run.tokenizer.end_id
    sizes = dataclasses.replace(
        check_base(run.network, architecture),
        dropout=config.dropout,
        sequence_length=sequence_length,
    )
    if architecture == "encoder_decoder":
        network = EncoderDecoder(
            sizes,
            source_length=source_length,
            target_length=target_length,
            end_id=end_id,
            precision=config.precision,
            seed=config.seed,
        )
        network.start_from(run.network)
        return network
    base = build_network(sizes, config.precision, config.seed)
    # Learned positions that no row has are left out.
    values = zip(base.weights, run.network.get_weights(), strict=True)
    base.set_weights([value[: weight.shape[0]] for weight, value in values])
    if config.lora_rank:
        add_low_rank(base, config.lora_rank, config.seed)
    return PrefixLM(base, end_id=end_id)
