"""Cross-entropy of the next token, whole or in chunks of tokens whose logits are never all there at
once.

With a vocabulary of 32,000 the logits (B, T, V), their softmax and their gradient are most of a
small model's memory. In chunks, the logits of N tokens are made, and the gradient with respect to
the hidden states and the output weights is taken right away, before the next N tokens: the
arithmetic is that of the whole, no product is done twice, and what stays is the gradient (B, T, D)
and (V, D), which the backward pass needs anyway. The loops over chunks take one turn at a time;
without XLA TensorFlow would run up to 10 at once.

Shapes: B rows, T tokens, D width of the hidden states, V vocabulary, N tokens of a chunk, C chunks.
"""

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfscale.errors import ConfigError
from tfscale.training.distillation import Teacher

NEEDED = ("hidden_states", "project", "output_variables")
"""What a network must offer besides `network(ids)`; see `tfscale.models.TransformerLM`."""


def check_offers_hidden_states(network: keras.Model, option: str) -> None:
    """Refuses a network that cannot be computed up to its hidden states.

    Args:
        network: Keras model, ids (B, T) -> logits (B, T, V).
        option: the option that asks for it, as the error names it.

    Raises:
        ConfigError: names the option and what the network lacks.
    """
    missing = [name for name in NEEDED if not hasattr(network, name)]
    if missing:
        raise ConfigError(
            f"{option} needs a network of tfscale.build_network, or one with the same"
            f" {', '.join(NEEDED)}; {type(network).__name__} {network.name!r} lacks"
            f" {', '.join(missing)}"
        )


def token_losses(
    logits: tf.Tensor, targets: tf.Tensor, label_smoothing: float = 0.0, xla: bool = False
) -> tuple[tf.Tensor, tf.Tensor]:
    """Loss to minimize and loss to report of each token, in nats.

    Args:
        logits: (..., V) float32.
        targets: ids (...) int32.
        label_smoothing: probability mass spread over the vocabulary (Szegedy et al. 2016).
        xla: whether XLA compiles it: what is best for one is not for the other.

    Returns:
        Cross-entropy (...) with label smoothing, and without.

    Example:
        loss, nll = token_losses(network(ids), targets, 0.1)
    """
    if xla:
        nll = _cross_entropy(logits, targets)
    else:
        nll = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=logits)
    if not label_smoothing:
        return nll, nll
    uniform = tf.reduce_logsumexp(logits, axis=-1) - tf.reduce_mean(logits, axis=-1)
    return (1 - label_smoothing) * nll + label_smoothing * uniform, nll


@tf.custom_gradient
def _cross_entropy(logits: tf.Tensor, targets: tf.Tensor) -> Any:
    """The cross-entropy of each token, (..., V) and (...) -> (...).

    XLA makes two passes over all logits of TensorFlow's own, on one core of a CPU, to find those of
    the targets. Here they are gathered. Without XLA TensorFlow's own needs half of the memory.
    """
    width = logits.shape[-1]
    rows, at = tf.reshape(logits, (-1, width)), tf.reshape(targets, (-1,))
    highest = tf.reduce_max(rows, axis=-1, keepdims=True)
    exponentials = tf.exp(rows - highest)
    sums = tf.reduce_sum(exponentials, axis=-1, keepdims=True)
    nll = (highest + tf.math.log(sums))[:, 0] - tf.gather(rows, at, batch_dims=1)

    def gradient(upstream):
        there = tf.cast(tf.range(width, dtype=at.dtype)[None] == at[:, None], rows.dtype)
        of_rows = (exponentials * (1 / sums) - there) * tf.reshape(upstream, (-1, 1))
        return tf.reshape(of_rows, tf.shape(logits)), None

    return tf.reshape(nll, tf.shape(targets)), gradient


def penalties(network: keras.Model, scope: keras.StatelessScope) -> list[tf.Tensor]:
    """What layers add to the loss by `add_loss` in the forward pass, and by the regularizers of
    their weights."""
    weights = [weight for weight in network.trainable_variables if weight.regularizer is not None]
    found = [*scope.losses, *(weight.regularizer(weight) for weight in weights)]
    return [tf.cast(penalty, tf.float32) for penalty in found]


def chunked_loss(
    network: Any, hidden: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor, chunk_tokens: int
) -> tf.Tensor:
    """Weighted sum of the tokens' losses in nats, without a gradient.

    Args:
        network: offers `project`: (N, D) -> logits (N, V) float32.
        hidden: hidden states (B, T, D).
        targets: ids (B, T) int32.
        weights: (B, T) float32.
        chunk_tokens: the most tokens whose logits are held at once.
    """
    states, targets, weights = _cut((hidden, targets, weights), chunk_tokens)
    total = tf.zeros(())
    for index in tf.range(states.shape[0]):
        tf.autograph.experimental.set_loop_options(parallel_iterations=1)
        _, nll = token_losses(network.project(states[index]), targets[index])
        total += tf.reduce_sum(nll * weights[index])
    return total


def chunked_loss_and_gradients(
    network: Any,
    hidden: tf.Tensor,
    targets: tf.Tensor,
    weights: tf.Tensor,
    scale: tf.Tensor,
    variables: Sequence[tf.Variable | tf.Tensor],
    *,
    chunk_tokens: int,
    label_smoothing: float = 0.0,
    teacher: Teacher | None = None,
    taught: tf.Tensor | None = None,
    xla: bool = False,
) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
    """The loss, and the gradient of `scale` x its weighted sum with respect to hidden states and
    output weights.

    Args:
        network: offers `project`: (N, D) -> logits (N, V) float32.
        hidden: hidden states (B, T, D) of the network's compute type.
        targets: ids (B, T) int32.
        weights: (B, T) float32.
        scale: scalar float32; inside, so that float16 gradients do not vanish.
        variables: those that `project` reads and whose gradient is wanted, or tensors that stand in
            for them.
        chunk_tokens: the most tokens whose logits are held at once.
        label_smoothing: as in `token_losses`.
        teacher: what the student learns from besides the targets.
        taught: the teacher's hidden states (B, T, ...).
        xla: as in `token_losses`.

    Returns:
        Weighted sum of the losses in nats without label smoothing; the gradient (B, T, D) of the
        hidden states; and that of each variable, summed over the chunks in float32.

    Example:
        with tf.GradientTape() as tape:
            hidden = network.hidden_states(ids, training=True)
        nll, upstream, gradients = chunked_loss_and_gradients(
            network, hidden, targets, weights, tf.constant(1.0), [v.value for v in network.output_variables],
            chunk_tokens=1024,
        )
        below = tape.gradient(hidden, variables, output_gradients=upstream)
    """
    whole = (hidden, targets, weights) if taught is None else (hidden, targets, weights, taught)
    states, targets, weights, *taught_states = _cut(whole, chunk_tokens)
    count, size, width = states.shape
    upstream = tf.TensorArray(hidden.dtype, count, element_shape=(size, width))
    total = tf.zeros(())
    sums = [tf.zeros(v.shape, v.dtype) for v in variables]
    for index in tf.range(count):
        tf.autograph.experimental.set_loop_options(parallel_iterations=1)
        state = states[index]
        lesson = teacher.network.project(taught_states[0][index]) if teacher is not None else None
        with tf.GradientTape() as tape:
            tape.watch([state, *(v for v in variables if not isinstance(v, tf.Variable))])
            logits = network.project(state)
            loss, nll = token_losses(logits, targets[index], label_smoothing, xla)
            if teacher is not None:
                loss = teacher.blend(loss, logits, lesson)
            scaled = tf.reduce_sum(loss * weights[index]) * scale
        of_state, *of_variables = tape.gradient(scaled, [state, *variables])
        upstream = upstream.write(index, of_state)
        sums = [a + tf.convert_to_tensor(b) for a, b in zip(sums, of_variables, strict=True)]
        total += tf.reduce_sum(nll * weights[index])
    rows, length = hidden.shape[:2]
    flat = tf.reshape(upstream.stack(), (count * size, width))[: rows * length]
    return total, tf.reshape(flat, (rows, length, width)), sums


def _cut(tensors: Sequence[tf.Tensor], chunk_tokens: int) -> list[tf.Tensor]:
    """(B, T, ...) -> (C, N, ...) with N at most `chunk_tokens`; the last chunk is filled up with
    zeros.

    The chunks are as equal as can be, so that there is little to fill up. All shapes are static.
    """
    rows, length = tensors[0].shape[:2]
    tokens = rows * length
    count = math.ceil(tokens / chunk_tokens)
    size = math.ceil(tokens / count)
    chunks = []
    for tensor in tensors:
        rest = tensor.shape[2:]
        flat = tf.reshape(tensor, (tokens, *rest))
        if fill := count * size - tokens:
            flat = tf.pad(flat, [[0, fill]] + [[0, 0]] * len(rest))
        chunks.append(tf.reshape(flat, (count, size, *rest)))
    return chunks
