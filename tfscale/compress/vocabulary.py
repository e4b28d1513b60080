"""Fewer tokens: those that a sample of the text in question never has are removed from the
tokenizer and the tables.

What was a token of its own and is not any more is spelled by shorter pieces or by its bytes, so
every text still has ids and comes back exactly.
"""

import dataclasses
import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfscale.errors import ConfigError
from tfscale.evaluation.evaluate import text_stream
from tfscale.files.folders import claim_directory
from tfscale.files.json_text import JsonObject
from tfscale.files.model_folders import TRAINED_FILES
from tfscale.models import LanguageNetwork, build_network, capabilities
from tfscale.runs.folder import Run, load_run, write_untrained_run
from tfscale.text.tokenizers import Tokenizer


def trim(run: Run | str, text: Sequence[str], output: str, min_count: int = 1) -> JsonObject:
    """Writes a run with a smaller vocabulary. It evaluates and exports as it is; to train on,
    prepare data anew.

    Args:
        run: a run, or its folder, with a SentencePiece unigram tokenizer; it is left as it is.
        text: files, folders or globs of the text that the model is for.
        output: run folder to write.
        min_count: tokens that occur less often than this in `text` are removed.

    Returns:
        `vocabulary_before` and `vocabulary`, `parameters_before` and `parameters`, `sample_tokens`
        before and after.

    Raises:
        TokenizerError: another kind of tokenizer.
        DataError: the text is missing or empty.
        ConfigError: every token occurs, or `min_count` is below 1.

    Example:
        trim("run", ["messages/*.txt"], "small")
    """
    if min_count < 1:
        raise ConfigError(f"min_count={min_count!r} is out of range; expected 1 or more")
    source = run if isinstance(run, str) else run.directory
    if os.path.realpath(output) == os.path.realpath(source):
        raise ConfigError(
            f"output={output!r} is the run itself, which is left as it is; name another folder"
        )
    claim_directory(output, "config.yaml", "a run folder", without=(*TRAINED_FILES, "model.ngram"))
    run = load_run(run) if isinstance(run, str) else run
    stream, _ = text_stream(run.tokenizer, text)
    counts = np.bincount(stream, minlength=run.tokenizer.vocabulary_size)
    tokenizer, kept = trim_tokenizer(run.tokenizer, np.flatnonzero(counts >= min_count).tolist())
    after, _ = text_stream(tokenizer, text)
    return write_trimmed(run, tokenizer, kept, output, (len(stream), len(after)))


def write_trimmed(
    run: Run, tokenizer: Tokenizer, kept: Sequence[int], output: str, sample_tokens: tuple[int, int]
) -> JsonObject:
    """Writes a run with the tokens that `trim_tokenizer` kept.

    Args:
        run: it is left as it is.
        tokenizer: of the kept tokens.
        kept: their old ids.
        output: run folder to write.
        sample_tokens: of the text that they were chosen by, before and after.

    Returns:
        As `trim`.
    """
    network = trim_network(run.network, kept)
    summary = {
        "vocabulary_before": run.tokenizer.vocabulary_size,
        "vocabulary": tokenizer.vocabulary_size,
        "parameters_before": run.network.count_params(),
        "parameters": network.count_params(),
        "sample_tokens_before": sample_tokens[0],
        "sample_tokens": sample_tokens[1],
        # Of the run as it was: by other tokens, perplexities do not compare.
        "steps": run.summary.get("steps"),
        "validation": None,
    }
    write_untrained_run(output, network, tokenizer, run.train_config, summary, run.weights_digest)
    return summary


def trim_tokenizer(
    tokenizer: Tokenizer, wanted: Sequence[int] | np.ndarray
) -> tuple[Tokenizer, list[int]]:
    """Returns a tokenizer of the wanted tokens, and the old ids of its tokens in their order.

    The special tokens, the 256 bytes, the space, and the piece of the lowest score, from which that
    of unknown characters is counted, stay in any case; so a text whose tokens are all wanted is cut
    as before.

    Raises:
        TokenizerError: the tokenizer's entries cannot be removed.
        ConfigError: nothing is removed.
    """
    removed = tokenizer.removable(wanted)
    if not removed:
        raise ConfigError(
            "every token of the vocabulary occurs in the text; give another text, or a higher"
            " min_count"
        )
    return tokenizer.without(removed)


def trim_network(network: LanguageNetwork, kept: Sequence[int]) -> LanguageNetwork:
    """Returns the network with the rows of `kept` tokens, in their order; its other logits are what
    they were.

    Raises:
        ConfigError: it does not predict the next token.
    """
    if capabilities(network).decodes == "none":
        raise ConfigError(
            f"trim is for models of the next token, and this is {type(network).__name__}"
        )
    config = dataclasses.replace(network.config, vocabulary_size=len(kept))
    small = build_network(config, network.precision, network.seed)
    axes = network.vocabulary_axes()
    for source, target in zip(network.weights, small.weights, strict=True):
        value = source.numpy()
        if source.path in axes:
            value = np.take(value, kept, axis=axes[source.path])
        target.assign(tf.convert_to_tensor(value))
    return small
