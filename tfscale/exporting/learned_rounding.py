"""Rounding to int4 that is learned from text.

Rounding each weight to the nearest number is not the best that a file can hold: where one weight
goes up, another may go down and make up for it. Which way each weight goes, and how far each block
is clipped, is learned here by gradient descent (Cheng et al. 2023, "Optimize Weight Rounding via
Signed Gradient Descent for the Quantization of LLMs"). The paper compares the outputs of each layer
with those before; here the whole network learns to predict the next token of the training text,
which saves more of the perplexity. A weight goes to one of its two neighbours on the grid of its
block, and nothing else is learned, so that little text is enough.

The largest weight of a block always has the largest code. So the numbers round to themselves: the
writer of a file, which knows nothing of all this, stores them as they are.

Shapes: W windows of T tokens, B of them in an update, V vocabulary.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from tfscale.errors import ExportError
from tfscale.models.network import LanguageNetwork
from tfscale.models.recipe import WeightFormat
from tfscale.models.weight_formats import INT4_LARGEST, SMALLEST_SCALE, store

_LEAST_CLIP = 0.5
"""Smallest scale of a block, relative to that of its largest weight."""
BATCH = 8
"""Windows of an update."""
Predict = Callable[[tf.Tensor], tf.Tensor]
"""ids (B, T) -> logits (B, T, V)."""


class LearnedBlocks:
    """A weight in blocks of int4 whose rounding can be learned.

    It begins as the nearest numbers.

    Args:
        weight: the trained numbers, float32.
        form: 4 bits, with blocks.

    Example:
        blocks = LearnedBlocks(kernel, WeightFormat(bits=4, axis=0, block=64))
        blocks.values()   # the kernel, rounded
    """

    def __init__(self, weight: np.ndarray, form: WeightFormat):
        summed = (form.axis,) if isinstance(form.axis, int) else form.axis
        kept = [axis for axis in range(weight.ndim) if axis not in summed]
        self._order = [*kept, *summed]
        moved = np.transpose(weight, self._order)
        self._moved_shape = moved.shape
        blocks = moved.reshape(-1, form.block)
        largest = np.abs(blocks).max(axis=1, keepdims=True)
        self._blocks = tf.constant(blocks)
        self._scales = tf.constant(largest / INT4_LARGEST)
        # The runtime takes no smaller scale, so that such a block is zero in a file.
        self._used = tf.constant(largest / INT4_LARGEST >= SMALLEST_SCALE)
        self._free = tf.constant(np.abs(blocks) < largest)
        self.offsets = tf.Variable(tf.zeros(blocks.shape))
        self.clips = tf.Variable(tf.ones(largest.shape))

    def values(self) -> tf.Tensor:
        """Returns the weight as it is stored, in its own shape; differentiable in `offsets` and
        `clips`."""
        # Scales are stored in bfloat16. Gradients pass through roundings (Bengio et al. 2013).
        scales = tf.maximum(self._scales * self.clips, SMALLEST_SCALE)
        scales = _straight_through(scales, tf.cast(tf.cast(scales, tf.bfloat16), tf.float32))
        places = self._blocks / scales + tf.where(self._free, self.offsets, 0.0)
        codes = _straight_through(places, tf.round(places))
        codes = tf.clip_by_value(codes, -INT4_LARGEST, INT4_LARGEST)
        stored = tf.where(self._used, codes * scales, 0.0)
        moved = tf.reshape(stored, self._moved_shape)
        return tf.transpose(moved, np.argsort(self._order))

    def keep_within(self) -> None:
        """Brings offsets and clips back to where they may be."""
        self.offsets.assign(tf.clip_by_value(self.offsets, -0.5, 0.5))
        self.clips.assign(tf.clip_by_value(self.clips, _LEAST_CLIP, 1.0))


@dataclass(frozen=True)
class Windows:
    """Windows of text.

    Attributes:
        inputs: ids (W, T) int32, as the network reads them.
        targets: ids (W, T) int32, what comes after each.
    """

    inputs: np.ndarray
    targets: np.ndarray

    def parts(self, size: int) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
        """Yields inputs and targets of up to `size` windows."""
        for start in range(0, len(self.inputs), size):
            part = slice(start, start + size)
            yield tf.constant(self.inputs[part]), tf.constant(self.targets[part])


class LearnedRounding:
    """A network as a file has it, whose weights in blocks of int4 learn how to be rounded.

    Args:
        network: computes in float32; it stays as it is.
        predict: its logits.
        formats: of each weight, by its path; those of 8 bits are rounded to the nearest number.

    Raises:
        ExportError: no weight is in blocks of int4.

    Example:
        rounding = LearnedRounding(network, network, weight_formats(network, "int4"))
        rounding.learn(Windows(ids[:, :-1], ids[:, 1:]))
        rounding.numbers()["block_0/expand/kernel"]   # as the file will have it
    """

    def __init__(
        self, network: LanguageNetwork, predict: Predict, formats: Mapping[str, WeightFormat]
    ):
        self._network, self._exact = network, predict
        self.learned: dict[str, LearnedBlocks] = {}
        self._in_bytes: dict[str, tf.Tensor] = {}
        for weight in network.weights:
            # A weight without a format, such as a seed, is no number of the file.
            form = formats.get(weight.path)
            if form is not None and form.block:
                self.learned[weight.path] = LearnedBlocks(weight.numpy(), form)
            elif form is not None and form.bits == 8:
                self._in_bytes[weight.path] = store(tf.convert_to_tensor(weight.value), form)
        if not self.learned:
            raise ExportError(
                "rounding=learned is for matrices in blocks of int4, and no matrix of this network"
                " sums over whole blocks of 64 or 32 weights; export with rounding=nearest"
            )

    def predict(self, ids: tf.Tensor) -> tf.Tensor:
        """Returns logits (B, T, V) of the network with rounded weights; differentiable in offsets
        and clips."""
        stored = self._in_bytes | {path: one.values() for path, one in self.learned.items()}
        # Within the scope a variable has these numbers, and gradients pass through to the blocks.
        mapping = [
            (weight, stored[weight.path])
            for weight in self._network.weights
            if weight.path in stored
        ]
        with keras.StatelessScope(state_mapping=mapping):
            return self._exact(ids)

    def learn(self, windows: Windows) -> None:
        """Rounds anew, so that the next tokens become more likely; each window is read once.

        Args:
            windows: of the text that the network was trained on, in an order by chance.
        """
        blocks = list(self.learned.values())
        variables = [one.offsets for one in blocks] + [one.clips for one in blocks]

        # Windows at the end may be fewer, and are not traced anew.
        @tf.function(reduce_retracing=True)
        def update(ids: tf.Tensor, targets: tf.Tensor, rate: tf.Tensor) -> None:
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(_losses(self.predict(ids), targets))
            for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
                variable.assign_sub(rate * tf.sign(gradient))
            for one in blocks:
                one.keep_within()

        # All updates together can just move an offset by half a step of the grid, at which every
        # weight can change sides, and each is smaller than the one before.
        steps = -(-len(windows.inputs) // BATCH)
        for step, (ids, targets) in enumerate(windows.parts(BATCH)):
            update(ids, targets, tf.constant((1 - step / steps) / steps, tf.float32))

    def losses(self, windows: Windows) -> np.ndarray:
        """Returns the mean loss of a token of each window in nats, (W,)."""

        @tf.function(reduce_retracing=True)
        def mean(ids: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
            return tf.reduce_mean(_losses(self.predict(ids), targets), axis=1)

        return np.concatenate([mean(*part).numpy() for part in windows.parts(BATCH)])

    def numbers(self) -> dict[str, np.ndarray]:
        """Returns the weights in blocks as they are stored, by their paths, float32."""
        return {path: one.values().numpy() for path, one in self.learned.items()}


def _losses(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Returns the cross-entropy of each target: logits (B, T, V), targets (B, T) -> (B, T)."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=logits)


def _straight_through(exact: tf.Tensor, rounded: tf.Tensor) -> tf.Tensor:
    """Returns the rounded tensor with the gradient of the exact one."""
    return exact + tf.stop_gradient(rounded - exact)
