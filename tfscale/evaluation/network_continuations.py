"""Scores continuations by a Keras network, many at a time.

Shapes: B rows, T tokens, D width of the hidden states, N scored tokens, V vocabulary.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from tfscale.evaluation.continuations import Continuation, Progress, Scored
from tfscale.models.capability import capabilities
from tfscale.models.network import LanguageNetwork

TOKENS_PER_BATCH = 2048
"""Tokens of a batch, filling included; bounds the logits, 2048 x V float32."""
_SORTED = 1024
"""Continuations that are sorted by length at a time, so that little is filled up."""


def context_length(network: LanguageNetwork) -> int | None:
    """Returns the most tokens that a network reads; None for one with a state of fixed size."""
    bounded = capabilities(network).decodes != "state"
    return network.config.sequence_length if bounded else None


def score_continuations(
    network: LanguageNetwork, rows: Sequence[Continuation], progress: Progress | None = None
) -> list[Scored]:
    """Returns the likelihood of each continuation, in order.

    Rows that read the same tokens, such as choices of one token after the same context, are
    computed once, and logits only where a token is scored. Rows are filled up on the right, which
    changes nothing for a model of the next token.

    Args:
        network: predicts the next token.
        rows: continuations that fit into its context.
        progress: is called after each batch.
    """

    @tf.function(
        input_signature=[tf.TensorSpec((None, None), tf.int32)]
        + [tf.TensorSpec((None,), tf.int32)] * 2,
        autograph=False,
    )
    def nats(ids: tf.Tensor, places: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        hidden = network.hidden_states(ids, training=False)
        width = hidden.shape[-1]
        logits = network.project(tf.gather(tf.reshape(hidden, (-1, width)), places))
        logits = tf.cast(logits, tf.float32)
        nll = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=logits)
        return nll, tf.equal(tf.argmax(logits, axis=-1, output_type=tf.int32), targets)

    found: dict[int, Scored] = {}
    for batch in _batches(rows):
        ids, places, targets, owners = _arrays(batch, rows)
        nll, hits = (value.numpy() for value in nats(ids, places, targets))
        sums = np.bincount(owners, nll.astype(np.float64), len(rows))
        misses = np.bincount(owners, ~hits, len(rows))
        for owner in {owner for _, members in batch for owner in members}:
            found[owner] = Scored(-float(sums[owner]), not misses[owner])
        if progress is not None:
            progress(len(found), len(rows))
    return [found[at] for at in range(len(rows))]


_Batch = list[tuple[tuple[int, ...], list[int]]]
"""The ids to read, and the numbers of the rows that they score."""


def _batches(rows: Sequence[Continuation]) -> Iterator[_Batch]:
    for first in range(0, len(rows), _SORTED):
        members: dict[tuple[int, ...], list[int]] = {}
        for at in range(first, min(first + _SORTED, len(rows))):
            members.setdefault(rows[at].inputs, []).append(at)
        ordered = sorted(members.items(), key=lambda item: len(item[0]))
        while ordered:
            longest = len(ordered[-1][0])
            count = max(1, TOKENS_PER_BATCH // longest)
            yield ordered[-count:]
            del ordered[-count:]


def _arrays(
    batch: _Batch, rows: Sequence[Continuation]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns ids (B, T), and of each scored token its place in them, its id and its row (N,)."""
    length = max(len(inputs) for inputs, _ in batch)
    ids = np.zeros((len(batch), length), np.int32)
    places: list[int] = []
    targets: list[int] = []
    owners: list[int] = []
    for number, (inputs, members) in enumerate(batch):
        ids[number, : len(inputs)] = inputs
        end = number * length + len(inputs)
        for owner in members:
            tokens = rows[owner].tokens
            places += range(end - len(tokens), end)
            targets += tokens
            owners += [owner] * len(tokens)
    return ids, np.array(places, np.int32), np.array(targets, np.int32), np.array(owners)
