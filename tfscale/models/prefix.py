"""A decoder-only Transformer that reads a source in both directions and writes a target from left
to right.

It is the "prefix LM" of Raffel et al. (2020, section 3.2.1) and the sequence-to-sequence mask of
Dong et al. (2019): weights and order of tokens are those of the language model, only the attention
over the source is another.

Shapes: B batch, T tokens, V vocabulary.
"""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from tfscale.errors import ConfigError
from tfscale.models.network import capabilities


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
        ConfigError: the base is no Transformer, or has a window.

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
        """What `project` reads: ids (B, T) int32 -> (B, T, width) in the compute type."""
        return self.base.hidden_states(
            ids, training=training, visible=prefix_visible(ids, self.end_id)
        )

    def project(self, hidden: tf.Tensor) -> tf.Tensor:
        """Hidden states (..., width) -> logits (..., V) float32."""
        return self.base.project(hidden)

    def get_config(self) -> dict[str, Any]:
        return {
            "base": keras.saving.serialize_keras_object(self.base),
            "end_id": self.end_id,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects=None) -> "PrefixLM":
        return cls(
            keras.saving.deserialize_keras_object(
                config.pop("base"), custom_objects=custom_objects
            ),
            **config,
        )


def check_base(base: keras.Model, architecture: str) -> None:
    """Refuses a network whose weights cannot read a source in both directions.

    Raises:
        ConfigError: it is no Transformer, or has a sliding window.
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


def up_to_end(ids: tf.Tensor, end_id: int) -> tf.Tensor:
    """True up to and with the first end token after position 0, false after it: ids (B, T) int32 ->
    (B, T) bool."""
    not_first = ops.cast(ops.arange(ops.shape(ids)[1]) > 0, "int32")
    ends = ops.cast(ops.equal(ids, end_id), "int32") * not_first
    return ops.equal(ops.cumsum(ends, axis=1) - ends, 0)


def prefix_visible(ids: tf.Tensor, end_id: int) -> tf.Tensor:
    """Who sees whom: all see the source and its end token, and what is before them; ids (B, T) ->
    (B, T, T) bool."""
    places = ops.arange(ops.shape(ids)[1])
    past = ops.expand_dims(places, 1) >= ops.expand_dims(places, 0)
    return ops.logical_or(past[None], up_to_end(ids, end_id)[:, None, :])
