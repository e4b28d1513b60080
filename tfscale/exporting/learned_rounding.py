"""Rounding to int4 that is learned from text.

Rounding each weight to the nearest number is not the best that a file can hold: where one weight
goes up, another may go down and make up for it. Which way each weight goes is learned here by
signed gradient descent on its offset before it is rounded (Cheng et al. 2023, "Optimize Weight
Rounding via Signed Gradient Descent for the Quantization of LLMs"). The paper compares the outputs
of each layer with those before, and clips blocks too; here the whole network learns to predict the
next token of the training text, which saves more of the perplexity, and clipping saved nothing.
An offset is half a step of the grid at most, so that little text is enough.

The largest weight of a block keeps its value, and no other becomes larger. So the scales stay, the
numbers round to themselves, and the writer of a file stores them as they are.

Shapes: B windows of T tokens.
"""

from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from tfscale.errors import ExportError
from tfscale.models.network import LanguageNetwork
from tfscale.models.recipe import WeightFormat
from tfscale.models.weight_formats import INT4_LARGEST, fake_quantize, rounded

Batch = tuple[tf.Tensor, tf.Tensor, tf.Tensor]
"""Inputs, targets and weights, (B, T) each."""
Losses = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
"""The loss of each window of a batch, in nats per token: a batch -> (B,)."""


class LearnedWeight:
    """A weight in blocks of int4 whose rounding can be learned; it begins as the nearest numbers.

    Args:
        weight: the trained numbers, float32.
        form: 4 bits, with blocks.

    Example:
        learned = LearnedWeight(kernel, WeightFormat(bits=4, axis=0, block=64))
        learned.values()    # the kernel, rounded
    """

    def __init__(self, weight: np.ndarray, form: WeightFormat):
        largest = _largest_of_blocks(weight, form)
        self._form = form
        self._weight, self._largest = tf.constant(weight), tf.constant(largest)
        # Those of the largest weights stay 0.
        self._steps = tf.constant(np.where(np.abs(weight) < largest, largest / INT4_LARGEST, 0))
        self.offsets = tf.Variable(tf.zeros(weight.shape))

    def values(self) -> tf.Tensor:
        """Returns the weight as it is stored, differentiable in `offsets`."""
        moved = self._weight + self._steps * self.offsets
        return fake_quantize(tf.clip_by_value(moved, -self._largest, self._largest), self._form)

    def move(self, change: tf.Tensor) -> None:
        """Adds to the offsets, which stay within half a step of the grid."""
        self.offsets.assign(tf.clip_by_value(self.offsets + change, -0.5, 0.5))


class LearnedRounding:
    """A network as a file has it, whose weights in blocks of int4 learn how to be rounded.

    Args:
        network: computes in float32; it stays as it is.
        losses: those of the network.
        formats: of each weight, by its path; those of 8 bits are rounded to the nearest number.

    Raises:
        ExportError: no weight is in blocks of int4.

    Example:
        rounding = LearnedRounding(network, losses, weight_formats(network, "int4"))
        rounding.learn(batches)
        rounding.numbers()["block_0/expand/kernel"]   # as the file will have it
    """

    def __init__(
        self, network: LanguageNetwork, losses: Losses, formats: Mapping[str, WeightFormat]
    ):
        self._network, self._exact_losses = network, losses
        # A weight without a format, such as a seed, is no number of the file.
        stored = [weight for weight in network.weights if weight.path in formats]
        self.learned = {
            weight.path: LearnedWeight(weight.numpy(), formats[weight.path])
            for weight in stored
            if formats[weight.path].block
        }
        if not self.learned:
            raise ExportError(
                "rounding=learned is for matrices in blocks of int4, and no matrix of this network"
                " sums over whole blocks of 64 or 32 weights; export with rounding=nearest"
            )
        self._others = {
            weight.path: rounded(tf.convert_to_tensor(weight.value), formats[weight.path])
            for weight in stored
            if weight.path not in self.learned and formats[weight.path].bits == 8
        }

    def _losses(self, *batch: tf.Tensor) -> tf.Tensor:
        stored = self._others | {path: one.values() for path, one in self.learned.items()}
        # Within the scope a variable has these numbers, and gradients pass through to the offsets.
        mapping = [
            (weight, stored[weight.path])
            for weight in self._network.weights
            if weight.path in stored
        ]
        with keras.StatelessScope(state_mapping=mapping):
            return self._exact_losses(*batch)

    def learn(self, batches: Sequence[Batch]) -> None:
        """Rounds anew, so that the next tokens become more likely.

        Args:
            batches: text that the network was trained on; each is an update.
        """
        learned = list(self.learned.values())

        @tf.function
        def update(rate: tf.Tensor, *batch: tf.Tensor) -> None:
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(self._losses(*batch))
            gradients = tape.gradient(loss, [one.offsets for one in learned])
            for one, gradient in zip(learned, gradients, strict=True):
                one.move(-rate * tf.sign(gradient))

        # All updates together can just move an offset by half a step of the grid, at which every
        # weight can change sides, and each is smaller than the one before.
        steps = len(batches)
        for step, batch in enumerate(batches):
            update(tf.constant((1 - step / steps) / steps, tf.float32), *batch)

    def losses(self, batches: Sequence[Batch]) -> np.ndarray:
        """Returns the loss of each window in nats per token."""
        losses = tf.function(self._losses)
        return np.concatenate([losses(*batch).numpy() for batch in batches])

    def numbers(self) -> dict[str, np.ndarray]:
        """Returns the weights in blocks as they are stored, by their paths, float32."""
        return {path: one.values().numpy() for path, one in self.learned.items()}


def _largest_of_blocks(weight: np.ndarray, form: WeightFormat) -> np.ndarray:
    """Returns the largest magnitude in the block of each weight, in the weight's shape."""
    summed = (form.axis,) if isinstance(form.axis, int) else form.axis
    order = [*(axis for axis in range(weight.ndim) if axis not in summed), *summed]
    moved = np.abs(np.transpose(weight, order))
    blocks = moved.reshape(-1, form.block)
    largest = np.broadcast_to(blocks.max(axis=1, keepdims=True), blocks.shape)
    return np.transpose(largest.reshape(moved.shape), np.argsort(order))
