"""The network of a task: what a language model makes of a text, and a head.

Shapes: B batch, T tokens, D width of the features, C labels, P predictions of an example: T of tags
and answers, 1 of a label, C of several labels.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from tfscale.compat.keras import is_leaf, layers_of
from tfscale.config.tasks import TaskConfig
from tfscale.errors import ConfigError
from tfscale.models import build_network
from tfscale.models.dropout import Dropout
from tfscale.models.network import capabilities


@keras.saving.register_keras_serializable("tfscale")
class TaskNetwork(keras.Model):
    """Token ids (B, T) int32 -> logits (B, P, C) float32, with C = 2 (no, yes) where a text may
    have several labels.

    It is trained by `LanguageModel` like any network: targets and weights are (B, P). For a label
    of a whole text the features are averaged over its tokens, and joined with those of its last
    one, which of a causal model have read it all; the text ends at the first end token after the
    first position.

    Args:
        base: a network of `build_network`.
        task: "classify", "tag" or "answer".
        num_labels: C; of several labels their number.
        several: whether a text may have several labels or none.
        end_id: the end token.
        dropout: rate before the head.
        seed: seed of the head and of dropout.

    Example:
        network = TaskNetwork(load_run("run").network, task="classify", num_labels=2, end_id=0)
    """

    def __init__(
        self,
        base: keras.Model,
        *,
        task: str,
        num_labels: int,
        end_id: int,
        several: bool = False,
        dropout: float = 0.0,
        seed: int = 0,
        name: str = "task",
    ):
        if not capabilities(base).has_hidden_states:
            raise ConfigError(f"{type(base).__name__} has no hidden_states for a task to build on")
        policy = keras.dtype_policies.DTypePolicy(getattr(base, "precision", "float32"))
        # The loss of a task does not depend on them.
        for variable in base.prediction_variables:
            variable.trainable = False
        options: dict[str, Any] = {
            "task": task,
            "num_labels": num_labels,
            "end_id": end_id,
            "several": several,
            "dropout": dropout,
            "seed": seed,
        }
        initializer = keras.initializers.GlorotUniform(seed=seed * 100_003 + 900)
        features = Features(base, dtype=policy, name="features")
        head_dropout = Dropout(dropout, dtype=policy, name="head_dropout")
        head = keras.layers.Dense(
            num_labels, kernel_initializer=initializer, dtype=policy, name="head"
        )
        inputs = keras.Input((None,), dtype="int32", name="tokens")
        x = features(inputs)
        if task == "classify":
            x = PoolText(end_id, dtype=policy, name="pool")(x, inputs)
        logits = head(head_dropout(x))
        if task == "classify" and several:
            # (B, 1, C) scores -> (B, C, 2): a softmax over 0 and the score is its sigmoid.
            scores = ops.transpose(logits, (0, 2, 1))
            logits = ops.concatenate([ops.zeros_like(scores), scores], axis=-1)
        outputs = keras.layers.Activation("linear", dtype="float32", name="logits")(logits)
        super().__init__(inputs=inputs, outputs=outputs, name=name)
        self.base, self.options, self.head = base, options, head

    @property
    def read_weights(self) -> list[keras.Variable]:
        """The weights that the logits depend on."""
        unused = {id(variable) for variable in self.base.prediction_variables}
        return [weight for weight in self.weights if id(weight) not in unused]

    def get_config(self) -> dict[str, Any]:
        return {
            "base": keras.saving.serialize_keras_object(self.base),
            "name": self.name,
            **self.options,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects=None) -> "TaskNetwork":
        base = keras.saving.deserialize_keras_object(
            config.pop("base"), custom_objects=custom_objects
        )
        return cls(base, **config)


@keras.saving.register_keras_serializable("tfscale")
class Features(keras.layers.Layer):
    """What the base network makes of each token: ids (B, T) -> (B, T, D).

    Of a model that reads both sides they are the states of both; of one that predicts the next
    token, what its output projection reads.
    """

    def __init__(self, base: keras.Model, **kwargs):
        super().__init__(**kwargs)
        self.base = base
        self.built = True

    def call(self, ids, training=False):
        read = self.base.features
        return read(ids, training=training)


@keras.saving.register_keras_serializable("tfscale")
class PoolText(keras.layers.Layer):
    """Features (B, T, D), ids (B, T) -> the mean over the text and its last token, side by side (B,
    1, 2 D)."""

    def __init__(self, end_id: int, **kwargs):
        super().__init__(**kwargs)
        self.end_id = end_id

    def call(self, features, ids):
        ends = ops.cast(ops.equal(ids, self.end_id), "float32") * self._not_first(ops.shape(ids)[1])
        # Up to and with the first end token after position 0, which is the last token of the text;
        # then comes padding.
        before = ops.cumsum(ends, axis=1) - ends
        inside = ops.cast(ops.equal(before, 0.0), self.compute_dtype)
        at_last = (inside * ops.cast(ends, self.compute_dtype))[..., None]
        inside = inside[..., None]
        mean = ops.sum(features * inside, axis=1, keepdims=True) / ops.sum(
            inside, axis=1, keepdims=True
        )
        return ops.concatenate([mean, ops.sum(features * at_last, axis=1, keepdims=True)], axis=-1)

    @staticmethod
    def _not_first(length):
        return ops.cast(ops.arange(length) > 0, "float32")

    def get_config(self):
        return {**super().get_config(), "end_id": self.end_id}


def task_network(run: Any, config: TaskConfig, encoder: Any) -> TaskNetwork:
    """The network of a task on a run's weights, with what is not to be trained frozen.

    Args:
        run: a `Run`.
        config: the task's options.
        encoder: its `TaskEncoder`.

    Raises:
        ConfigError: `lora_rank`, and the base has no dense layer that could take an addition.
    """
    base = build_network(run.model_config, config.precision, config.seed)
    base.set_weights(run.network.get_weights())
    network = TaskNetwork(
        base,
        task=config.task,
        num_labels=len(encoder.labels),
        end_id=run.tokenizer.end_id,
        several=encoder.several,
        dropout=config.dropout,
        seed=config.seed,
    )
    if config.freeze:
        base.trainable = False
    if config.lora_rank:
        add_low_rank(base, config.lora_rank, config.seed, base.prediction_variables)
    return network


def add_low_rank(
    base: keras.Model, lora_rank: int, seed: int, without: Sequence[keras.Variable] = ()
) -> None:
    """Gives each dense layer of a network an addition of low rank, and freezes all else (Hu et al.
    2022).

    Args:
        base: a network.
        lora_rank: of the additions.
        seed: of their first values.
        without: kernels that get none.

    Raises:
        ConfigError: the base has no dense layer that could take one.
    """
    unused = {id(variable) for variable in without}
    dense = [
        layer
        for layer in layers_of(base)
        if isinstance(layer, keras.layers.Dense) and id(layer.kernel) not in unused
    ]
    if not dense:
        raise ConfigError(
            f"lora_rank={lora_rank}: no feature of {type(base).__name__} is made by a dense layer;"
            " freeze it, or train all weights"
        )
    for layer in layers_of(base):
        if is_leaf(layer):
            layer.trainable = False
    for number, layer in enumerate(dense):
        layer.trainable = True
        if layer.use_bias:
            layer.bias.trainable = False
        initializer = keras.initializers.HeUniform(seed=seed * 100_003 + 950 + number)
        layer.enable_lora(lora_rank, a_initializer=initializer)
