"""Cross-entropy of the next token, whole or in chunks of tokens.

With a vocabulary of 32,000 the logits (B, T, V), their softmax and their gradient are most of a
small model's memory. In chunks, the logits of N tokens are made, and the gradient with respect to
the hidden states and the output weights is taken right away, before the next N tokens: the
arithmetic is that of the whole, no product is done twice, and what stays is the gradient (B, T, D)
and (V, D), which the backward pass needs anyway. The loops over chunks take one turn at a time;
without XLA TensorFlow would run up to 10 at once.

Shapes: B rows, T tokens, D width of the hidden states, V vocabulary, N tokens of a chunk, C chunks.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import tensorflow as tf

from tfscale.errors import ConfigError
from tfscale.models.capability import HIDDEN_STATE_MEMBERS, missing_members
from tfscale.models.network import LanguageNetwork
from tfscale.training.distillation import Teacher


def check_offers_hidden_states(network: keras.Model, option: str) -> None:
    """Refuses a network that cannot be computed up to its hidden states.

    Args:
        network: Keras model, ids (B, T) -> logits (B, T, V).
        option: the option that asks for it, as the error names it.

    Raises:
        ConfigError: names the option and what the network lacks.
    """
    missing = missing_members(network)
    if missing:
        raise ConfigError(
            f"{option} needs a network of tfscale.build_network, or one with the same"
            f" {', '.join(HIDDEN_STATE_MEMBERS)}; {type(network).__name__} {network.name!r} lacks"
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


@dataclass(frozen=True)
class TokenLoss:
    """The loss of each token: cross-entropy, smoothed, and blended with what a teacher predicts.

    Attributes:
        label_smoothing: as in `token_losses`.
        teacher: what the student learns from besides the targets; None without one.
        xla: as in `token_losses`.
    """

    label_smoothing: float = 0.0
    teacher: Teacher | None = None
    xla: bool = False

    def __call__(
        self, logits: tf.Tensor, targets: tf.Tensor, teacher_logits: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Logits (..., V), targets (...) -> loss to minimize and loss to report (...), in nats."""
        loss, nll = token_losses(logits, targets, self.label_smoothing, self.xla)
        if self.teacher is not None:
            loss = self.teacher.blend(loss, logits, teacher_logits)
        return loss, nll


@dataclass(frozen=True)
class Tokens:
    """Tokens whose loss is taken in chunks.

    Attributes:
        hidden: hidden states (B, T, D) of the network's compute type.
        targets: ids (B, T) int32.
        weights: (B, T) float32.
        teacher_hidden: the teacher's hidden states (B, T, ...); None without one.
    """

    hidden: tf.Tensor
    targets: tf.Tensor
    weights: tf.Tensor
    teacher_hidden: tf.Tensor | None = None


@tf.custom_gradient
def _cross_entropy(logits: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """Returns the cross-entropy of each token, (..., V) and (...) -> (...).

    XLA makes two passes over all logits of TensorFlow's own, on one core of a CPU, to find those of
    the targets. Here they are gathered. Without XLA TensorFlow's own needs half of the memory.
    """
    width = logits.shape[-1]
    rows, ids = tf.reshape(logits, (-1, width)), tf.reshape(targets, (-1,))
    highest = tf.reduce_max(rows, axis=-1, keepdims=True)
    exponentials = tf.exp(rows - highest)
    sums = tf.reduce_sum(exponentials, axis=-1, keepdims=True)
    nll = (highest + tf.math.log(sums))[:, 0] - tf.gather(rows, ids, batch_dims=1)

    def gradient(upstream):
        # The softmax, less 1 at the target.
        one_hot = tf.cast(tf.range(width, dtype=ids.dtype)[None] == ids[:, None], rows.dtype)
        row_gradients = (exponentials * (1 / sums) - one_hot) * tf.reshape(upstream, (-1, 1))
        return tf.reshape(row_gradients, tf.shape(logits)), None

    return tf.reshape(nll, tf.shape(targets)), gradient


def regularizations(network: keras.Model) -> list[tf.Tensor]:
    """Returns what regularizers of weights add to the loss."""
    weights = [weight for weight in network.trainable_variables if weight.regularizer is not None]
    return [tf.cast(weight.regularizer(weight), tf.float32) for weight in weights]


def show_regularized(network: keras.Model, scope: keras.StatelessScope) -> None:
    """Gives a scope the weights that have regularizers, which Keras asks it for."""
    for weight in network.trainable_variables:
        if weight.regularizer is not None:
            scope.state_mapping.setdefault(id(weight), tf.convert_to_tensor(weight.value))


def penalties(network: keras.Model, scope: keras.StatelessScope) -> list[tf.Tensor]:
    """Returns the losses that layers add by `add_loss`, and those of weights' regularizers."""
    return [*(tf.cast(loss, tf.float32) for loss in scope.losses), *regularizations(network)]


def chunked_loss(
    network: LanguageNetwork,
    hidden: tf.Tensor,
    targets: tf.Tensor,
    weights: tf.Tensor,
    chunk_tokens: int,
) -> tf.Tensor:
    """Returns the weighted sum of the tokens' losses in nats, without a gradient.

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
    network: LanguageNetwork,
    tokens: Tokens,
    scale: tf.Tensor,
    variables: Sequence[tf.Variable | tf.Tensor],
    token_loss: TokenLoss,
    chunk_tokens: int,
) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
    """Returns the loss, and the gradient of `scale` x its weighted sum.

    Args:
        network: offers `project`: (N, D) -> logits (N, V) float32.
        tokens: hidden states, targets and weights.
        scale: scalar float32; inside, so that float16 gradients do not vanish.
        variables: those that `project` reads and whose gradient is wanted, or tensors that stand in
            for them.
        token_loss: the loss of each token.
        chunk_tokens: the most tokens whose logits are held at once.

    Returns:
        Weighted sum of the losses in nats without label smoothing; the gradient (B, T, D) of the
        hidden states; and that of each variable, summed over the chunks in float32.

    Example:
        with tf.GradientTape() as tape:
            hidden = network.hidden_states(ids, training=True)
        nll, upstream, gradients = chunked_loss_and_gradients(
            network,
            Tokens(hidden, targets, weights),
            tf.constant(1.0),
            [v.value for v in network.output_variables],
            TokenLoss(),
            chunk_tokens=1024,
        )
        below = tape.gradient(hidden, variables, output_gradients=upstream)
    """
    parts = [tokens.hidden, tokens.targets, tokens.weights]
    if tokens.teacher_hidden is not None:
        parts.append(tokens.teacher_hidden)
    states, targets, weights, *teacher_states = _cut(parts, chunk_tokens)
    count, size, width = states.shape
    upstream = tf.TensorArray(tokens.hidden.dtype, count, element_shape=(size, width))
    total = tf.zeros(())
    sums = [tf.zeros(v.shape, v.dtype) for v in variables]
    teacher = token_loss.teacher
    for index in tf.range(count):
        tf.autograph.experimental.set_loop_options(parallel_iterations=1)
        state = states[index]
        teacher_logits = None
        if teacher is not None:
            teacher_logits = teacher.network.project(teacher_states[0][index])
        # The logits of these tokens alone, and their gradient right away.
        with tf.GradientTape() as tape:
            tape.watch([state, *(v for v in variables if not isinstance(v, tf.Variable))])
            logits = network.project(state)
            loss, nll = token_loss(logits, targets[index], teacher_logits)
            scaled = tf.reduce_sum(loss * weights[index]) * scale
        state_gradient, *gradients = tape.gradient(scaled, [state, *variables])
        upstream = upstream.write(index, state_gradient)
        sums = [a + tf.convert_to_tensor(b) for a, b in zip(sums, gradients, strict=True)]
        total += tf.reduce_sum(nll * weights[index])
    rows, length = tokens.hidden.shape[:2]
    flat = tf.reshape(upstream.stack(), (count * size, width))[: rows * length]
    return total, tf.reshape(flat, (rows, length, width)), sums


def _cut(tensors: Sequence[tf.Tensor], chunk_tokens: int) -> list[tf.Tensor]:
    """Cuts (B, T, ...) into (C, N, ...) with N at most `chunk_tokens`; zeros fill the last chunk.

    The chunks are as equal as can be, so that there is little to fill up. All shapes are static.
    """
    rows, length = tensors[0].shape[:2]
    tokens = rows * length
    count = math.ceil(tokens / chunk_tokens)
    size = math.ceil(tokens / count)
    chunks = []
    for tensor in tensors:
        inner = tensor.shape[2:]
        flat = tf.reshape(tensor, (tokens, *inner))
        if fill := count * size - tokens:
            flat = tf.pad(flat, [[0, fill]] + [[0, 0]] * len(inner))
        chunks.append(tf.reshape(flat, (count, size, *inner)))
    return chunks
