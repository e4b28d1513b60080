"""Generates with a Keras network by its cached step, one compiled function per call length."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfscale.errors import ConfigError
from tfscale.inference.generation import causal_mask, check_fits, prefill_chunk
from tfscale.models import LanguageNetwork
from tfscale.models.cached_model import CachedModel
from tfscale.models.capability import capabilities


class KerasDecoder:
    """A network of `tfscale.models` as a `tfscale.inference.generation.Decoder`.

    A prompt is read in chunks of `prefill_lengths`, its last token and what follows one by one.
    Weights are read at each call, so a decoder that was made before training shows the trained
    network.

    Args:
        network: a network with `cached_step`.
        prefill_lengths: tokens per call of a prompt, for a network with a cache of positions;
            those above the context are left out.

    Raises:
        ConfigError: the network does not decode token by token.

    Example:
        generate(KerasDecoder(run.network), run.tokenizer, "def main(", max_tokens=40).text
    """

    def __init__(
        self, network: LanguageNetwork | CachedModel, prefill_lengths: Sequence[int] = (8, 64)
    ):
        if capabilities(network).decodes == "none":
            raise ConfigError(
                f"{type(network).__name__} does not write text: it fills gaps (tfscale fill), or"
                " has no cached_step"
            )
        self.network = network
        self._spec = network.cache_spec()
        can = capabilities(network)
        caches = can.decodes == "cache"
        self.context_length = network.config.sequence_length if caches else None
        longest = 0 if can.one_token else self.context_length or 0
        self.prefill_lengths = [n for n in prefill_lengths if n <= longest]
        self._decode = self._compile(1, with_logits=True)
        self._prefill = {
            length: self._compile(length, with_logits=False) for length in self.prefill_lengths
        }
        self.reset()

    def _compile(self, length: int, with_logits: bool) -> tf.types.experimental.GenericFunction:
        def step(tokens, cache, input_pos=None, mask=None):
            return self.network.cached_step(
                tokens, cache, input_pos=input_pos, mask=mask, with_logits=with_logits
            )

        signature: list = [
            tf.TensorSpec((1, length), tf.int32),
            {name: tf.TensorSpec(shape, tf.float32) for name, shape in self._spec.items()},
        ]
        if self.context_length is not None:
            signature.append(tf.TensorSpec((length,), tf.int32))
            signature.append(tf.TensorSpec((1, 1, length, self.context_length), tf.float32))
        return tf.function(step, input_signature=signature)

    def reset(self) -> None:
        """Forgets all tokens."""
        self._position = 0
        self._cache = {name: tf.zeros(shape) for name, shape in self._spec.items()}

    def feed(self, ids: Sequence[int]) -> np.ndarray:
        """Reads `ids` (one or more) after those read before.

        Returns:
            Logits (V,) float32 after the last id.

        Raises:
            PromptError: the ids do not fit into what is left of the context.
        """
        check_fits(len(ids), self._position, self.context_length)
        done = 0
        while (remaining := len(ids) - 1 - done) > 0:
            length, used = 0, 1
            if self.context_length is not None:
                length, used = prefill_chunk(
                    remaining, self._position, self.context_length, self.prefill_lengths
                )
            function = self._prefill[length] if length else self._decode
            self._call(function, ids[done : done + used], max(length, 1))
            done += used
        return self._call(self._decode, ids[-1:], 1).numpy().reshape(-1)

    def _call(
        self, function: tf.types.experimental.GenericFunction, ids: Sequence[int], length: int
    ) -> tf.Tensor:
        tokens = np.zeros((1, length), np.int32)
        tokens[0, : len(ids)] = ids
        arguments = [tf.constant(tokens), self._cache]
        if self.context_length is not None:
            arguments.append(tf.range(self._position, self._position + length))
            arguments.append(tf.constant(causal_mask(self._position, length, self.context_length)))
        logits, self._cache = function(*arguments)
        self._position += len(ids)
        return logits
