"""A decoder-only Transformer that reads a source in both directions and writes a target from left
to right.

It is the "prefix LM" of Raffel et al. (2020, section 3.2.1) and the sequence-to-sequence mask of
Dong et al. (2019): weights and order of tokens are those of the language model, only the attention
over the source is another.

Shapes: B batch, T tokens, V vocabulary.
"""

import keras
import tensorflow as tf
from keras import ops

from tfscale.compat.keras import KerasConfig
from tfscale.config import TransformerConfig
from tfscale.errors import ConfigError
from tfscale.models.attention import MINUS_INFINITY
from tfscale.models.capability import capabilities


@keras.saving.register_keras_serializable("tfscale")
class PrefixLM(keras.Model):
    """Token ids (B, T) int32 -> logits (B, T, V) float32 of the token after each.

    A row is the start token (any token), the source, the end token, the target, and end tokens up
    to T. Whatever stands after a token of the target changes nothing at it; so what fills the row
    needs no mask.

    Args:
        base: a Transformer without a sliding window; its weights are trained.
        end_id: the end token.

    Raises:
        ConfigError: the base is not a Transformer, or has a window.

    Example:
        network = PrefixLM(load_run("run").network, end_id=0)
    """

    def __init__(self, base: keras.Model, *, end_id: int, name: str = "prefix_lm"):
        check_base(base, "prefix")
        super().__init__(name=name)
        self.base, self.end_id = base, end_id
        self.built = True

    def call(self, ids, training=False):
        return self.project(self.hidden_states(ids, training))

    def hidden_states(self, ids: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns the input of `project`: ids (B, T) int32 -> (B, T, width) in the compute type."""
        return self.base.hidden_states(
            ids, training=training, visible=prefix_visible(ids, self.end_id)
        )

    def project(self, hidden: tf.Tensor) -> tf.Tensor:
        """Hidden states (..., width) -> logits (..., V) float32."""
        return self.base.project(hidden)

    @property
    def language_model(self) -> keras.Model:
        """The network whose cached step reads the source and writes the target."""
        return self.base

    # Writing: sources are read at once, then a token of each row at a time, in float32. All sources
    # end at the same place of the caches, so that all rows write to one place. Learned positions
    # are counted from the beginning of each row; rotary ones tell distances, which are the same.

    def begin(self, ids: tf.Tensor, starts: tf.Tensor, source_length: int) -> dict[str, tf.Tensor]:
        """Reads sources and returns the state after them, tensors whose first axis is B.

        Args:
            ids: rows (B, T) int32 with empty target parts; B is known.
            starts: places (B,) int32 of the tokens that the targets follow.
            source_length: S, most tokens of a source.
        """
        rows, spec = ids.shape[0], self.base.cache_spec()
        context = self.base.config.sequence_length
        # The place in its row of the token at each of the S places of the cache.
        places = tf.range(source_length)[None] - (source_length - 1 - starts[:, None])
        in_row = tf.pad(tf.cast(places >= 0, tf.float32), [[0, 0], [0, context - source_length]])
        hidden = tf.reshape(1.0 - in_row, (rows, 1, 1, context)) * MINUS_INFINITY
        places = tf.maximum(places, 0)
        _, cache = self.base.cached_step(
            tf.reshape(tf.gather(ids, places, axis=1, batch_dims=1), (rows, source_length)),
            {name: tf.zeros((rows, *shape[1:])) for name, shape in spec.items()},
            input_pos=tf.range(source_length),
            mask=hidden,
            with_logits=False,
            positions=places,
        )
        return {**cache, "hidden": hidden, "starts": starts}

    def step(
        self, tokens: tf.Tensor, state: dict[str, tf.Tensor], turn: tf.Tensor, source_length: int
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Reads a token of each row; returns logits (B, V) and the new state.

        Args:
            tokens: ids (B,) int32, the end token first.
            state: what `begin` or the step before gave.
            turn: counts from 0, int32.
            source_length: S.
        """
        context = self.base.config.sequence_length
        # The first token is read again: with the source its logits were not computed.
        place = source_length - 1 + turn
        # Beyond the source nothing is hidden but what has not been written yet.
        written = tf.cast(tf.range(context) >= source_length, tf.float32)
        logits, cache = self.base.cached_step(
            tokens[:, None],
            {name: state[name] for name in self.base.cache_spec()},
            input_pos=place[None],
            mask=state["hidden"] * (1.0 - written) + hide_after(place, context),
            positions=state["starts"][:, None] + turn,
        )
        return logits[:, 0], {**state, **cache}

    def get_config(self) -> KerasConfig:
        return {
            "base": keras.saving.serialize_keras_object(self.base),
            "end_id": self.end_id,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: KerasConfig, custom_objects=None) -> "PrefixLM":
        return cls(
            keras.saving.deserialize_keras_object(
                config.pop("base"), custom_objects=custom_objects
            ),
            **config,
        )


def check_base(base: keras.Model, architecture: str) -> TransformerConfig:
    """Returns the config of a network whose weights can read a source in both directions.

    Raises:
        ConfigError: it is not a Transformer, or has a sliding window.
    """
    if not capabilities(base).attends:
        raise ConfigError(
            f"architecture={architecture!r} needs a run of --model.family transformer; a"
            f" {type(base).__name__} cannot attend to a source"
        )
    if base.config.attention_window:
        raise ConfigError(
            f"the run's attention_window={base.config.attention_window} hides the source from the"
            " target; take a run without a window"
        )
    return base.config


def hide_after(place: tf.Tensor, context: int) -> tf.Tensor:
    """Returns a mask (1, 1, 1, context) float32: 0 up to a place, very negative after it."""
    return tf.reshape(
        tf.cast(tf.range(context) > place, tf.float32) * MINUS_INFINITY, (1, 1, 1, context)
    )


def up_to_end(ids: tf.Tensor, end_id: int) -> tf.Tensor:
    """True up to and with the first end token after position 0, false after it: ids (B, T) int32 ->
    (B, T) bool."""
    not_first = ops.cast(ops.arange(ops.shape(ids)[1]) > 0, "int32")
    ends = ops.cast(ops.equal(ids, end_id), "int32") * not_first
    return ops.equal(ops.cumsum(ends, axis=1) - ends, 0)


def prefix_visible(ids: tf.Tensor, end_id: int) -> tf.Tensor:
    """Returns who sees whom: all see the source and its end token, and what is before them; ids (B,
    T) -> (B, T, T) bool."""
    places = ops.arange(ops.shape(ids)[1])
    past = ops.expand_dims(places, 1) >= ops.expand_dims(places, 0)
    return ops.logical_or(past[None], up_to_end(ids, end_id)[:, None, :])
