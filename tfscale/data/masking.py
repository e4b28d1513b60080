"""Tokens to guess.

Hidden at random for training (Devlin et al. 2019), each of them once for a score.

What is hidden depends on the window's tokens, the step and the seed alone, so every number of
readers hides the same.

Shapes: B rows, T tokens.
"""

import tensorflow as tf

from tfscale.config import NetworkConfig
from tfscale.data.hashing import seeded, threshold

_CHOICE, _KIND, _OTHER = range(3)
MASKED_SHARE, RANDOM_SHARE = 0.8, 0.1
"""Shares of the chosen tokens that become the mask, and that become any token; the others
stay."""


def mask_tokens(
    ids: tf.Tensor,
    step: tf.Tensor | int,
    *,
    mask_id: int,
    vocabulary_size: int,
    rate: float,
    seed: int = 0,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Hides some tokens of each window.

    Args:
        ids: windows (B, T) int32.
        step: the optimizer step that they are for: another step hides others.
        mask_id: what stands for a hidden token.
        vocabulary_size: tokens that may take the place of one.
        rate: part of the tokens that are to be guessed.
        seed: of the choice.

    Returns:
        The windows with 80 % of the chosen tokens masked, 10 % replaced by a random one and 10 % as
        they were; and 1 where a token was chosen, 0 elsewhere, (B, T) float32.

    Example:
        hidden, chosen = mask_tokens(ids, step=0, mask_id=8192, vocabulary_size=8192, rate=0.15)
    """
    places = tf.cast(tf.range(tf.shape(ids)[1]), tf.uint32)
    of_token = seeded(tf.cast(ids, tf.uint32), 1)
    # The row's key: a sum of hashes of each token and its place, so that the order counts.
    key = tf.reduce_sum(seeded(of_token + places, 2), axis=1, keepdims=True)
    draws = [
        seeded(key + places, seed, tf.cast(step, tf.int64) & 0x7FFFFFFF, purpose)
        for purpose in range(3)
    ]
    chosen = draws[_CHOICE] < threshold(rate)
    masked = chosen & (draws[_KIND] < threshold(MASKED_SHARE))
    random = chosen & ~masked & (draws[_KIND] < threshold(MASKED_SHARE + RANDOM_SHARE))
    other = tf.cast(draws[_OTHER] % tf.constant(vocabulary_size, tf.uint32), tf.int32)
    hidden = tf.where(masked, mask_id, tf.where(random, other, ids))
    return hidden, tf.cast(chosen, tf.float32)


def masked_batches(
    dataset: tf.data.Dataset, config: NetworkConfig, seed: int, start_step: int = 0
) -> tf.data.Dataset:
    """Hides tokens of training batches (inputs, targets).

    Gives (hidden tokens, tokens, 1 where they are to be guessed), each (B, T); batches of a model
    that guesses no tokens stay as they are.

    Args:
        dataset: batches of a model of the next token.
        config: the model, with its vocabulary size.
        seed: of what is hidden.
        start_step: the step that the first batch is for.
    """
    masking = config.masking
    if masking is None:
        return dataset

    def hide(step, batch):
        hidden, chosen = mask_tokens(
            batch[1],
            step,
            mask_id=masking.mask_id,
            vocabulary_size=config.vocabulary_size,
            rate=masking.rate,
            seed=seed,
        )
        return hidden, batch[1], chosen

    return dataset.enumerate(start_step).map(hide)


def hidden_in_turn(
    ids: tf.Tensor, weights: tf.Tensor, mask_id: int, parts: int
) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """Returns views (B, T) of the same windows with every `parts`-th token masked.

    The second array is 1 at the masked ones.

    Every token is masked in one of them, but for padding (weight 0), which stays.
    """
    number = tf.range(tf.shape(ids)[1]) % parts
    views = []
    for part in range(parts):
        chosen = (number == part) & (weights > 0)
        views.append((tf.where(chosen, mask_id, ids), tf.cast(chosen, tf.float32)))
    return views


def as_read(dataset: tf.data.Dataset, config: NetworkConfig) -> tf.data.Dataset:
    """Returns evaluation batches (inputs, targets, weights) as the model reads them.

    For one that guesses hidden tokens each becomes as many batches as its `Masking` has `parts`, in
    which every target is guessed once; for any other they stay.
    """
    masking = config.masking
    if masking is None:
        return dataset
    parts = masking.parts

    def views_of_batch(_, targets, weights):
        hidden, chosen = zip(*hidden_in_turn(targets, weights, masking.mask_id, parts), strict=True)
        counted = tf.stack([weights * mask for mask in chosen])
        views = tf.stack(hidden), tf.stack([targets] * parts), counted
        return tf.data.Dataset.from_tensor_slices(views)

    expanded = dataset.flat_map(views_of_batch)
    cardinality = dataset.cardinality()
    if cardinality <= 0:
        return expanded
    return expanded.apply(tf.data.experimental.assert_cardinality(cardinality * parts))
