"""Scores a Keras network over a dataset: NLL summed over all tokens, under any strategy."""

import keras
import tensorflow as tf

from tfscale.distribution.workers import Workers
from tfscale.models.capability import capabilities
from tfscale.models.documents import Documents
from tfscale.text.score import Score
from tfscale.training.batches import as_batches, distribute, worker_share
from tfscale.training.stateful import evaluation_step


def evaluate_network(
    network: keras.Model,
    dataset: tf.data.Dataset,
    utf8_bytes: int = 0,
    strategy: tf.distribute.Strategy | None = None,
    xla: bool = False,
    documents: Documents | None = None,
) -> Score:
    """Scores `network` on the targets that have a weight.

    Args:
        network: Keras model, ids (B, T) int32 -> logits (B, T, V).
        dataset: batches of (inputs, targets, weights), each (B, T); weight 0 leaves a target out,
            so that the tail of a text can be padded. The last batch may be smaller. Of a stateful
            network each row goes on where that of the batch before stopped, as
            `tfscale.data.streams.evaluation_streams` gives them.
        utf8_bytes: bytes of the text that the targets stand for; 0 if that is not known.
        strategy: the strategy whose scope the network was made in; by default the current one.
        xla: compile by XLA, which pays off from a few hundred batches on.
        documents: where documents begin, for a network that was trained with `document_mask`; None
            for one that reads on from document to document.

    Returns:
        The score; batches are added up in float64.

    Raises:
        DataError: no target has a weight, or of a stateful network a row does not go on.
        ConfigError: the network cannot keep documents apart.

    Example:
        dataset = evaluation_dataset("data", "validation", sequence_length=128, batch_size=32)
        evaluate_network(network, dataset, manifest.splits["validation"].utf8_bytes).perplexity
    """
    workers = Workers(strategy or tf.distribute.get_strategy())
    share = worker_share(as_batches(dataset), workers)
    step = evaluation_step(network, workers.strategy, xla, documents=documents)
    nll, tokens = step(distribute(share, workers))
    return Score(nll, round(tokens), utf8_bytes, capabilities(network).is_cloze)
