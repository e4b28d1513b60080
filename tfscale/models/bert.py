"""A Transformer that reads both sides and is trained to guess hidden tokens: BERT, as a start for
tasks.

What it guesses is the token at the same place, not the next one. Every token is guessed once for a
score, with every seventh token (of `mask_rate` 0.15) hidden at a time: a pseudo-perplexity that
costs seven passes over the text.

Shapes: B batch, T tokens, V vocabulary.
"""

import numpy as np
import tensorflow as tf

from tfscale.config import BERTConfig, Precision
from tfscale.models.transformer import TransformerNetwork
from tfscale.registry import register

_TOKENS_AT_ONCE = 4096


@register
class BERT(TransformerNetwork):
    """Token ids (B, T) int32, V for the mask -> logits (B, T, V) float32 of the tokens at the same
    places.

    Pre-norm and without segments or a pooled first token; otherwise that of Devlin et al. (2019).

    Args:
        config: the architecture; `vocabulary_size` must be set.
        precision: compute type of the layers; weights and logits are float32.
        seed: seed of the initial weights.

    Example:
        network = BERT(BERTConfig(vocabulary_size=256, sequence_length=64))
        logits = network(tf.fill((8, 64), network.mask_id))  # (8, 64, 256)
    """

    config_class = BERTConfig
    config: BERTConfig
    causal = False

    def __init__(
        self,
        config: BERTConfig,
        precision: Precision = "float32",
        seed: int = 0,
        name: str = "bert",
    ):
        super().__init__(config, precision, seed, name)

    @property
    def mask_id(self) -> int:
        """The token that stands for a hidden one."""
        return self.config.masking.mask_id

    def cloze_logits(self, ids: np.ndarray) -> np.ndarray:
        """Ids (T,) -> logits (T, V): those at t are for id t + 1, from all ids but that one
        (Salazar et al. 2020).

        Each row is a pass of its own; the last, for which there is no id, is zero.
        """
        length = len(ids)
        logits = []
        # Logits of all tokens of all rows would take T x T x V numbers, of which T x V are asked
        # for.
        block = max(1, _TOKENS_AT_ONCE // length)
        for start in range(1, length, block):
            places = np.arange(start, min(start + block, length))
            rows = np.tile(np.asarray(ids, np.int32), (len(places), 1))
            rows[np.arange(len(places)), places] = self.mask_id
            hidden = self.hidden_states(rows)
            hidden = tf.gather(hidden, places, axis=1, batch_dims=1)
            logits.append(np.asarray(self.project(hidden), np.float32))
        return np.concatenate([*logits, np.zeros((1, self.config.vocabulary_size), np.float32)])
