"""Vectors of texts, from the hidden states of a network.

Shapes: B rows, T tokens, D width of the hidden states, N texts.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tfscale.inference.text_windows import Pool, Pooling, TextWindow, windows_of
from tfscale.models.capability import capabilities
from tfscale.models.network import LanguageNetwork
from tfscale.text.tokenizers import Tokenizer

_TOKENS_PER_BATCH = 4096


def embed_texts(
    network: LanguageNetwork,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    pooling: Pooling = "mean",
    note: Callable[[str], None] | None = None,
) -> np.ndarray:
    """Returns a vector for each text, from the states that the head of a task would read.

    A text is cleaned as the tokenizer's own texts were, and begins with the start token where the
    model was trained so; a model that reads both sides also reads the end token after it. Neither
    counts as a token of the text. No row is filled up: those of a batch are equally long.

    A text that is longer than the context of the network is read in windows that do not overlap,
    each by itself: the mean is over the tokens of all of them, and `last` reads the last tokens
    that the context holds.

    Args:
        network: the network.
        tokenizer: its tokenizer.
        texts: one or more, none of which is empty.
        pooling: see `Pooling`.
        note: is called with a line that says how many texts are longer than the context.

    Returns:
        float32 (N, D).

    Raises:
        DataError: there is no text, or one without a token.

    Example:
        embed_texts(run.network, run.tokenizer, ["the cat sat", "on the mat"]).shape    # (2, 256)
    """
    can = capabilities(network)
    after = (tokenizer.end_id,) if can.is_cloze else ()
    context = None if can.decodes == "state" else network.config.sequence_length
    by_length: dict[int, list[TextWindow]] = defaultdict(list)
    for window in windows_of(tokenizer, texts, context, pooling, after, note):
        by_length[len(window.ids)].append(window)

    @tf.function(input_signature=[tf.TensorSpec((None, None), tf.int32)], autograph=False)
    def features(ids: tf.Tensor) -> tf.Tensor:
        return tf.cast(network.features(ids, training=False), tf.float32)

    pool = Pool(len(texts), pooling)
    for length, windows in by_length.items():
        rows = max(1, _TOKENS_PER_BATCH // length)
        for start in range(0, len(windows), rows):
            batch = windows[start : start + rows]
            states = features(np.array([window.ids for window in batch], np.int32)).numpy()
            for window, own in zip(batch, states, strict=True):
                pool.add(window, own)
    return pool.vectors()
