"""The stacks of an encoder-decoder, computed token by token with keys and values that are kept.

Everything is in float32 and by operations that TFLite has built in. The encoder reads a source
once; of it the decoder's cross-attention needs keys and values, which stay as they are.

Shapes: B batch, S tokens of the source part, U of the target part, D hidden_dim, G key-value heads,
K width of a head, V vocabulary.
"""

from collections.abc import Sequence

import keras
import tensorflow as tf

from tfscale.config import TransformerConfig
from tfscale.models.attention import MINUS_INFINITY
from tfscale.models.cached import cached_dense, cached_logits, cached_norm, rows_of
from tfscale.models.cross_attention import DecoderBlock
from tfscale.models.layers import PositionEmbedding, TransformerBlock
from tfscale.models.outer_layers import scaled
from tfscale.models.prefix import hide_after, up_to_end


class CachedStacks(keras.Model):
    """Writes with the layers that `EncoderDecoder` makes; see there.

    Attributes:
        config: the sizes of both stacks.
        source_length: S.
        target_length: U.
        end_id: the end token.
        positions: the tables of the encoder's and the decoder's positions, or none.
    """

    config: TransformerConfig
    source_length: int
    target_length: int
    end_id: int
    token_embedding: keras.layers.Embedding
    widen: keras.layers.Layer | None
    narrow: keras.layers.Layer | None
    positions: list[PositionEmbedding]
    encoder_blocks: Sequence[TransformerBlock]
    decoder_blocks: Sequence[DecoderBlock]
    encoder_norm: keras.layers.Layer
    decoder_norm: keras.layers.Layer
    encoder_mixes: Sequence
    decoder_mixes: Sequence

    def begin(self, ids: tf.Tensor, starts: tf.Tensor, source_length: int) -> dict[str, tf.Tensor]:
        """Reads sources and returns the state after them, as `PrefixLM.begin` does."""
        cache = {name: tf.zeros(shape) for name, shape in self.cache_spec(ids.shape[0]).items()}
        return cache | self.encode_cached(ids[:, :source_length])

    def step(
        self, tokens: tf.Tensor, state: dict[str, tf.Tensor], turn: tf.Tensor, source_length: int
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Reads a token of each row; returns logits (B, V) and the new state, as `PrefixLM.step`
        does."""
        logits, cache = self.cached_step(
            tokens[:, None],
            {name: state[name] for name in self.cache_spec()},
            state,
            input_pos=turn[None],
            mask=hide_after(turn, self.target_length),
        )
        return logits[:, 0], {**state, **cache}

    def encode_cached(self, tokens: tf.Tensor) -> dict[str, tf.Tensor]:
        """Source parts (B, S) int32 -> what `cached_step` needs to know of them, in float32; B is
        known.

        Returns:
            `memory_k_0`, `memory_v_0` and so on (B, S, G, K), and `source_mask` (B, 1, 1, S).
        """
        (rows, length), c = tokens.shape, self.config
        visible = tf.cast(up_to_end(tokens, self.end_id), tf.float32)
        source_mask = tf.reshape(1.0 - visible, (rows, 1, 1, length)) * MINUS_INFINITY
        positions = tf.range(length)
        x = embedded = self._embedded_cached(tokens, 0, positions)
        for mix, block in zip(self.encoder_mixes, self.encoder_blocks, strict=True):
            x = x if mix is None else mix.cached(x, embedded)
            empty = tf.zeros((rows, length, c.kv_heads, c.head_width))
            x, _, _ = block.cached(x, empty, empty, positions, source_mask)
        x = cached_norm(self.encoder_norm, x)
        memory = {"source_mask": source_mask}
        for i, block in enumerate(self.decoder_blocks):
            memory[f"memory_k_{i}"], memory[f"memory_v_{i}"] = block.cross_attention.memory(x)
        return memory

    def cache_spec(self, rows: int = 1) -> dict[str, tuple[int, ...]]:
        """Returns names and shapes (B, U, G, K) of the key and value caches; all float32, zeros at
        the start."""
        c = self.config
        shape = (rows, self.target_length, c.kv_heads, c.head_width)
        return {f"kv_cache_{kind}_{i}": shape for i in range(c.num_layers) for kind in "kv"}

    def cached_step(
        self,
        tokens: tf.Tensor,
        cache: dict[str, tf.Tensor],
        memory: dict[str, tf.Tensor],
        *,
        input_pos: tf.Tensor,
        mask: tf.Tensor,
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Reads one token of each target, in float32.

        Args:
            tokens: ids (B, 1) int32; B is known.
            cache: tensors as in `cache_spec`.
            memory: what `encode_cached` gave.
            input_pos: their position (1,) int32.
            mask: (1, 1, 1, U) float32, added to the scores: 0 where a position may be seen, very
                negative elsewhere.

        Returns:
            Logits (B, 1, V), and the new cache.
        """
        x = embedded = self._embedded_cached(tokens, 1, input_pos)
        cache = dict(cache)
        for i, (mix, block) in enumerate(zip(self.decoder_mixes, self.decoder_blocks, strict=True)):
            x = x if mix is None else mix.cached(x, embedded)
            key, value = f"kv_cache_k_{i}", f"kv_cache_v_{i}"
            x, cache[key], cache[value] = block.cached_with_source(
                x,
                cache[key],
                cache[value],
                input_pos,
                mask,
                memory[f"memory_k_{i}"],
                memory[f"memory_v_{i}"],
                memory["source_mask"],
            )
        x = tf.reshape(cached_norm(self.decoder_norm, x), (tokens.shape[0], self.config.hidden_dim))
        logits = cached_logits(self.token_embedding, self.narrow, x, self.config.logit_soft_cap)
        return tf.reshape(logits, (tokens.shape[0], 1, self.config.vocabulary_size)), cache

    def _embedded_cached(self, tokens: tf.Tensor, stack: int, positions: tf.Tensor) -> tf.Tensor:
        rows, length = tokens.shape
        embedded = rows_of(self.token_embedding.embeddings, tf.reshape(tokens, (rows * length,)))
        if self.widen is not None:
            embedded = cached_dense(self.widen, embedded)
        embedded = scaled(tf.reshape(embedded, (rows, length, self.config.hidden_dim)), self.config)
        if self.positions:
            embedded += rows_of(self.positions[stack].embeddings, positions)
        return embedded
